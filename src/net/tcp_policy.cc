#include "net/tcp_policy.h"

#include <algorithm>

namespace vigil::net {

base::Duration TcpPolicy::idle_timeout(std::uint16_t keep_alive_s) const {
  const base::Duration none = base::Duration::zero();
  const bool probes = keepalive_idle > none;
  if (keep_alive_s == 0 && (!probes || user_timeout == none)) return user_timeout;
  // Without probes there is data only: two minutes are enough for it, however long K is.
  const base::Duration dead_after = probes ? keepalive_idle + keepalive_interval * keepalive_count : base::seconds(120);
  const base::Duration longest = std::max<base::Duration>(user_timeout, dead_after);
  if (keep_alive_s == 0) return longest;
  const base::Duration allowed = std::max<base::Duration>(base::milliseconds(1500 * keep_alive_s), base::seconds(5));
  return std::min(allowed, longest);
}

base::Duration TcpPolicy::in_flight_timeout(std::uint16_t keep_alive_s) const {
  return keep_alive_s == 0 ? user_timeout : idle_timeout(keep_alive_s);
}

}  // namespace vigil::net
