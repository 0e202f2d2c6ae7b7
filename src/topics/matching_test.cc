// The trees against the standard's examples (4.7, 4.8) and against the plain definition, mqtt::matches.
#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "mqtt/topic.h"
#include "topics/interest_index.h"
#include "topics/retained_tree.h"
#include "topics/subscription_tree.h"

namespace vigil::topics {
namespace {

mqtt::TopicFilter plain(std::string_view filter) { return {.filter = filter, .group = {}}; }

struct Example {
  std::string filter;
  std::string topic;
  bool matches;
};

std::string long_topic(std::size_t levels, const std::string& level) {
  std::string topic = level;
  for (std::size_t i = 1; i < levels; ++i) topic += "/" + level;
  return topic;
}

const Example kExamples[] = {
    // 4.7.1.2 multi-level wildcard: the parent and any number of child levels  [MQTT-4.7.1-1] [MQTT3-4.7.1-2]
    {"sport/tennis/player1/#", "sport/tennis/player1", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
    {"sport/tennis/player1/#", "sport/tennis/player10", false},
    {"sport/tennis/player1/#", "sport/tennis", false},
    {"sport/#", "sport", true},
    {"sport/#", "sport/", true},
    {"sport/#", "sports", false},
    {"#", "sport", true},
    {"#", "/", true},
    {"#", "a/b/c/d", true},
    {"sport/tennis/#", "sport/tennis/player1/ranking", true},
    // 4.7.1.3 single-level wildcard: one level, an empty one too  [MQTT-4.7.1-2] [MQTT3-4.7.1-3]
    {"sport/tennis/+", "sport/tennis/player1", true},
    {"sport/tennis/+", "sport/tennis/player2", true},
    {"sport/tennis/+", "sport/tennis/player1/ranking", false},
    {"sport/+", "sport", false},
    {"sport/+", "sport/", true},
    {"+/tennis/#", "sport/tennis/player1", true},
    {"+/tennis/#", "sport/tennis", true},
    {"+/tennis/#", "tennis", false},
    {"sport/+/player1", "sport/tennis/player1", true},
    {"sport/+/player1", "sport/tennis/doubles/player1", false},
    {"+/+", "/finance", true},
    {"/+", "/finance", true},
    {"+", "/finance", false},
    {"+", "finance", true},
    {"+/+", "finance", false},
    {"+//+", "a//b", true},
    {"+/+/+", "//", true},
    {"+/+", "//", false},
    // 4.7.2: leading wildcards do not match a leading $  [MQTT-4.7.2-1] [MQTT3-4.7.2-1]
    {"#", "$SYS/broker/version", false},
    {"#", "$SYS", false},
    {"+", "$SYS", false},
    {"+/#", "$SYS", false},
    {"+/monitor/Clients", "$SYS/monitor/Clients", false},
    {"$SYS/#", "$SYS/monitor/Clients", true},
    {"$SYS/#", "$SYS", true},
    {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
    {"a/#", "a/$b", true},
    {"a/+", "a/$b", true},
    {"+/$b", "a/$b", true},
    // 4.7.3: case, spaces and slashes count; nothing is normalised  [MQTT-4.7.3-4] [MQTT3-4.7.3-4]
    {"ACCOUNTS", "Accounts", false},
    {"Accounts payable", "Accounts payable", true},
    {"Accounts payable", "Accounts  payable", false},
    {"/A", "A", false},
    {"A", "/A", false},
    {"A/", "A", false},
    {"A//B", "A/B", false},
    {"A//B", "A//B", true},
    {"/", "/", true},
    {"/", "//", false},
    {"/#", "/", true},
    {"/#", "a", false},
    {"\xc3\xa9", "e\xcc\x81", false},
    // 4.8.2: the filters of its share examples
    {"sport/tennis/+", "sport/tennis/Murray", true},
    {"finance/#", "finance/stock", true},
};

class MatchingExamples : public testing::TestWithParam<Example> {};

TEST_P(MatchingExamples, AgreeWithThePlainDefinition) {
  const auto& [filter, topic, expected] = GetParam();
  EXPECT_EQ(mqtt::matches(filter, topic), expected);
}

TEST_P(MatchingExamples, HoldInTheSubscriptionTree) {
  const auto& [filter, topic, expected] = GetParam();
  SubscriptionTree tree;
  tree.add(plain(filter), {.subscriber = 7, .subscription_id = 0, .options = {}});
  for (int repeat = 0; repeat < 2; ++repeat) EXPECT_EQ(tree.match(topic).plain.size(), expected ? 1U : 0U);
}

TEST_P(MatchingExamples, HoldForShareGroups) {
  const auto& [filter, topic, expected] = GetParam();
  SubscriptionTree tree;
  tree.add({.filter = filter, .group = "consumer"}, {.subscriber = 7, .subscription_id = 0, .options = {}});
  const auto matches = tree.match(topic);
  EXPECT_TRUE(matches.plain.empty());
  EXPECT_EQ(matches.groups.size(), expected ? 1U : 0U);
}

TEST_P(MatchingExamples, HoldInTheInterestIndex) {
  const auto& [filter, topic, expected] = GetParam();
  InterestIndex index;
  index.add(filter, 5);
  index.set_group("consumer", filter, 6, {.members = 1, .connected = 1});
  for (int repeat = 0; repeat < 2; ++repeat) {
    const auto interest = index.match(topic);
    EXPECT_EQ(interest.targets, expected ? InterestIndex::Targets{1} << 5U : 0U);
    EXPECT_EQ(interest.groups.size(), expected ? 1U : 0U);
  }
}

TEST_P(MatchingExamples, HoldInTheRetainedTree) {
  const auto& [filter, topic, expected] = GetParam();
  RetainedTree<int> tree;
  tree.set(topic, 1);
  int found = 0;
  tree.for_each_match(filter, [&](std::string_view name, int&) {
    EXPECT_EQ(name, topic);
    ++found;
  });
  EXPECT_EQ(found, expected ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(Standard, MatchingExamples, testing::ValuesIn(kExamples));

// A few short levels, so that what is drawn meets again.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}

  std::string topic() {
    while (true) {
      std::string text;
      const auto levels = 1 + random_.below(4);
      for (std::uint64_t i = 0; i < levels; ++i) text += (i > 0 ? "/" : "") + level(i == 0);
      if (!text.empty()) return text;
    }
  }
  std::string filter() {
    while (true) {
      std::string text;
      const auto levels = 1 + random_.below(4);
      for (std::uint64_t i = 0; i < levels; ++i) {
        if (i > 0) text += '/';
        if (i + 1 == levels && random_.chance(25)) {
          text += '#';
        } else {
          text += random_.chance(25) ? "+" : level(i == 0);
        }
      }
      if (!text.empty()) return text;
    }
  }
  std::string group() { return random_.chance(70) ? "" : std::string(1, static_cast<char>('g' + random_.below(3))); }
  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  bool chance(unsigned percent) { return random_.chance(percent); }

 private:
  std::string level(bool first) {
    if (first && random_.chance(10)) return "$SYS";
    static constexpr std::string_view kLevels[] = {"", "a", "b", "c", "a longer level than fits in place"};
    return std::string(kLevels[random_.below(std::size(kLevels))]);
  }
  base::Random random_;
};

using Held = std::map<std::tuple<std::string, std::string, SubscriberId>, Subscription>;  // group, filter, subscriber
using Found = std::multiset<std::tuple<std::string, SubscriberId, std::uint32_t>>;  // group, subscriber, identifier

Found expected_of(const Held& held, const std::string& topic) {
  Found found;
  for (const auto& [key, subscription] : held) {
    const auto& [group, filter, subscriber] = key;
    if (mqtt::matches(filter, topic)) found.emplace(group, subscriber, subscription.subscription_id);
  }
  return found;
}

Found found_in(SubscriptionTree& tree, const std::string& topic) {
  Found found;
  const auto matches = tree.match(topic);
  for (const auto span : matches.plain) {
    EXPECT_FALSE(span.empty());
    for (const auto& item : span) found.emplace("", item.subscriber, item.subscription_id);
  }
  for (const auto* group : matches.groups) {
    EXPECT_GT(group->size(), 0U);
    group->for_each([&](const Subscription& item) {
      found.emplace(std::string(group->group()), item.subscriber, item.subscription_id);
    });
  }
  return found;
}

TEST(SubscriptionTreeModel, AgreesOverManyRandomSteps) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    SubscriptionTree tree;
    Held held;
    // Few subscribers: filters come and go. Many: a filter's list grows past its index.
    const std::uint64_t subscribers = seed % 3 == 0 ? 200 : 3;
    for (std::uint32_t step = 1; step <= 3000; ++step) {
      const std::string group = draw.group();
      const std::string text = draw.filter();
      const mqtt::TopicFilter filter{.filter = text, .group = group};
      const SubscriberId subscriber = draw.below(subscribers);
      const auto key = std::make_tuple(group, text, subscriber);
      const auto holders = [&] {
        return std::ranges::count_if(held, [&](const auto& item) {
          return std::get<0>(item.first) == group && std::get<1>(item.first) == text;
        });
      };
      // Grows at first and shrinks later, so that everything is pruned in the end.
      if (draw.chance(step < 1500 ? 60 : 35)) {
        const Subscription subscription{.subscriber = subscriber, .subscription_id = step, .options = {}};
        const bool first = holders() == 0;
        const auto result = tree.add(filter, subscription);
        ASSERT_EQ(result.first_of_filter, first);
        ASSERT_EQ(result.added == SubscriptionTree::Added::New, !held.contains(key));
        held[key] = subscription;
      } else {
        const bool there = held.erase(key) > 0;
        const auto result = tree.remove(filter, subscriber);
        ASSERT_EQ(result.removed, there);
        ASSERT_EQ(result.last_of_filter, there && holders() == 0);
      }
      const Subscription* found = tree.find(filter, subscriber);
      ASSERT_EQ(found != nullptr, held.contains(key));
      if (found != nullptr) {
        ASSERT_EQ(*found, held[key]);
      }
      ASSERT_EQ(tree.size(), held.size());
      const std::string topic = draw.topic();
      ASSERT_EQ(found_in(tree, topic), expected_of(held, topic)) << topic;
      if (draw.chance(30)) {
        ASSERT_EQ(found_in(tree, topic), expected_of(held, topic)) << topic << ", again";
      }
    }
    std::set<std::tuple<std::string, std::string>> filters;
    for (const auto& [key, subscription] : held) filters.emplace(std::get<0>(key), std::get<1>(key));
    EXPECT_EQ(tree.filters(), filters.size());
    for (const auto& [key, subscription] : held) {
      EXPECT_TRUE(tree.remove({.filter = std::get<1>(key), .group = std::get<0>(key)}, std::get<2>(key)).removed);
    }
    EXPECT_EQ(tree.size(), 0U);
    EXPECT_EQ(tree.filters(), 0U);
    EXPECT_TRUE(tree.match("a").plain.empty());
  }
}

TEST(InterestIndexModel, AgreesOverManyRandomSteps) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    InterestIndex index;
    std::map<std::string, InterestIndex::Targets> plain_model;
    std::map<std::pair<std::string, std::string>, std::map<unsigned, InterestIndex::GroupMembers>> groups;
    for (int step = 1; step <= 3000; ++step) {
      const std::string group = draw.group();
      const std::string filter = draw.filter();
      const auto target = static_cast<unsigned>(draw.below(64));
      const bool add = draw.chance(step < 1500 ? 60 : 30);
      if (group.empty() && add) {
        index.add(filter, target);
        plain_model[filter] |= InterestIndex::Targets{1} << target;
      } else if (group.empty()) {
        // Everything but one target often, so that filters vanish.
        for (unsigned other = 0; other < 64; ++other) {
          if (other == target) continue;
          index.remove(filter, other);
        }
        if (auto found = plain_model.find(filter); found != plain_model.end()) {
          found->second &= InterestIndex::Targets{1} << target;
          if (found->second == 0) plain_model.erase(found);
        }
      } else {
        const auto members = static_cast<std::uint32_t>(add ? 1 + draw.below(5) : 0);
        const InterestIndex::GroupMembers at{.members = members,
                                             .connected = static_cast<std::uint32_t>(draw.below(members + 1))};
        const auto few = target % 2;  // so that groups vanish
        index.set_group(group, filter, few, at);
        auto& shares = groups[{group, filter}];
        if (members > 0) {
          shares[few] = at;
        } else {
          shares.erase(few);
        }
        if (shares.empty()) groups.erase({group, filter});
        const auto* found = index.find_group(group, filter);
        ASSERT_EQ(found != nullptr, groups.contains({group, filter}));
        if (found != nullptr) {
          ASSERT_EQ(found->at(few), at);
        }
      }
      ASSERT_EQ(index.filters(), plain_model.size() + groups.size());
      ASSERT_EQ(index.empty(), plain_model.empty() && groups.empty());

      const std::string topic = draw.topic();
      InterestIndex::Targets targets = 0;
      for (const auto& [held, bits] : plain_model) {
        if (mqtt::matches(held, topic)) targets |= bits;
      }
      std::set<std::pair<std::string, std::string>> expected_groups;
      for (const auto& [name, shares] : groups) {
        if (mqtt::matches(name.second, topic)) expected_groups.insert(name);
      }
      const auto interest = index.match(topic);
      std::set<std::pair<std::string, std::string>> found_groups;
      for (const auto* found : interest.groups) found_groups.emplace(found->group(), found->filter());
      ASSERT_EQ(interest.targets, targets) << topic;
      ASSERT_EQ(interest.groups.size(), found_groups.size());
      ASSERT_EQ(found_groups, expected_groups) << topic;
    }
  }
}

TEST(RetainedTreeModel, AgreesOverManyRandomSteps) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    RetainedTree<int> tree;
    std::map<std::string, int> model;
    for (int step = 1; step <= 3000; ++step) {
      const std::string topic = draw.topic();
      if (draw.chance(step < 1500 ? 60 : 40)) {
        EXPECT_EQ(tree.set(topic, step), step);
        model[topic] = step;
      } else {
        ASSERT_EQ(tree.erase(topic), model.erase(topic) > 0);
      }
      ASSERT_EQ(tree.size(), model.size());
      const int* found = tree.find(topic);
      ASSERT_EQ(found != nullptr, model.contains(topic));
      if (found != nullptr) {
        ASSERT_EQ(*found, model[topic]);
      }

      const std::string filter = draw.filter();
      std::map<std::string, int> expected;
      for (const auto& [name, value] : model) {
        if (mqtt::matches(filter, name)) expected.emplace(name, value);
      }
      std::map<std::string, int> matched;
      tree.for_each_match(filter, [&](std::string_view name, int& value) {
        ASSERT_TRUE(matched.emplace(std::string(name), value).second) << name << " twice for " << filter;
      });
      ASSERT_EQ(matched, expected) << filter;
    }
    std::map<std::string, int> all;
    tree.for_each([&](std::string_view name, int& value) { all.emplace(std::string(name), value); });
    EXPECT_EQ(all, model);
    for (const auto& [name, value] : model) EXPECT_TRUE(tree.erase(name));
    EXPECT_EQ(tree.size(), 0U);
    tree.for_each([](std::string_view name, int&) { ADD_FAILURE() << name; });
  }
}

