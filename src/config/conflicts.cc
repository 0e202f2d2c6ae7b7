#include "config/conflicts.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

namespace vigil::config {

// A Unix socket's file may be written in several ways: "/run//a", "/run/./a".
static io::Endpoint one_name(const io::Endpoint& endpoint) {
  const auto* unix_path = std::get_if<io::UnixPath>(&endpoint.value());
  if (unix_path == nullptr || unix_path->path.starts_with('@')) return endpoint;
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::weakly_canonical(unix_path->path, error);
  return error ? endpoint : io::Endpoint(io::UnixPath{whole.string()});
}

std::string listener_path(std::size_t index, std::string_view name) {
  return fmt::format("listener.{}.{}", index, name);
}

std::vector<Conflict> conflicts(const Config& config) {
  std::vector<Conflict> found;
  std::vector<std::pair<io::Endpoint, std::string>> taken;  // address, and the listener that has it
  std::set<std::string> names;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const net::ListenerSettings& listener = config.listeners[i];
    const std::string itself = fmt::format("listener.{}", i);
    const std::vector<std::string> bind = {listener_path(i, "bind"), itself};
    if (!names.insert(listener.name).second) {
      found.push_back(
          {{listener_path(i, "name"), itself},
           fmt::format("found \"{}\" a second time, expected a name of its own for each listener", listener.name)});
    }
    for (const net::BindAddress& address : listener.bind) {
      if (address.is_loopback() || config.allow_anonymous_remote) continue;
      found.push_back(
          {bind, fmt::format("other machines can reach {}, and anybody on them could connect, read and write, because "
                             "no authentication is configured. Set security.allow_anonymous_remote = true (or "
                             "VIGILMQ_SECURITY__ALLOW_ANONYMOUS_REMOTE=true) if that is what you want, or listen on "
                             "127.0.0.1 and [::1] only",
                             address.text())});
    }
    for (const auto& [endpoint, if_available] : listener.endpoints()) {
      // Port 0 is another one each time.
      if (endpoint.port() == 0 && !endpoint.is_unix()) continue;
      const io::Endpoint address = one_name(endpoint);
      const auto other = std::ranges::find_if(taken, [&](const auto& t) { return t.first.collides_with(address); });
      if (other == taken.end()) {
        taken.emplace_back(address, listener.name);
        continue;
      }
      const bool same = other->first == address;
      found.push_back(
          {bind, same ? fmt::format("{} is taken already, by the listener \"{}\"", endpoint.text(), other->second)
                      : fmt::format("{} is taken already, by {} of the listener \"{}\"", endpoint.text(),
                                    other->first.text(), other->second)});
    }
  }
  // One message must always fit, or it would wait for ever.
  const broker::Limits& limits = config.limits;
  const auto at_least_a_packet = [&](std::string_view key, std::uint64_t bytes) {
    if (bytes >= limits.max_packet_size) return;
    found.push_back({{std::string(key), "limits.max_packet_size"},
                     fmt::format("found {}, expected at least limits.max_packet_size, which is {}: the largest packet "
                                 "must fit",
                                 bytes, limits.max_packet_size)});
  };
  at_least_a_packet("limits.max_output_bytes", limits.max_output_bytes);
  at_least_a_packet("session.max_queued_bytes", limits.max_queued_bytes);
  return found;
}

std::vector<ConfigError> validate(const Config& config) {
  std::vector<ConfigError> errors;
  for (auto& [keys, message] : conflicts(config)) errors.push_back({"", keys.front(), std::move(message)});
  return errors;
}

}  // namespace vigil::config
