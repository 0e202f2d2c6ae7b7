// What of a new configuration takes effect while the broker runs.
#include <algorithm>
#include <set>

#include "config/config.h"
#include "config/conflicts.h"
#include "config/table.h"

namespace vigil::config {

// `held`: keys that wait for a restart although the table says they need none.
static ConfigReload merge(const Config& old, const Config& fresh, const std::set<std::string>& held) {
  ConfigReload result{old, {}, {}};
  for (const auto& key : config_keys()) {
    const ConfigValue value = key.get(fresh);
    if (key.get(old) == value) continue;
    const bool live = key.info.reload == Reload::Live && !held.contains(std::string(key.info.path));
    if (live) key.set(result.config, value);
    (live ? result.applied : result.needs_restart).emplace_back(key.info.path);
  }
  if (old.listeners.size() != fresh.listeners.size()) {
    result.needs_restart.emplace_back("listener");
    return result;
  }
  for (std::size_t i = 0; i < old.listeners.size(); ++i) {
    for (const auto& key : listener_keys()) {
      const ConfigValue value = key.get(fresh.listeners[i]);
      if (key.get(old.listeners[i]) == value) continue;
      std::string path = listener_path(i, key.info.path);
      const bool live = key.info.reload == Reload::Live && !held.contains(path);
      if (live) key.set(result.config.listeners[i], value);
      (live ? result.applied : result.needs_restart).push_back(std::move(path));
    }
  }
  return result;
}

// Old and fresh are each sound, yet fresh live values beside old ones that need a restart may not be: such a live
// value then waits for the restart too.
ConfigReload reload(const Config& old, const Config& fresh) {
  std::set<std::string> held;
  for (;;) {
    ConfigReload result = merge(old, fresh, held);
    const std::size_t held_before = held.size();
    for (const Conflict& conflict : conflicts(result.config)) {
      for (const std::string& key : conflict.keys) {
        if (std::ranges::find(result.applied, key) != result.applied.end()) held.insert(key);
      }
    }
    if (held.size() == held_before) return result;
  }
}

}  // namespace vigil::config
