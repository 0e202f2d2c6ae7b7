#include "broker/turn_clock.h"

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

using base::Duration;
using base::Instant;
using base::milliseconds;
using base::seconds;

constexpr Instant kStart = Instant::from_ns(5'000'000'000);
constexpr std::int64_t kNoonMs = 1'769'860'800'000;

TEST(TurnClock, BeginsAtZero) {
  const TurnClock clock(kStart);
  EXPECT_EQ(clock.moment(kStart).unix_ms, 0);
  EXPECT_EQ(clock.moment(kStart + seconds(2)).unix_ms, 2'000);
}

TEST(TurnClock, GoesOnBetweenTwoReadings) {
  TurnClock clock(kStart);
  clock.set(kNoonMs, kStart + seconds(1));
  const Moment later = clock.moment(kStart + seconds(3));
  EXPECT_EQ(later.at, kStart + seconds(3));
  EXPECT_EQ(later.unix_ms, kNoonMs + 2'000);
  EXPECT_EQ(clock.moment(kStart).unix_ms, kNoonMs - 1'000);
  EXPECT_EQ(clock.last().at, kStart + seconds(1));
  EXPECT_EQ(clock.last().unix_ms, kNoonMs);
}

TEST(TurnClock, RoundsDownBeforeAndAfterTheReading) {
  TurnClock clock(kStart);
  clock.set(kNoonMs, kStart);
  EXPECT_EQ(clock.moment(kStart + milliseconds(1) - Duration(1)).unix_ms, kNoonMs);
  EXPECT_EQ(clock.moment(kStart + milliseconds(1)).unix_ms, kNoonMs + 1);
  EXPECT_EQ(clock.moment(kStart - Duration(1)).unix_ms, kNoonMs - 1);
}

TEST(TurnClock, FindsTheInstantOfAStoreTime) {
  TurnClock clock(kStart);
  clock.set(kNoonMs, kStart);
  for (const std::int64_t ms : {-3'000, 0, 1, 86'400'000}) {
    EXPECT_EQ(clock.instant(kNoonMs + ms), kStart + milliseconds(ms));
    EXPECT_EQ(clock.store_ms(kStart + milliseconds(ms)), kNoonMs + ms);
  }
}

TEST(TurnClock, NeverStaysNever) {
  const TurnClock clock(kStart);
  EXPECT_EQ(clock.store_ms(Instant::never()), kNeverMs);
  EXPECT_TRUE(clock.instant(kNeverMs).is_never());
}

TEST(TurnClock, WhatIsTooLongAgoIsTheFirstInstantAndWhatIsTooFarIsNotNever) {
  TurnClock clock(kStart);
  clock.set(kNoonMs, kStart);
  EXPECT_EQ(clock.instant(0), Instant::from_ns(1));
  EXPECT_EQ(clock.instant(INT64_MIN / 2), Instant::from_ns(1));
  const Instant far = clock.instant(kNeverMs - 1);
  EXPECT_FALSE(far.is_never());
  EXPECT_GT(far, kStart + std::chrono::years(136));
}

}  // namespace
}  // namespace vigil::broker
