#include "io/clock.h"

#include <chrono>

namespace vigil::io {
namespace {

TEST(Clock, MonotonicNeverGoesBack) {
  base::Instant last = monotonic_now();
  for (int i = 0; i < 1000; ++i) {
    const base::Instant now = monotonic_now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, WallIsTheTimeOfDay) {
  using namespace std::chrono;
  const std::int64_t expected = duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(static_cast<double>(wall_ms()), static_cast<double>(expected), 5000.0);
}

TEST(Clock, ReadsAllClocksTogether) {
  const base::Instant before = monotonic_now();
  const Clocks clocks = read_clocks();
  EXPECT_GE(clocks.at, before);
  EXPECT_LE(clocks.at, monotonic_now());
  EXPECT_NEAR(static_cast<double>(clocks.wall_ms), static_cast<double>(wall_ms()), 5000.0);
  // It counts the machine's sleep, too.
  EXPECT_GE(clocks.boot_ms + 1, before.ns() / 1'000'000);
}

TEST(Clock, TheStartOfTheMachineKeepsItsName) { EXPECT_EQ(boot_name(), boot_name()); }

}  // namespace
}  // namespace vigil::io
