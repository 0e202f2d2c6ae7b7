#include "sim/swarm.h"

#include <gtest/gtest.h>

namespace vigil::sim {
namespace {

TEST(Swarm, HoldsForTheFirstSeeds) {
  Oracle::Counts sum;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const SwarmResult result = run_swarm(seed);
    ASSERT_TRUE(result.ok) << "seed " << seed << ": " << result.violation;
    sum.timeouts += result.counts.timeouts;
    sum.takeovers += result.counts.takeovers;
    sum.wills_published += result.counts.wills_published;
    sum.wills_cancelled += result.counts.wills_cancelled;
    sum.redeliveries += result.counts.redeliveries;
    sum.obligations += result.counts.obligations;
    sum.crashes += result.counts.crashes;
    sum.uncertain_wills += result.counts.uncertain_wills;
  }
  // A swarm in which nothing happens shows nothing.
  EXPECT_GT(sum.timeouts, 100U);
  EXPECT_GT(sum.takeovers, 100U);
  EXPECT_GT(sum.wills_published, 100U);
  EXPECT_GT(sum.wills_cancelled, 100U);
  EXPECT_GT(sum.redeliveries, 100U);
  EXPECT_GT(sum.obligations, 1000U);
  EXPECT_GT(sum.crashes, 50U);
  // Most wills are not left to chance.
  EXPECT_LT(sum.uncertain_wills, sum.wills_published / 10);
}

TEST(Swarm, IsTheSameForTheSameSeed) {
  const SwarmResult first = run_swarm(42);
  const SwarmResult again = run_swarm(42);
  EXPECT_EQ(first.trace, again.trace);
  EXPECT_EQ(first.events, again.events);
  EXPECT_NE(first.trace, run_swarm(43).trace);
}

}  // namespace
}  // namespace vigil::sim
