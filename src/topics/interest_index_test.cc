#include "topics/interest_index.h"

#include <map>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vigil::topics {
namespace {

using testing::ElementsAre;

TEST(InterestIndex, AddsAndRemovesOnceHoweverOftenItIsTold) {
  InterestIndex index;
  EXPECT_TRUE(index.empty());
  index.add("a/+", 3);
  index.add("a/+", 3);
  index.add("a/+", 63);
  EXPECT_EQ(index.filters(), 1U);
  EXPECT_EQ(index.match("a/b").targets, 1ULL << 3U | 1ULL << 63U);
  index.remove("a/+", 3);
  index.remove("a/+", 3);
  index.remove("a/b", 63);
  EXPECT_EQ(index.match("a/b").targets, 1ULL << 63U);
  index.remove("a/+", 63);
  EXPECT_TRUE(index.empty());
  EXPECT_EQ(index.filters(), 0U);
  EXPECT_EQ(index.match("a/b").targets, 0U);
}

TEST(InterestIndex, UnitesTheTargetsOfAllFiltersThatMatch) {
  InterestIndex index;
  index.add("#", 0);
  index.add("a/+", 1);
  index.add("a/b", 2);
  index.add("a/c", 3);
  EXPECT_EQ(index.match("a/b").targets, 0b0111U);
  EXPECT_EQ(index.match("a/c").targets, 0b1011U);
  EXPECT_EQ(index.match("x").targets, 0b0001U);
  EXPECT_EQ(index.match("$SYS").targets, 0U);
}

TEST(InterestIndex, SeesChangesBetweenMatchesOfATopic) {
  InterestIndex index;
  index.add("a/b", 0);
  EXPECT_EQ(index.match("a/b").targets, 0b001U);
  EXPECT_EQ(index.match("a/b").targets, 0b001U);
  index.add("a/b", 1);
  EXPECT_EQ(index.match("a/b").targets, 0b011U);
  index.add("a/#", 2);
  EXPECT_EQ(index.match("a/b").targets, 0b111U);
  index.remove("a/b", 0);
  index.remove("a/b", 1);
  EXPECT_EQ(index.match("a/b").targets, 0b100U);
  index.set_group("g", "a/b", 5, {.members = 1, .connected = 0});
  EXPECT_EQ(index.match("a/b").groups.size(), 1U);
  index.set_group("g", "a/b", 5, {});
  EXPECT_EQ(index.match("a/b").groups.size(), 0U);
  EXPECT_EQ(index.match("a/b").targets, 0b100U);
}

TEST(InterestIndex, CountsMembersOfAGroupByTarget) {
  InterestIndex index;
  index.set_group("g", "f", 4, {.members = 3, .connected = 1});
  index.set_group("g", "f", 2, {.members = 5, .connected = 5});
  index.set_group("h", "f", 2, {.members = 1, .connected = 1});
  auto* group = index.find_group("g", "f");
  ASSERT_NE(group, nullptr);
  EXPECT_EQ(group->group(), "g");
  EXPECT_EQ(group->filter(), "f");
  EXPECT_EQ(group->at(4), (InterestIndex::GroupMembers{.members = 3, .connected = 1}));
  EXPECT_EQ(group->at(2), (InterestIndex::GroupMembers{.members = 5, .connected = 5}));
  EXPECT_EQ(group->at(0), InterestIndex::GroupMembers{});
  EXPECT_EQ(group->targets(), 0b10100U);
  EXPECT_EQ(index.match("f").groups.size(), 2U);
  EXPECT_EQ(index.match("f").targets, 0U);
  EXPECT_EQ(index.filters(), 2U);
  index.set_group("g", "f", 4, {});
  index.set_group("g", "f", 4, {});
  EXPECT_EQ(index.find_group("g", "f")->targets(), 0b00100U);
  index.set_group("g", "f", 2, {});
  EXPECT_EQ(index.find_group("g", "f"), nullptr);
  EXPECT_NE(index.find_group("h", "f"), nullptr);
}

class InterestGroupTurns : public testing::Test {
 protected:
  void set(unsigned target, std::uint32_t members, std::uint32_t connected) {
    index.set_group("g", "f", target, {.members = members, .connected = connected});
  }
  InterestIndex::Group& group() { return *index.find_group("g", "f"); }
  std::map<unsigned, int> turns(int count, InterestIndex::Targets exclude = 0) {
    std::map<unsigned, int> taken;
    for (int i = 0; i < count; ++i) {
      const auto target = group().next(exclude);
      if (target) ++taken[*target];
    }
    return taken;
  }
  InterestIndex index;
};

TEST_F(InterestGroupTurns, AreWeightedByConnectedMembers) {
  set(0, 9, 1);
  set(1, 9, 2);
  set(5, 9, 5);
  set(6, 9, 0);
  EXPECT_THAT(turns(8), ElementsAre(std::pair(0, 1), std::pair(1, 2), std::pair(5, 5)));
  EXPECT_THAT(turns(800), ElementsAre(std::pair(0, 100), std::pair(1, 200), std::pair(5, 500)));
}

TEST_F(InterestGroupTurns, AreMixedSmoothly) {
  set(0, 3, 3);
  set(1, 3, 3);
  std::vector<unsigned> order;
  for (int i = 0; i < 6; ++i) order.push_back(*group().next());
  EXPECT_THAT(order, ElementsAre(0, 1, 0, 1, 0, 1));
}

TEST_F(InterestGroupTurns, GoByMembersWhereNobodyIsConnected) {
  set(0, 1, 0);
  set(1, 3, 0);
  EXPECT_THAT(turns(40), ElementsAre(std::pair(0, 10), std::pair(1, 30)));
  set(0, 1, 1);
  EXPECT_THAT(turns(40), ElementsAre(std::pair(0, 40)));
}

TEST_F(InterestGroupTurns, LeaveOutWhoIsExcluded) {
  set(0, 1, 1);
  set(1, 1, 1);
  set(2, 2, 0);
  EXPECT_THAT(turns(10, 0b001), ElementsAre(std::pair(1, 10)));
  EXPECT_THAT(turns(10, 0b011), ElementsAre(std::pair(2, 10)));  // nobody else is connected
  EXPECT_EQ(group().next(0b111), std::nullopt);
  EXPECT_EQ(group().next(~InterestIndex::Targets{0}), std::nullopt);
}

// What a large weight earned or owed must not rule after it has become small.
TEST_F(InterestGroupTurns, AreFairAgainSoonAfterTheWeightsChange) {
  set(0, 1'000'000, 1'000'000);
  set(1, 1, 1);
  turns(400'000);
  set(0, 1, 1);
  turns(4);
  EXPECT_THAT(turns(100), ElementsAre(std::pair(0, 50), std::pair(1, 50)));
}

TEST_F(InterestGroupTurns, TakeInATargetThatJoins) {
  set(3, 1, 1);
  turns(5);
  set(1, 1, 1);
  EXPECT_THAT(turns(10), ElementsAre(std::pair(1, 5), std::pair(3, 5)));
}

}  // namespace
}  // namespace vigil::topics
