// Who may do what. The place for access lists; today's rules are the built-in ones.
#pragma once

#include <string_view>

#include "broker/limits.h"

namespace vigil::broker {

// What a decision may look at.
struct Principal {
  std::string_view client_id;
  std::string_view user_name;
  bool loopback = false;
};

// A bridge tells in $SYS/broker/connection/NAME/state whether it is up: "1" when it connects, "0" by its will.
// mosquitto began this, and its bridges do so unless told otherwise. NAME is one level.
inline bool is_bridge_state(std::string_view topic) {
  constexpr std::string_view kBefore = "$SYS/broker/connection/";
  constexpr std::string_view kBehind = "/state";
  if (!topic.starts_with(kBefore) || !topic.ends_with(kBehind)) return false;
  if (topic.size() <= kBefore.size() + kBehind.size()) return false;
  return topic.find('/', kBefore.size()) == topic.size() - kBehind.size();
}

// $SYS belongs to the broker, apart from the states of bridges.
inline bool is_brokers_own(std::string_view topic) {
  return topic.starts_with("$SYS") && (topic.size() == 4 || topic[4] == '/') && !is_bridge_state(topic);
}

// A topic that is not the broker's own is free to everybody who was admitted.
inline bool may_publish(const Principal& /*who*/, std::string_view topic) {
  return !topic.starts_with('$') || (!is_brokers_own(topic) && !topic.starts_with("$share/"));
}

// The presence of other clients is for those on this machine, as long as nobody has a name.
inline bool may_read_clients(const Principal& who, const Limits& limits) {
  return limits.sys_clients_enabled && who.loopback;
}

inline bool may_subscribe(const Principal& who, std::string_view filter, const Limits& limits) {
  return !filter.starts_with("$SYS/clients") || may_read_clients(who, limits);
}

}  // namespace vigil::broker
