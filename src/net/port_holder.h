// Who has a TCP port that cannot be taken, as far as /proc tells.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/address.h"

namespace vigil::net {

// Behind "Port 1883 on 127.0.0.1 is already in use: ", and without a full stop: what holds the address and what helps.
std::string port_holder(const io::Endpoint& wanted);

// A line of /proc/net/tcp or /proc/net/tcp6.
struct PortUse {
  enum class State : std::uint8_t { Listening, TimeWait, Other };
  io::Endpoint local;
  State state = State::Other;
  std::uint64_t inode = 0;  // of the socket; 0: it belongs to no process any more

  bool operator==(const PortUse&) const = default;
};
// Lines that cannot be read are left out. "::" is taken for all interfaces: the table does not tell.
std::vector<PortUse> parse_tcp_table(std::string_view text);

struct Process {
  int id = 0;
  std::string name;
};
// The process that has a socket; none if that is not to be seen.
using FindProcess = std::function<std::optional<Process>(std::uint64_t inode)>;
std::string explain_port(const io::Endpoint& wanted, std::span<const PortUse> uses, const FindProcess& find);

}  // namespace vigil::net
