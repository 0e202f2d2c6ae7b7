#include "base/slot_map.h"

#include <array>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/random.h"

namespace vigil::base {
namespace {

struct ThingTag;
using Things = SlotMap<std::string, ThingTag>;

TEST(SlotMap, FindsWhatWasPutIn) {
  Things things;
  const Things::Id a = things.emplace("a");
  const Things::Id b = things.emplace(3, 'b');
  EXPECT_EQ(*things.find(a), "a");
  EXPECT_EQ(things.at(b), "bbb");
  EXPECT_EQ(things.size(), 2U);
}

TEST(SlotMap, AStaleIdFindsNothingAlsoWhenItsSlotIsUsedAgain) {
  Things things;
  const Things::Id old = things.emplace("old");
  EXPECT_TRUE(things.erase(old));
  EXPECT_FALSE(things.erase(old));
  const Things::Id fresh = things.emplace("new");
  EXPECT_EQ(fresh.index, old.index);
  EXPECT_EQ(things.find(old), nullptr);
  EXPECT_EQ(*things.find(fresh), "new");
}

TEST(SlotMap, TheDefaultIdFindsNothing) {
  Things things;
  EXPECT_EQ(things.find({}), nullptr);
  things.emplace("a");
  EXPECT_EQ(things.find({}), nullptr);
  EXPECT_FALSE(Things::Id{});
  EXPECT_EQ(things.find({0, 0}), nullptr);
}

TEST(SlotMap, AnIdSurvivesTheWayThroughANumber) {
  const Things::Id id{7, 0xfedcba98};
  EXPECT_EQ(Things::Id::from_value(id.value()), id);
}

TEST(SlotMap, EraseDestroysTheThing) {
  SlotMap<std::shared_ptr<int>, ThingTag> things;
  const auto thing = std::make_shared<int>(1);
  const auto id = things.emplace(thing);
  EXPECT_EQ(thing.use_count(), 2);
  things.erase(id);
  EXPECT_EQ(thing.use_count(), 1);
}

TEST(SlotMap, WalksOverTheLivingOnly) {
  Things things;
  const Things::Id a = things.emplace("a");
  const Things::Id b = things.emplace("b");
  const Things::Id c = things.emplace("c");
  things.erase(b);
  std::map<std::string, Things::Id> seen;
  things.for_each([&](Things::Id id, std::string& thing) { seen[thing] = id; });
  EXPECT_EQ(seen, (std::map<std::string, Things::Id>{{"a", a}, {"c", c}}));
  EXPECT_EQ(things.slot_count(), 3U);
  EXPECT_EQ(things.at_index(1).second, nullptr);
  EXPECT_EQ(*things.at_index(2).second, "c");
  EXPECT_EQ(things.at_index(2).first, c);
}

TEST(SlotMapDeathTest, AtWithAStaleIdIsABrokenInvariant) {
  Things things;
  EXPECT_DEATH(things.at({}), "broken invariant");
}

TEST(SlotMap, AgreesWithAMap) {
  Random random(3);
  SlotMap<std::uint64_t, ThingTag> things;
  std::map<std::uint64_t, std::uint64_t> model;  // id -> value
  std::vector<std::uint64_t> ids;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    if (ids.empty() || random.chance(45)) {
      const auto id = things.emplace(i);
      ASSERT_TRUE(model.emplace(id.value(), i).second) << "an id came twice";
      ids.push_back(id.value());
    }
    const std::uint64_t some = ids[random.below(ids.size())];
    const auto id = SlotId<ThingTag>::from_value(some);
    const auto found = model.find(some);
    const std::uint64_t* thing = things.find(id);
    ASSERT_EQ(thing != nullptr, found != model.end());
    if (thing != nullptr) {
      ASSERT_EQ(*thing, found->second);
    }
    if (random.chance(60)) {
      ASSERT_EQ(things.erase(id), model.erase(some) == 1);
    }
    ASSERT_EQ(things.size(), model.size());
    ASSERT_EQ(things.empty(), model.empty());
  }
}

TEST(SlotMap, WhatIsLeftOfABurstIsFreed) {
  struct Counted {
    explicit Counted(int& count) : counted(count) { ++counted; }
    ~Counted() { --counted; }
    int& counted;
    std::array<char, 100> much{};
  };
  int alive = 0;
  SlotMap<Counted, ThingTag> things;
  std::vector<SlotId<ThingTag>> ids;
  for (int i = 0; i < 10'000; ++i) ids.push_back(things.emplace(alive));
  EXPECT_EQ(things.slot_count(), 10'000U);
  // Pointers stay where they are while others come and go.
  const Counted* kept = things.find(ids[5'000]);
  for (int i = 0; i < 10'000; ++i) {
    if (i != 5'000) {
      ASSERT_TRUE(things.erase(ids[static_cast<std::size_t>(i)]));
    }
  }
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(things.find(ids[5'000]), kept);
  for (int i = 0; i < 10'000; ++i)
    ASSERT_EQ(things.at_index(static_cast<std::uint32_t>(i)).second != nullptr, i == 5'000);
  // What comes then lies close together, and no id is one that was given out before.
  for (int i = 0; i < 100; ++i) {
    const auto id = things.emplace(alive);
    EXPECT_LT(id.index, 128U);
    EXPECT_EQ(things.find(ids[id.index]), nullptr);
  }
  EXPECT_EQ(alive, 101);
}

TEST(SlotMap, DestroysWhatIsInItAtItsEnd) {
  const auto thing = std::make_shared<int>(1);
  {
    SlotMap<std::shared_ptr<int>, ThingTag> things;
    for (int i = 0; i < 100; ++i) things.emplace(thing);
    EXPECT_EQ(thing.use_count(), 101);
  }
  EXPECT_EQ(thing.use_count(), 1);
}

TEST(SlotMap, IdsCanBeHashed) {
  std::unordered_set<Things::Id> ids{{1, 1}, {1, 2}, {1, 1}};
  EXPECT_EQ(ids.size(), 2U);
}

}  // namespace
}  // namespace vigil::base
