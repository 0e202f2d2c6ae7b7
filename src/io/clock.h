// The clocks of the machine. Adapters read them and hand the time down; nothing below does.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::io {

// CLOCK_MONOTONIC: steps of the wall clock do not move it.
base::Instant monotonic_now();
// Milliseconds since 1970-01-01 UTC, for people and records only. Steps when the machine's clock is set.
std::int64_t wall_ms();

}  // namespace vigil::io
