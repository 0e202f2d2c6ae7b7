// A listener as an operator sets it: where clients connect, how many, and how their sockets behave.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/bind_address.h"
#include "net/tcp_policy.h"

namespace vigil::net {

struct ListenerSettings {
  std::string name = "default";
  std::vector<BindAddress> bind = {BindAddress::localhost(1883)};
  std::uint32_t max_connections = 0;  // 0: no bound of its own. Seats only counts: whoever accepts judges
  std::uint32_t backlog = 1024;
  // Of Unix sockets.
  std::uint32_t socket_mode = 0660;
  std::string socket_group;  // a name or a number; empty: the process's own
  TcpPolicy tcp;

  bool operator==(const ListenerSettings&) const = default;
  // All that `bind` stands for.
  std::vector<ListenEndpoint> endpoints() const;
};

}  // namespace vigil::net
