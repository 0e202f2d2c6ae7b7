#include "broker/keep_alive.h"

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

using base::Instant;
using base::milliseconds;
using base::seconds;

const Instant kStart = Instant::from_ns(1'000'000'000);

// [MQTT-3.1.2-22, MQTT3-3.1.2-24]
TEST(KeepAlive, GivesOneAndAHalfPeriods) {
  KeepAlive keep_alive;
  keep_alive.start(10, kStart);
  EXPECT_FALSE(keep_alive.expired(kStart + seconds(15) - base::Duration(1)));
  EXPECT_TRUE(keep_alive.expired(kStart + seconds(15)));
}

TEST(KeepAlive, OfAnOddPeriodIsExactToTheHalfSecond) {
  KeepAlive keep_alive;
  keep_alive.start(1, kStart);
  EXPECT_EQ(keep_alive.deadline(), kStart + milliseconds(1500));
}

TEST(KeepAlive, ZeroNeverExpires) {
  KeepAlive keep_alive;
  keep_alive.start(0, kStart);
  EXPECT_TRUE(keep_alive.deadline().is_never());
  EXPECT_FALSE(keep_alive.expired(kStart + seconds(1'000'000'000)));
}

TEST(KeepAlive, StartsAnewWithEveryPacket) {
  KeepAlive keep_alive;
  keep_alive.start(2, kStart);
  keep_alive.heard(kStart + seconds(2));
  EXPECT_EQ(keep_alive.at_risk_from(), kStart + seconds(4));
  EXPECT_EQ(keep_alive.deadline(), kStart + seconds(5));
}

TEST(KeepAlive, BytesOfAnUnfinishedPacketAreNotActivity) {
  KeepAlive keep_alive;
  keep_alive.start(2, kStart);
  keep_alive.heard_part(1, kStart + seconds(2));
  EXPECT_TRUE(keep_alive.expired(kStart + seconds(3)));
  EXPECT_FALSE(keep_alive.credit_progress(1024, kStart + seconds(3)));
}

TEST(KeepAlive, ALargePacketThatReallyArrivesMovesTheDeadline) {
  KeepAlive keep_alive;
  keep_alive.start(2, kStart);
  keep_alive.heard_part(2048, kStart + seconds(2));
  EXPECT_TRUE(keep_alive.credit_progress(1024, kStart + seconds(3)));
  EXPECT_EQ(keep_alive.deadline(), kStart + seconds(5));
  // Only once: what has been credited does not count again.
  EXPECT_FALSE(keep_alive.credit_progress(1024, kStart + seconds(5)));
}

// Begun late, it is asked for no more than the rate brings in the time since.
TEST(KeepAlive, APacketIsJudgedByTheTimeSinceItBegan) {
  KeepAlive keep_alive;
  keep_alive.start(60, kStart);
  keep_alive.heard_part(16 * 1024, kStart + seconds(80));
  EXPECT_TRUE(keep_alive.credit_progress(1024, kStart + seconds(90)));
  EXPECT_EQ(keep_alive.deadline(), kStart + seconds(170));
}

// A byte now and then, each just before the verdict, helps once a packet.
TEST(KeepAlive, ADripIsForgivenOnce) {
  KeepAlive keep_alive;
  keep_alive.start(2, kStart);
  keep_alive.heard_part(1, kStart + milliseconds(2999));
  EXPECT_TRUE(keep_alive.credit_progress(1024, kStart + milliseconds(2999)));
  keep_alive.heard_part(1, kStart + milliseconds(5998));
  EXPECT_FALSE(keep_alive.credit_progress(1024, kStart + milliseconds(5999)));
}

TEST(KeepAlive, TheMonitorLooksOnTheGridOfTicks) {
  EXPECT_EQ(on_tick(kStart + milliseconds(1), kStart, milliseconds(1000)), kStart + milliseconds(1000));
  EXPECT_EQ(on_tick(kStart + milliseconds(1000), kStart, milliseconds(1000)), kStart + milliseconds(1000));
  EXPECT_EQ(on_tick(kStart + milliseconds(1001), kStart, milliseconds(10)), kStart + milliseconds(1010));
  EXPECT_TRUE(on_tick(Instant::never(), kStart, milliseconds(1)).is_never());
}

}  // namespace
}  // namespace vigil::broker
