#include "io/clock.h"

#include <time.h>

#include "base/check.h"

namespace vigil::io {
namespace {

timespec read_clock(clockid_t clock) {
  timespec t{};
  CHECK(::clock_gettime(clock, &t) == 0);
  return t;
}

}  // namespace

base::Instant monotonic_now() {
  const timespec t = read_clock(CLOCK_MONOTONIC);
  return base::Instant::from_ns(t.tv_sec * 1'000'000'000LL + t.tv_nsec);
}

std::int64_t wall_ms() {
  const timespec t = read_clock(CLOCK_REALTIME);
  return t.tv_sec * 1'000LL + t.tv_nsec / 1'000'000;
}

}  // namespace vigil::io
