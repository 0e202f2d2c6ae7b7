#include "broker/store_time.h"

#include <gtest/gtest.h>

#include "broker/change.h"

namespace vigil::broker {
namespace {

constexpr std::int64_t kNoon = 1'900'000'000'000;
constexpr std::int64_t kMinute = 60'000;
constexpr std::int64_t kDay = 24 * 60 * kMinute;

// A machine whose wall clock can be set, and that can be started again.
struct Machine {
  std::int64_t wall_ms = kNoon;
  std::int64_t boot_ms = 1'000;
  std::uint64_t boot = 1;

  void pass(std::int64_t ms) {
    wall_ms += ms;
    boot_ms += ms;
  }
  void reboot(std::int64_t took_ms, std::int64_t wall) {
    ++boot;
    boot_ms = took_ms;
    wall_ms = wall;
  }
  ClockReading read() const { return {.wall_ms = wall_ms, .boot_ms = boot_ms, .boot = boot}; }
};

TEST(StoreTime, BeginsAsTheWallClock) {
  const Machine machine;
  StoreTime time({}, machine.read());
  EXPECT_EQ(time.at(machine.read()), kNoon);
  EXPECT_EQ(time.look(machine.read()), std::nullopt);
  EXPECT_TRUE(time.kept().wall.changes().empty());
}

TEST(StoreTime, IsNotMovedByStepsOfTheWallClock) {
  Machine machine;
  StoreTime time({}, machine.read());
  for (const std::int64_t step : {30 * kDay, -kDay, std::int64_t{-1'000}, std::int64_t{700}, -365 * kDay}) {
    machine.wall_ms += step;
    EXPECT_EQ(time.look(machine.read()), step);
    EXPECT_EQ(time.look(machine.read()), std::nullopt);
  }
  machine.pass(kMinute);
  EXPECT_EQ(time.at(machine.read()), kNoon + kMinute);
  EXPECT_EQ(time.look(machine.read()), std::nullopt);
  EXPECT_EQ(time.kept().reached_ms, kNoon + kMinute);
}

TEST(StoreTime, NoticesSmallStepsTogether) {
  Machine machine;
  StoreTime time({}, machine.read());
  machine.wall_ms += 300;
  EXPECT_EQ(time.look(machine.read()), std::nullopt);
  machine.wall_ms += 300;
  EXPECT_EQ(time.look(machine.read()), 600);
}

TEST(StoreTime, GoesOnWithTheBootClockOverARestart) {
  Machine machine;
  StoreTime first({}, machine.read());
  const KeptTime kept = first.kept();
  // The process is killed before it can notice.
  machine.wall_ms += 30 * kDay;
  machine.pass(kMinute);
  StoreTime second(kept, machine.read());
  EXPECT_EQ(second.at(machine.read()), kNoon + kMinute);
  EXPECT_EQ(second.look(machine.read()), 30 * kDay);
}

TEST(StoreTime, CountsTheTimeOfARebootByTheWallClock) {
  Machine machine;
  StoreTime first({}, machine.read());
  machine.wall_ms += 30 * kDay;
  first.look(machine.read());
  machine.reboot(20'000, machine.wall_ms + kDay);
  StoreTime second(first.kept(), machine.read());
  EXPECT_EQ(second.at(machine.read()), kNoon + kDay);
  EXPECT_EQ(second.look(machine.read()), std::nullopt);
}

// A machine without a clock of its own: it starts in the past each time, until it has asked the network.
TEST(StoreTime, NeverGoesBackOverAReboot) {
  Machine machine;
  StoreTime first({}, machine.read());
  machine.pass(5 * kMinute);
  first.look(machine.read());
  machine.reboot(20'000, 1'000'000);
  StoreTime second(first.kept(), machine.read());
  EXPECT_EQ(second.at(machine.read()), kNoon + 5 * kMinute);
  EXPECT_LT(second.look(machine.read()), 0);
  machine.wall_ms = kNoon + 6 * kMinute;
  EXPECT_GT(second.look(machine.read()), 0);
  EXPECT_EQ(second.at(machine.read()), kNoon + 5 * kMinute);
  // From now on the wall clock can be believed again.
  machine.reboot(20'000, machine.wall_ms + kDay);
  const StoreTime third(second.kept(), machine.read());
  EXPECT_EQ(third.at(machine.read()), kNoon + 5 * kMinute + kDay);
}

TEST(StoreTime, TrustsTheWallClockWhereTheStartOfTheMachineHasNoName) {
  Machine machine;
  machine.boot = 0;
  StoreTime first({}, machine.read());
  machine.pass(kMinute);
  machine.boot_ms = 5;
  const StoreTime second(first.kept(), machine.read());
  EXPECT_EQ(second.at(machine.read()), kNoon + kMinute);
}

TEST(WallTime, CorrectsThisProcessAndLeavesEarlierOnesAlone) {
  Machine machine;
  StoreTime first({}, machine.read());
  machine.pass(kMinute);
  const std::int64_t seen_by_first = first.at(machine.read());
  machine.pass(kMinute);
  StoreTime second(first.kept(), machine.read());
  machine.pass(kMinute);
  const std::int64_t seen_by_second = second.at(machine.read());
  machine.wall_ms += kDay;
  ASSERT_EQ(second.look(machine.read()), kDay);
  const WallTime& wall = second.kept().wall;
  EXPECT_EQ(wall.of(seen_by_first), kNoon + kMinute);
  EXPECT_EQ(wall.of(seen_by_second), kNoon + 3 * kMinute + kDay);
  EXPECT_EQ(wall.of(second.at(machine.read())), machine.wall_ms);
  // A step that is taken back leaves nothing behind.
  machine.wall_ms -= kDay;
  ASSERT_EQ(second.look(machine.read()), -kDay);
  EXPECT_TRUE(second.kept().wall.changes().empty());
}

TEST(WallTime, LeavesWhatIsNoMomentAlone) {
  WallTime wall;
  wall.set({.from_ms = 0, .ahead_ms = 5});
  EXPECT_EQ(wall.of(0), 0);
  EXPECT_EQ(wall.of(kNeverMs), kNeverMs);
  EXPECT_EQ(wall.of(1), 6);
}

TEST(WallTime, IsBounded) {
  WallTime wall;
  for (std::int64_t i = 1; i <= 40; ++i) wall.set({.from_ms = i * 1'000, .ahead_ms = i});
  ASSERT_EQ(wall.changes().size(), WallTime::kMost);
  EXPECT_EQ(wall.ahead_ms(), 40);
  EXPECT_EQ(wall.of(40'500), 40'540);
  EXPECT_EQ(wall.of(500), 525);  // older than what is remembered
}

}  // namespace
}  // namespace vigil::broker
