#include "base/random.h"

#include <array>
#include <set>

namespace vigil::base {
namespace {

TEST(Random, GivesTheNumbersOfSplitMix64) {
  // The reference sequence for seed 1234567, by Vigna's splitmix64.c.
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
  EXPECT_EQ(random.next(), 9817491932198370423ULL);
}

TEST(Random, StaysBelowTheBoundAndReachesAllOfIt) {
  Random random(1);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.below(7));
  EXPECT_EQ(seen, (std::set<std::uint64_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(random.below(0), 0U);
  EXPECT_EQ(random.below(1), 0U);
}

TEST(Random, IncludesBothEndsOfARange) {
  Random random(2);
  std::set<std::int64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.between(-1, 2));
  EXPECT_EQ(seen, (std::set<std::int64_t>{-1, 0, 1, 2}));
  EXPECT_EQ(random.between(5, 5), 5);
}

TEST(Random, HitsAChanceAboutAsOftenAsAsked) {
  Random random(3);
  int hits = 0;
  for (int i = 0; i < 10'000; ++i) hits += random.chance(25) ? 1 : 0;
  EXPECT_NEAR(hits, 2500, 200);
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(random.chance(0));
    EXPECT_TRUE(random.chance(100));
  }
}

}  // namespace
}  // namespace vigil::base
