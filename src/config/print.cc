// What is printed from the table: the configuration in force, conf/vigilmq.toml and docs/configuration.md.
#include <fmt/format.h>

#include "config/config.h"
#include "config/table.h"

namespace vigil::config {
namespace {

constexpr std::size_t kColumns = 110;
constexpr std::string_view kListener = "listener";

// Words in lines of at most kColumns, each behind "# ".
std::string comment(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > kColumns) end = text.rfind(' ', kColumns);
    out += fmt::format("# {}\n", text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

template <class Root>
std::string assignment(const ConfigKey<Root>& key, const Root& root) {
  return fmt::format("{} = {}\n", key.info.name(), to_toml(key.info, key.get(root)));
}

template <class Root>
std::string documented(const ConfigKey<Root>& key) {
  return fmt::format("\n{}#{}", comment(key.info.doc), assignment(key, Root{}));
}

constexpr std::string_view kFileHead =
    R"(# The configuration of VigilMQ. Every key is here, with its default behind a '#': remove the '#' to set it.
#
# The environment wins over this file: keep_alive.max_s is VIGILMQ_KEEP_ALIVE__MAX_S. `vigilmq --test-config` checks
# everything and says what is wrong, and where. docs/configuration.md explains the rest.
)";

constexpr std::string_view kDocsHead = R"(# Configuration

VigilMQ runs without any configuration: it then listens on this machine only, at port 1883. This page lists everything
that can be set. It and [`conf/vigilmq.toml`](../conf/vigilmq.toml) are printed from the broker's own table by
`script/generate-docs`.

## Where values come from

Later sources win:

1. the defaults on this page;
2. the file named by `--config FILE`, or else `/etc/vigilmq/vigilmq.toml` if it exists;
3. the environment: a key's name in capitals behind `VIGILMQ_`, with two underscores for each dot. `keep_alive.max_s` is
   `VIGILMQ_KEEP_ALIVE__MAX_S`, `shards` is `VIGILMQ_SHARDS`, `bind` of the first listener is `VIGILMQ_LISTENER__0__BIND`;
   lists are written with commas; an empty variable is as good as none;
4. the command line;
5. the variable `MQTT_KEEP_ALIVE_MONITORING_DELAY_MS`, for `keep_alive.monitoring_delay_ms` only.

Sizes are numbers of bytes or texts such as `"64KiB"`, `"64MiB"`, `"1GiB"`. The name of a time says its unit. Texts stand in
quotes in the file.

## Mistakes

An unknown key, an unknown variable that begins with `VIGILMQ_` or a value out of range stops the start. All mistakes are
reported at once, each with its place:

```text
vigilmq.toml:12:9: keep_alive.max_s: found 70000, expected an integer from 0 to 65535
```

`vigilmq --test-config` only checks, and says which file was read; `vigilmq --print-config` shows the values in force. The
log names at the start the file, the variables and the options that count. The variables with which
Kubernetes and Docker describe a service called `vigilmq` (`VIGILMQ_SERVICE_HOST`, `VIGILMQ_PORT_1883_TCP`, ...) are left
alone.

## Changes while the broker runs

SIGHUP reads all sources again. If they are valid, the keys marked *live* take effect, for some of them (such as keep
alive and session expiry) from a client's next connection on; for the others the log says that a restart is needed. If
they are not valid, nothing changes.

)";

// Text in a cell of a table.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string allowed(const KeyInfo& key) {
  switch (key.type) {
    case KeyType::Bool: return "`true`, `false`";
    case KeyType::Integer: return fmt::format("{} to {}", key.min, key.max);
    case KeyType::Duration: return fmt::format("{} to {} {}", key.min, key.max, key.path.ends_with("_ms") ? "ms" : "s");
    case KeyType::Size: return fmt::format("{} bytes to {}", key.min, to_toml(key, ConfigValue(key.max)));
    case KeyType::Enum: {
      std::string out;
      for (const std::string_view choice : key.choices)
        out += fmt::format("{}`\"{}\"`", out.empty() ? "" : ", ", choice);
      return out;
    }
    case KeyType::Name: return fmt::format("{} to {} letters, digits, `.`, `-`, `_`", key.min, key.max);
    case KeyType::Path: return "a path";
    case KeyType::Addresses: return fmt::format("{} to {} addresses", key.min, key.max);
    case KeyType::Mode: return "`\"0000\"` to `\"0777\"`";
  }
  return {};
}

template <class Root>
std::string row(const ConfigKey<Root>& key) {
  return fmt::format("| `{}` | `{}` | {} | {} | {} |\n", key.info.path, to_toml(key.info, key.get(Root{})),
                     cell(allowed(key.info)), key.info.reload == Reload::Live ? "live" : "restart", cell(key.info.doc));
}

constexpr std::string_view kTableHead = "| key | default | allowed | SIGHUP | meaning |\n|---|---|---|---|---|\n";

}  // namespace

std::string effective_toml(const Config& config) {
  std::string out;
  for (const ConfigSection& section : config_sections()) {
    if (section.name == kListener) continue;
    if (!section.name.empty()) out += fmt::format("\n[{}]\n", section.name);
    for (const auto& key : config_keys()) {
      if (key.info.section() == section.name) out += assignment(key, config);
    }
  }
  for (const net::ListenerSettings& listener : config.listeners) {
    out += "\n[[listener]]\n";
    for (const auto& key : listener_keys()) out += assignment(key, listener);
  }
  return out;
}

std::string default_config_file() {
  std::string out(kFileHead);
  for (const ConfigSection& section : config_sections()) {
    const bool listener = section.name == kListener;
    if (!section.name.empty()) {
      out += fmt::format("\n\n{}{}\n", comment(section.doc),
                         listener ? "[[listener]]" : fmt::format("[{}]", section.name));
    }
    for (const auto& key : config_keys()) {
      if (key.info.section() == section.name) out += documented(key);
    }
    if (!listener) continue;
    for (const auto& key : listener_keys()) out += documented(key);
  }
  return out;
}

std::string config_docs() {
  std::string out(kDocsHead);
  out += "## Keys\n";
  for (const ConfigSection& section : config_sections()) {
    const bool listener = section.name == kListener;
    out += section.name.empty()
               ? fmt::format("\n### At the top of the file\n\n{}", kTableHead)
               : fmt::format("\n### {}\n\n{}\n\n{}", listener ? "[[listener]]" : fmt::format("[{}]", section.name),
                             section.doc, kTableHead);
    for (const auto& key : config_keys()) {
      if (key.info.section() == section.name) out += row(key);
    }
    if (!listener) continue;
    for (const auto& key : listener_keys()) out += row(key);
  }
  return out;
}

}  // namespace vigil::config
