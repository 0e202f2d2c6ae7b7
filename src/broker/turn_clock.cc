#include "broker/turn_clock.h"

#include <algorithm>

namespace vigil::broker {

std::int64_t TurnClock::store_ms(base::Instant at) const { return at.is_never() ? kNeverMs : moment(at).unix_ms; }

base::Instant TurnClock::instant(std::int64_t store_ms) const {
  if (store_ms == kNeverMs) return base::Instant::never();
  // 0xFFFFFFFF seconds are 136 years; a number of nanoseconds holds 292.
  constexpr std::int64_t kFar = std::int64_t{200} * 365 * 24 * 3600 * 1000;
  const std::int64_t left = std::clamp(store_ms - last_.unix_ms, -kFar, kFar);
  return base::Instant::from_ns(std::max<std::int64_t>(1, (last_.at + base::milliseconds(left)).ns()));
}

}  // namespace vigil::broker
