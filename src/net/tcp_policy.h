// When TCP gives a silent peer up: what an operator sets for a listener, and what follows from it for a connection.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::net {

struct TcpPolicy {
  base::Duration keepalive_idle = base::seconds(60);      // silence before the first probe; 0: no probes
  base::Duration keepalive_interval = base::seconds(10);  // between two probes
  std::uint32_t keepalive_count = 6;                      // probes without an answer
  base::Duration user_timeout = base::seconds(30);        // 0: the kernel's own

  bool operator==(const TcpPolicy&) const = default;

  // TCP_USER_TIMEOUT of a connection whose MQTT keep alive in force is `keep_alive_s`. 0 leaves the kernel's own.
  //
  // Linux ends an idle connection at the first probe that is due after this time, however few were lost; the count of
  // probes plays no part. So it is never less than all probes take (idle + interval x count), and TCP never gives up
  // before the keep alive does: 1.5 x K, at least 5 s, where that is the shorter.
  base::Duration idle_timeout(std::uint16_t keep_alive_s) const;
  // The same while sent data is unacknowledged: shorter where no keep alive finds a dead peer (K = 0).
  base::Duration in_flight_timeout(std::uint16_t keep_alive_s) const;
};

}  // namespace vigil::net
