#include "store/time_keeper.h"

#include <gtest/gtest.h>

#include "store/store_driver_test.h"

namespace vigil::store {
namespace {

using broker::KeptTime;

KeptTime behind() {
  KeptTime time{.reached_ms = kNoon, .boot = 0xFEDC'BA98'7654'3210ULL, .boot_began_ms = -7};
  time.wall.set({.from_ms = 5, .ahead_ms = 2'592'000'000});
  time.wall.set({.from_ms = kNoon - 1'000, .ahead_ms = -86'400'000});
  return time;
}

KeptTime kept_in(const std::filesystem::path& directory) {
  Driver store(directory);
  const auto time = store.store().kept_time();
  EXPECT_TRUE(time.has_value());
  return time.value_or(KeptTime{});
}

TEST(TimeKeeper, ANewStoreHasNone) {
  const TempDirectory directory;
  EXPECT_EQ(kept_in(directory.path()), KeptTime{});
}

TEST(TimeKeeper, KeepsWhatItWasGiven) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    EXPECT_TRUE(store.store().kept_time().has_value());
    store.store().keep_time(behind());  // before it runs: written first
    store.start();
    store.stop();
  }
  EXPECT_EQ(kept_in(directory.path()), behind());
  // What is not true any more goes.
  KeptTime changed = behind();
  changed.boot = 9;
  changed.boot_began_ms = kNoon;
  changed.wall.set({.from_ms = 7, .ahead_ms = 1});
  {
    Driver store(directory.path());
    EXPECT_TRUE(store.store().kept_time().has_value());
    store.start();
    store.store().keep_time(behind());
    store.store().keep_time(changed);
    store.stop();
  }
  EXPECT_EQ(kept_in(directory.path()), changed);
}

TEST(TimeKeeper, KnowsFromWhatIsWrittenHowFarTimeHasGot) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    EXPECT_TRUE(store.store().kept_time().has_value());
    store.store().keep_time(behind());
    store.start();
    store.write({.at = {.at = kNow.at, .unix_ms = kNoon + 60'000}, .changes = {session(1, "a")}});
    // Another shard's clock is a moment behind.
    store.write({.at = {.at = kNow.at, .unix_ms = kNoon + 59'999}, .changes = {session(2, "b")}}, 1);
  }
  KeptTime later = behind();
  later.reached_ms = kNoon + 60'000;
  EXPECT_EQ(kept_in(directory.path()), later);
}

}  // namespace
}  // namespace vigil::store
