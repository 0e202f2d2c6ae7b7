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

// $SYS belongs to the broker; any other topic is free to everybody who was admitted.
inline bool may_publish(const Principal& /*who*/, std::string_view topic) {
  return !topic.starts_with("$SYS/") && topic != "$SYS" && !topic.starts_with("$share/");
}

// The presence of other clients is for those on this machine, as long as nobody has a name.
inline bool may_read_clients(const Principal& who, const Limits& limits) {
  return limits.sys_clients_enabled && who.loopback;
}

inline bool may_subscribe(const Principal& who, std::string_view filter, const Limits& limits) {
  return !filter.starts_with("$SYS/clients") || may_read_clients(who, limits);
}

}  // namespace vigil::broker
