#include "topics/retained_tree.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vigil::topics {
namespace {

using testing::ElementsAre;

template <class T>
std::vector<std::string> matched(RetainedTree<T>& tree, std::string_view filter) {
  std::vector<std::string> topics;
  tree.for_each_match(filter, [&](std::string_view topic, T&) { topics.emplace_back(topic); });
  return topics;
}

TEST(RetainedTree, OverwritesAndErases) {
  RetainedTree<std::string> tree;
  EXPECT_EQ(tree.find("a/b"), nullptr);
  EXPECT_EQ(tree.set("a/b", "one"), "one");
  EXPECT_EQ(tree.set("a/b", "two"), "two");
  EXPECT_EQ(tree.size(), 1U);
  ASSERT_NE(tree.find("a/b"), nullptr);
  EXPECT_EQ(*tree.find("a/b"), "two");
  EXPECT_EQ(tree.find("a"), nullptr);
  EXPECT_FALSE(tree.erase("a"));
  EXPECT_FALSE(tree.erase("a/b/c"));
  EXPECT_TRUE(tree.erase("a/b"));
  EXPECT_FALSE(tree.erase("a/b"));
  EXPECT_EQ(tree.size(), 0U);
}

TEST(RetainedTree, GoesThroughParentsFirstAndSiblingsInOrderOfArrival) {
  RetainedTree<int> tree;
  for (const auto* topic : {"z/2", "z/1", "a", "z", "z/2/x"}) tree.set(topic, 0);
  EXPECT_THAT(matched(tree, "#"), ElementsAre("z", "z/2", "z/2/x", "z/1", "a"));
  EXPECT_THAT(matched(tree, "z/+"), ElementsAre("z/2", "z/1"));
  tree.erase("z/2/x");
  tree.erase("z/2");
  tree.set("z/2", 0);
  EXPECT_THAT(matched(tree, "z/#"), ElementsAre("z", "z/1", "z/2"));
}

TEST(RetainedTree, KeepsTheListOfSiblingsWholeWhicheverOneGoes) {
  for (const auto* gone : {"a", "b", "c"}) {
    RetainedTree<int> tree;
    for (const auto* topic : {"a", "b", "c"}) tree.set(topic, 0);
    tree.erase(gone);
    tree.set("d", 0);
    std::vector<std::string> expected{"a", "b", "c", "d"};
    std::erase(expected, gone);
    EXPECT_EQ(matched(tree, "+"), expected);
    for (const auto* topic : {"a", "b", "c", "d"}) tree.erase(topic);
    EXPECT_THAT(matched(tree, "+"), ElementsAre());
    tree.set("e", 0);
    EXPECT_THAT(matched(tree, "+"), ElementsAre("e"));
  }
}

// [MQTT-4.7.2-1] [MQTT3-4.7.2-1]
TEST(RetainedTree, HidesDollarTopicsFromLeadingWildcardsOnly) {
  RetainedTree<int> tree;
  for (const auto* topic : {"$a/b", "b/b", "$c/b", "d/$b"}) tree.set(topic, 0);
  EXPECT_THAT(matched(tree, "#"), ElementsAre("b/b", "d/$b"));
  EXPECT_THAT(matched(tree, "+/b"), ElementsAre("b/b"));
  EXPECT_THAT(matched(tree, "+/#"), ElementsAre("b/b", "d/$b"));
  EXPECT_THAT(matched(tree, "$a/+"), ElementsAre("$a/b"));
  EXPECT_THAT(matched(tree, "$c/#"), ElementsAre("$c/b"));
  std::vector<std::string> all;
  tree.for_each([&](std::string_view topic, int&) { all.emplace_back(topic); });
  EXPECT_THAT(all, ElementsAre("$a/b", "b/b", "$c/b", "d/$b"));
}

TEST(RetainedTree, LetsTheVisitorChangeValues) {
  RetainedTree<int> tree;
  tree.set("a/b", 1);
  tree.for_each_match("a/#", [](std::string_view, int& value) { value = 5; });
  EXPECT_EQ(*tree.find("a/b"), 5);
}

TEST(RetainedTree, FreesWhatItHolds) {
  const auto held = std::make_shared<int>(1);
  {
    RetainedTree<std::shared_ptr<int>> tree;
    tree.set("a", held);
    tree.set("a/b", held);
    tree.set("a", nullptr);
    EXPECT_EQ(held.use_count(), 2);
    tree.set("c", held);
    tree.erase("c");
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace vigil::topics
