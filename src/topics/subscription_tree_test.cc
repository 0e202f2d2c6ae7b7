#include "topics/subscription_tree.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace vigil::topics {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

mqtt::TopicFilter plain(std::string_view filter) { return {.filter = filter, .group = {}}; }
mqtt::TopicFilter shared(std::string_view group, std::string_view filter) { return {.filter = filter, .group = group}; }
Subscription by(SubscriberId subscriber, std::uint32_t id = 0) {
  return {.subscriber = subscriber, .subscription_id = id, .options = {}};
}

std::vector<SubscriberId> who(SubscriptionTree& tree, std::string_view topic) {
  std::vector<SubscriberId> found;
  for (const auto span : tree.match(topic).plain) {
    for (const auto& item : span) found.push_back(item.subscriber);
  }
  return found;
}

// [MQTT-3.8.4-3] [MQTT3-3.8.4-3]
TEST(SubscriptionTree, ReplacesTheSubscriptionToAnIdenticalFilter) {
  SubscriptionTree tree;
  EXPECT_EQ(tree.add(plain("a/+"), by(1, 10)).added, SubscriptionTree::Added::New);
  const auto again =
      tree.add(plain("a/+"),
               {.subscriber = 1, .subscription_id = 11, .options = {.qos = mqtt::QoS::ExactlyOnce, .no_local = true}});
  EXPECT_EQ(again.added, SubscriptionTree::Added::Replaced);
  EXPECT_FALSE(again.first_of_filter);
  EXPECT_EQ(tree.size(), 1U);
  const auto* found = tree.find(plain("a/+"), 1);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->subscription_id, 11U);
  EXPECT_EQ(found->options.qos, mqtt::QoS::ExactlyOnce);
  EXPECT_THAT(who(tree, "a/b"), ElementsAre(1));
}

TEST(SubscriptionTree, KeepsOverlappingFiltersApart) {
  SubscriptionTree tree;
  for (const auto* filter : {"a/#", "a/+", "a/b", "+/b", "#"}) tree.add(plain(filter), by(1));
  EXPECT_EQ(tree.match("a/b").plain.size(), 5U);
  EXPECT_EQ(tree.size(), 5U);
  EXPECT_EQ(tree.filters(), 5U);
}

TEST(SubscriptionTree, TellsFirstAndLastOfAFilterAndOfAGroup) {
  SubscriptionTree tree;
  EXPECT_TRUE(tree.add(plain("a"), by(1)).first_of_filter);
  EXPECT_FALSE(tree.add(plain("a"), by(2)).first_of_filter);
  EXPECT_TRUE(tree.add(shared("g", "a"), by(1)).first_of_filter);
  EXPECT_TRUE(tree.add(shared("h", "a"), by(1)).first_of_filter);
  EXPECT_FALSE(tree.add(shared("h", "a"), by(2)).first_of_filter);
  EXPECT_EQ(tree.size(), 5U);
  EXPECT_EQ(tree.filters(), 3U);

  EXPECT_FALSE(tree.remove(plain("a"), 1).last_of_filter);
  EXPECT_TRUE(tree.remove(plain("a"), 2).last_of_filter);
  EXPECT_TRUE(tree.remove(shared("g", "a"), 1).last_of_filter);
  EXPECT_FALSE(tree.remove(shared("h", "a"), 2).last_of_filter);
  EXPECT_FALSE(tree.remove(shared("h", "a"), 2).removed);
  EXPECT_TRUE(tree.remove(shared("h", "a"), 1).last_of_filter);
  EXPECT_EQ(tree.size(), 0U);
  EXPECT_EQ(tree.filters(), 0U);
}

TEST(SubscriptionTree, RemovesNothingThatIsNotThere) {
  SubscriptionTree tree;
  tree.add(plain("a/b"), by(1));
  tree.add(shared("g", "a/b"), by(1));
  for (const auto& filter : {plain("a"), plain("a/b/c"), plain("a/+"), shared("h", "a/b"), shared("g", "a")}) {
    EXPECT_FALSE(tree.remove(filter, 1).removed) << filter.filter;
    EXPECT_EQ(tree.find(filter, 1), nullptr) << filter.filter;
  }
  EXPECT_FALSE(tree.remove(plain("a/b"), 2).removed);
  EXPECT_FALSE(tree.remove(shared("g", "a/b"), 2).removed);
  EXPECT_EQ(tree.size(), 2U);
}

