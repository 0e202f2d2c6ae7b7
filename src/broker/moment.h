// A moment as it is kept and as the broker reckons.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::broker {

// A deadline in store time that never comes.
inline constexpr std::int64_t kNeverMs = INT64_MAX;

struct Moment {
  base::Instant at;
  std::int64_t unix_ms = 0;  // store time (store_time.h): Unix time, but for steps of the wall clock
};

}  // namespace vigil::broker
