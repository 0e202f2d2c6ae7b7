// What an operator can set: the values, where they come from, and what may change while the broker runs.
//
// Every key stands once, in the table of table.cc, with its type, default and one sentence; conf/vigilmq.toml
// and docs/configuration.md are printed from that table. Sources, the later wins: defaults, TOML file, environment,
// command line; and over them all the variable MQTT_KEEP_ALIVE_MONITORING_DELAY_MS, for keep_alive.monitoring_delay_ms.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "broker/limits.h"
#include "log/log.h"
#include "net/listener_settings.h"

namespace vigil::config {

enum class StoreSync : std::uint8_t { Process, Power, Memory };

struct StoreConfig {
  StoreSync sync = StoreSync::Process;
  std::string directory;                           // empty: default_store_directory()
  std::uint64_t cache_bytes = 32ULL << 20U;        // of what is read from disk
  std::uint64_t max_backlog_bytes = 64ULL << 20U;  // that wait for the disk before clients are slowed down

  bool operator==(const StoreConfig&) const = default;
};

struct Config {
  StoreConfig store;
  broker::KeepAlivePolicy keep_alive;
  broker::Limits limits;  // of the whole broker; whoever starts the shards gives each its share

  std::string node_id;       // empty: the host name
  std::uint32_t shards = 0;  // 0: one a core
  base::Duration drain_timeout = base::seconds(5);
  bool allow_anonymous_remote = false;
  log::LogLevel log_level = log::LogLevel::Info;
  log::LogFormat log_format = log::LogFormat::Text;
  bool log_timestamps = true;
  std::vector<net::ListenerSettings> listeners = {net::ListenerSettings{}};
};

struct ConfigError {
  std::string
      where;  // "vigilmq.toml:12:9", "environment variable VIGILMQ_SHARDS", "--listen"; empty where nothing set it
  std::string key;      // "keep_alive.max_s"; empty where no key is at fault
  std::string message;  // "found 70000, expected an integer from 0 to 65535"

  bool operator==(const ConfigError&) const = default;
  std::string text() const;
};

// A value from the command line, in the form the environment takes too.
struct ConfigOverride {
  std::string option;  // "--listen", for messages
  std::string key;     // "listener.0.bind"
  std::string value;   // "127.0.0.1:1883,[::1]:1883"
};

using Environment = std::vector<std::pair<std::string, std::string>>;

struct ConfigSources {
  // What --config names; it must exist. Without it `default_file` is read if it exists.
  std::optional<std::filesystem::path> file;
  std::filesystem::path default_file = "/etc/vigilmq/vigilmq.toml";
  // All variables; only VIGILMQ_... and MQTT_KEEP_ALIVE_MONITORING_DELAY_MS are looked at. An empty one is none.
  Environment environment;
  std::vector<ConfigOverride> overrides;
};

// Where sessions and messages are kept if store.directory is empty: systemd's STATE_DIRECTORY; /var/lib/vigilmq for
// root; else $XDG_STATE_HOME/vigilmq or ~/.local/state/vigilmq. Empty if there is no such place.
std::filesystem::path default_store_directory(const Environment& environment, bool root);

// The variables of this process.
Environment process_environment();

// Which sources say anything, for people.
struct ConfigOrigin {
  std::optional<std::filesystem::path> file;  // that is read
  std::vector<std::string> variables;         // that are ours and not empty, sorted
  std::vector<std::string> options;           // of the command line, each once

  // "configuration file /x.toml", "no configuration file: the defaults, with VIGILMQ_SHARDS, --listen"
  std::string text() const;
};
ConfigOrigin origin_of(const ConfigSources& sources);

// All errors of all sources, in the order of the sources, not only the first.
base::Result<Config, std::vector<ConfigError>> load_config(const ConfigSources& sources);

// One TOML text over the defaults, as a file of that name would be read.
base::Result<Config, std::vector<ConfigError>> parse_config(std::string_view toml, std::string_view file_name);

// What is wrong with the values taken together; `where` stays empty. load_config has asked this already.
std::vector<ConfigError> validate(const Config& config);

// What becomes of a configuration that is read again while the broker runs.
struct ConfigReload {
  Config config;                     // the old one with every change that can be applied now
  std::vector<std::string> applied;  // keys, in the order of the table; "listener.0.backlog" for listeners
  // Changed in the file, unchanged in `config`: what the table says, and what would not go together with that.
  std::vector<std::string> needs_restart;
};
ConfigReload reload(const Config& old, const Config& fresh);

// The configuration in force as a TOML file that reads back as the same; secrets are masked.
std::string effective_toml(const Config& config);
// conf/vigilmq.toml: every key with its default, commented out.
std::string default_config_file();
// docs/configuration.md.
std::string config_docs();

}  // namespace vigil::config