// 4.8.2's examples: the same group name on another filter is another group, and so is another group on the same filter;
// a plain subscription stands beside them.
TEST(SubscriptionTree, KnowsGroupsByNameAndFilter) {
  SubscriptionTree tree;
  tree.add(shared("consumer1", "sport/tennis/+"), by(1));
  tree.add(shared("consumer2", "sport/tennis/+"), by(2));
  tree.add(shared("consumer1", "sport/#"), by(3));
  tree.add(shared("consumer1", "finance/#"), by(4));
  tree.add(plain("sport/tennis/+"), by(5));
  std::vector<std::string> names;
  for (const auto* group : tree.match("sport/tennis/Murray").groups) {
    names.push_back(std::string(group->group()) + " " + std::string(group->filter()));
  }
  EXPECT_THAT(names, UnorderedElementsAre("consumer1 sport/tennis/+", "consumer2 sport/tennis/+", "consumer1 sport/#"));
  EXPECT_THAT(who(tree, "sport/tennis/Murray"), ElementsAre(5));
  ASSERT_NE(tree.find_group("consumer1", "finance/#"), nullptr);
  EXPECT_NE(tree.find_group("consumer1", "finance/#")->find(4), nullptr);
  EXPECT_EQ(tree.find_group("consumer2", "finance/#"), nullptr);
}

TEST(SubscriptionTree, SeesNewSubscribersOfAFilterThatWasMatchedBefore) {
  SubscriptionTree tree;
  tree.add(plain("a/+"), by(1));
  tree.add(plain("b/x"), by(8));
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(1));
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(1));
  tree.add(plain("a/+"), by(2));
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(1, 2));
  tree.remove(plain("a/+"), 1);
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(2));
  tree.add(shared("g", "a/+"), by(3));
  EXPECT_EQ(tree.match("a/x").groups.size(), 1U);
  tree.remove(plain("a/+"), 2);
  EXPECT_TRUE(tree.match("a/x").plain.empty());
  EXPECT_EQ(tree.match("a/x").groups.size(), 1U);
}

TEST(SubscriptionTree, SeesFiltersThatComeAndGoBetweenMatches) {
  SubscriptionTree tree;
  tree.add(plain("a/x"), by(1));
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(1));
  tree.add(plain("a/#"), by(2));
  EXPECT_THAT(who(tree, "a/x"), UnorderedElementsAre(1, 2));
  tree.remove(plain("a/x"), 1);
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(2));
  tree.remove(plain("a/#"), 2);
  EXPECT_THAT(who(tree, "a/x"), ElementsAre());
  tree.add(plain("+/x"), by(3));
  EXPECT_THAT(who(tree, "a/x"), ElementsAre(3));
}

