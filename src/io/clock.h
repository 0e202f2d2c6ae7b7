// The clocks of the machine. Adapters read them and hand the time down; nothing below does.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::io {

// CLOCK_MONOTONIC: steps of the wall clock do not move it.
base::Instant monotonic_now();
// Milliseconds since 1970-01-01 UTC, for people and records only. Steps when the machine's clock is set.
std::int64_t wall_ms();

// All clocks, read together: none of them is more than a moment older than another.
struct Clocks {
  base::Instant at;          // CLOCK_MONOTONIC
  std::int64_t wall_ms = 0;  // Unix time
  std::int64_t boot_ms = 0;  // CLOCK_BOOTTIME: since the machine started, sleep included; steps do not move it
};
Clocks read_clocks();

// Names this start of the machine, and with it the zero of CLOCK_BOOTTIME, which other time namespaces have elsewhere.
// 0 where the kernel does not tell.
std::uint64_t boot_name();

}  // namespace vigil::io
