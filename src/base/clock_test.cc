#include "base/clock.h"

namespace vigil::base {
namespace {

TEST(Instant, MovesByDurations) {
  const Instant t = Instant::from_ns(1'000'000'000);
  EXPECT_EQ((t + seconds(2)).ns(), 3'000'000'000);
  EXPECT_EQ((t - milliseconds(1)).ns(), 999'000'000);
  EXPECT_EQ((t + seconds(2)) - t, seconds(2));
  Instant moved = t;
  moved += milliseconds(5);
  EXPECT_EQ(moved, t + milliseconds(5));
}

TEST(Instant, ComparesByTime) {
  EXPECT_LT(Instant::from_ns(1), Instant::from_ns(2));
  EXPECT_LT(Instant::from_ns(INT64_MAX - 1), Instant::never());
}

TEST(Instant, NeverStaysNever) {
  EXPECT_TRUE((Instant::never() + seconds(1)).is_never());
  EXPECT_TRUE((Instant::never() - seconds(1)).is_never());
  EXPECT_FALSE(Instant().is_never());
}

TEST(ManualClock, MovesWhenToldAndNeverBack) {
  ManualClock clock(Instant::from_ns(10));
  clock.advance(Duration(5));
  EXPECT_EQ(clock.now().ns(), 15);
  clock.set(Instant::from_ns(12));
  EXPECT_EQ(clock.now().ns(), 15);
  clock.set(Instant::from_ns(20));
  EXPECT_EQ(clock.now().ns(), 20);
}

}  // namespace
}  // namespace vigil::base