// 65,535 bytes of slashes are 65,536 levels: nothing may recurse, and walking them all must stay quick.
TEST(DeepTopics, AreMatchedAndFreed) {
  const std::string slashes(65535, '/');
  const std::string ones = long_topic(32767, "+");  // 65,533 bytes
  const std::string many = ones + "/#";
  const std::string letters = long_topic(32767, "a");
  SubscriptionTree tree;
  InterestIndex index;
  RetainedTree<int> retained;
  SubscriberId next = 1;
  for (const auto& filter : {slashes, ones, many, letters}) {
    tree.add(plain(filter), {.subscriber = next++, .subscription_id = 0, .options = {}});
    index.add(filter, static_cast<unsigned>(next));
  }
  retained.set(slashes, 1);
  retained.set(letters, 2);
  EXPECT_EQ(tree.match(slashes).plain.size(), 2U);  // itself and the open one
  EXPECT_EQ(tree.match(letters).plain.size(), 3U);
  EXPECT_EQ(std::popcount(index.match(letters).targets), 3);
  std::vector<int> found;
  const auto collect = [&](std::string_view, int& value) { found.push_back(value); };
  retained.for_each_match("#", collect);
  retained.for_each_match(ones, collect);
  retained.for_each_match(many, collect);
  EXPECT_THAT(found, testing::ElementsAre(1, 2, 2, 1, 2));
  EXPECT_TRUE(tree.remove(plain(slashes), 1).last_of_filter);
  EXPECT_TRUE(retained.erase(slashes));
  EXPECT_EQ(tree.match(slashes).plain.size(), 1U);
  EXPECT_EQ(retained.size(), 1U);
}

// All combinations of a letter and "+" over twelve levels: a topic keeps every one of them in play.
TEST(DeepTopics, ReachEachNodeOnce) {
  constexpr unsigned kLevels = 12;
  SubscriptionTree tree;
  for (unsigned bits = 0; bits < 1U << kLevels; ++bits) {
    std::string filter;
    for (unsigned level = 0; level < kLevels; ++level) {
      if (level > 0) filter += '/';
      filter += (bits >> level & 1U) != 0 ? '+' : 'a';
    }
    tree.add(plain(filter), {.subscriber = bits, .subscription_id = 0, .options = {}});
  }
  EXPECT_EQ(tree.match(long_topic(kLevels, "a")).plain.size(), 1U << kLevels);
  EXPECT_EQ(tree.match("b/" + long_topic(kLevels - 1, "a")).plain.size(), 1U << (kLevels - 1));
  EXPECT_TRUE(tree.match(long_topic(kLevels - 1, "a")).plain.empty());
}

}  // namespace
}  // namespace vigil::topics
