// A moment as people read it and as the broker reckons.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::broker {

struct Moment {
  base::Instant at;
  std::int64_t unix_ms = 0;
};

}  // namespace vigil::broker