// More topics than the cache holds, and filters that change under it.
TEST(SubscriptionTree, MatchesRightlyWithMoreTopicsThanItRemembers) {
  SubscriptionTree tree;
  tree.add(plain("room/+/light"), by(1));
  tree.add(plain("room/7/#"), by(2));
  base::Random random(3);
  for (int round = 0; round < 60'000; ++round) {
    const auto room = random.below(10'000);
    const auto found = who(tree, "room/" + std::to_string(room) + "/light");
    if (room == 7) {
      ASSERT_THAT(found, UnorderedElementsAre(1, 2));
    } else {
      ASSERT_THAT(found, ElementsAre(1));
    }
    if (round % 20'000 == 0) tree.add(plain("room/x" + std::to_string(round)), by(9));
  }
}

TEST(SubscriptionTree, IsQuickWithAHundredThousandSubscribersOnOneFilter) {
  constexpr SubscriberId kSubscribers = 100'000;
  SubscriptionTree tree;
  for (SubscriberId id = 0; id < kSubscribers; ++id) {
    ASSERT_EQ(tree.add(plain("news/#"), by(id)).first_of_filter, id == 0);
    tree.add(shared("g", "news/#"), by(id));
  }
  const auto matches = tree.match("news/today");
  ASSERT_EQ(matches.plain.size(), 1U);
  EXPECT_EQ(matches.plain[0].size(), kSubscribers);
  for (SubscriberId id = 0; id < kSubscribers; ++id) {
    ASSERT_EQ(tree.add(plain("news/#"), by(id, 7)).added, SubscriptionTree::Added::Replaced);
    ASSERT_EQ(tree.find(plain("news/#"), id)->subscription_id, 7U);
  }
  // From the front, the middle and the end: every other id goes in one order, the rest in another.
  for (SubscriberId id = 0; id < kSubscribers; id += 2) ASSERT_TRUE(tree.remove(plain("news/#"), id).removed);
  for (SubscriberId id = 0; id < kSubscribers; ++id) {
    ASSERT_EQ(tree.find(plain("news/#"), id) != nullptr, id % 2 == 1);
  }
  for (SubscriberId id = kSubscribers - 1; id > 1; id -= 2) {
    ASSERT_FALSE(tree.remove(plain("news/#"), id).last_of_filter);
  }
  EXPECT_THAT(who(tree, "news"), ElementsAre(1));
  EXPECT_TRUE(tree.remove(plain("news/#"), 1).last_of_filter);
  for (SubscriberId id = 0; id < kSubscribers; ++id) tree.remove(shared("g", "news/#"), id);
  EXPECT_EQ(tree.size(), 0U);
}

// One client may name as many groups as it likes.
TEST(SubscriptionTree, IsQuickWithAHundredThousandGroupsOnOneFilter) {
  constexpr int kGroups = 100'000;
  SubscriptionTree tree;
  for (int i = 0; i < kGroups; ++i) {
    ASSERT_TRUE(tree.add(shared("g" + std::to_string(i), "a/b"), by(1)).first_of_filter);
  }
  EXPECT_EQ(tree.match("a/b").groups.size(), static_cast<std::size_t>(kGroups));
  for (int i = 0; i < kGroups; ++i) {
    ASSERT_TRUE(tree.remove(shared("g" + std::to_string(i), "a/b"), 1).last_of_filter);
  }
  EXPECT_EQ(tree.filters(), 0U);
}

const auto anybody = [](const Subscription&) { return true; };

class ShareGroupTurns : public testing::Test {
 protected:
  void join(SubscriberId id) { tree.add(shared("g", "f"), by(id)); }
  void leave(SubscriberId id) { tree.remove(shared("g", "f"), id); }
  ShareGroup& group() { return *tree.find_group("g", "f"); }
  SubscriberId turn() { return group().next(anybody)->subscriber; }
  SubscriptionTree tree;
};

TEST_F(ShareGroupTurns, ServeEverybodyEquallyOften) {
  for (SubscriberId id = 0; id < 7; ++id) join(id);
  std::map<SubscriberId, int> served;
  for (int i = 0; i < 700; ++i) ++served[turn()];
  EXPECT_EQ(served.size(), 7U);
  for (const auto& [id, times] : served) EXPECT_EQ(times, 100) << id;
}

TEST_F(ShareGroupTurns, PassOverWhoIsNotEligible) {
  for (SubscriberId id = 0; id < 4; ++id) join(id);
  std::map<SubscriberId, int> served;
  for (int i = 0; i < 60; ++i) {
    ++served[group().next([](const Subscription& item) { return item.subscriber != 2; })->subscriber];
  }
  EXPECT_THAT(served, ElementsAre(std::pair(0, 20), std::pair(1, 20), std::pair(3, 20)));
}

TEST_F(ShareGroupTurns, AskEachMemberOnceAtMost) {
  for (SubscriberId id = 0; id < 4; ++id) join(id);
  turn();
  std::vector<SubscriberId> asked;
  EXPECT_EQ(group().next([&](const Subscription& item) {
    asked.push_back(item.subscriber);
    return false;
  }),
            nullptr);
  EXPECT_THAT(asked, ElementsAre(1, 2, 3, 0));
}

TEST_F(ShareGroupTurns, ServeTheRestOfARoundWhenOneLeaves) {
  for (SubscriberId gone = 0; gone < 6; ++gone) {
    SCOPED_TRACE(gone);
    for (SubscriberId id = 0; id < 6; ++id) join(id);
    std::vector<SubscriberId> round{turn(), turn(), turn()};
    leave(gone);
    join(100);
    const auto rest = std::find(round.begin(), round.end(), gone) == round.end() ? 3 : 4;
    for (int i = 0; i < rest; ++i) round.push_back(turn());
    round.push_back(gone);
    std::sort(round.begin(), round.end());
    round.erase(std::unique(round.begin(), round.end()), round.end());
    EXPECT_THAT(round, ElementsAre(0, 1, 2, 3, 4, 5, 100));
    for (SubscriberId id = 0; id < 6; ++id) leave(id);
    leave(100);
  }
}

TEST_F(ShareGroupTurns, KeepTheirOrderForAMemberThatSubscribesAgain) {
  for (SubscriberId id = 0; id < 3; ++id) join(id);
  EXPECT_EQ(turn(), 0U);
  tree.add(shared("g", "f"), by(0, 5));
  EXPECT_EQ(group().size(), 3U);
  EXPECT_EQ(turn(), 1U);
  EXPECT_EQ(turn(), 2U);
  EXPECT_EQ(group().next(anybody)->subscription_id, 5U);
}

}  // namespace
}  // namespace vigil::topics
