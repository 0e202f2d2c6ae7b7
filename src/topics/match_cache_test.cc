#include "topics/match_cache.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "topics/text_hash.h"

namespace vigil::topics {
namespace {

using testing::Pointee;

class MatchCacheTest : public testing::Test {
 protected:
  void put(const std::string& topic, std::uint64_t generation, const std::vector<int*>& matches) {
    cache.put(hash_text(1, topic), topic, generation, matches);
  }
  const std::vector<int*>* find(const std::string& topic, std::uint64_t generation) {
    return cache.find(hash_text(1, topic), topic, generation);
  }
  // As the trees do: what is not known is found out and put.
  void ask(const std::string& topic) {
    if (find(topic, 1) == nullptr) put(topic, 1, {&one});
  }
  int one = 1;
  int two = 2;
  MatchCache<int> cache;
};

TEST_F(MatchCacheTest, KnowsATopicAtItsGenerationOnly) {
  EXPECT_EQ(find("a", 1), nullptr);
  put("a", 1, {&one, &two});
  EXPECT_THAT(find("a", 1), Pointee(testing::ElementsAre(&one, &two)));
  EXPECT_EQ(find("b", 1), nullptr);
  EXPECT_EQ(find("a", 2), nullptr);
  put("a", 2, {});
  EXPECT_THAT(find("a", 2), Pointee(testing::IsEmpty()));
}

TEST_F(MatchCacheTest, TellsTopicsOfOneHashApart) {
  cache.put(5, "a", 1, {&one});
  EXPECT_EQ(cache.find(5, "b", 1), nullptr);
  cache.put(5, "b", 1, {&two});
  EXPECT_THAT(cache.find(5, "a", 1), Pointee(testing::ElementsAre(&one)));
  EXPECT_THAT(cache.find(5, "b", 1), Pointee(testing::ElementsAre(&two)));
}

TEST_F(MatchCacheTest, GivesUpTheTopicOfAPairThatWasNotAskedForLast) {
  for (const auto* kept : {"a", "b"}) {
    cache.put(5, "a", 1, {&one});
    cache.put(5, "b", 1, {&one});
    ASSERT_NE(cache.find(5, kept, 1), nullptr);
    cache.put(5, "c", 1, {&two});
    EXPECT_NE(cache.find(5, kept, 1), nullptr) << kept;
    EXPECT_NE(cache.find(5, "c", 1), nullptr);
    cache = {};
  }
}

TEST_F(MatchCacheTest, GrowsWithTheTopicsInUseUpToItsBound) {
  base::Random random(1);
  for (int i = 0; i < 1000; ++i) ask("few/" + std::to_string(i % 10));
  const auto few = cache.capacity();
  EXPECT_LT(few, 1000U);
  for (int round = 0; round < 20'000; ++round) {
    const auto topic = "t/" + std::to_string(random.below(1000));
    ask(topic);
  }
  int known = 0;
  for (int i = 0; i < 1000; ++i) known += find("t/" + std::to_string(i), 1) != nullptr ? 1 : 0;
  EXPECT_GT(known, 900);
  for (int i = 0; i < 100'000; ++i) put("t/" + std::to_string(i), 1, {&one});
  EXPECT_EQ(cache.capacity(), MatchCache<int>::kMaxTopics);
}

TEST_F(MatchCacheTest, StaysBelowItsBytes) {
  const std::vector<int*> many(MatchCache<int>::kMaxMatches, &one);
  std::size_t most = 0;
  for (int i = 0; i < 20'000; ++i) {
    put("t/" + std::to_string(i), 1, many);
    most = std::max(most, cache.bytes());
  }
  EXPECT_LE(most, MatchCache<int>::kMaxBytes);
  EXPECT_GT(most, MatchCache<int>::kMaxBytes / 2);
}

TEST_F(MatchCacheTest, LeavesOutWhatIsTooLarge) {
  const std::string longest(MatchCache<int>::kMaxTopicLength, 'a');
  put(longest, 1, {&one});
  put(longest + "a", 1, {&one});
  put("wide", 1, std::vector<int*>(MatchCache<int>::kMaxMatches + 1, &one));
  EXPECT_NE(find(longest, 1), nullptr);
  EXPECT_EQ(find(longest + "a", 1), nullptr);
  EXPECT_EQ(find("wide", 1), nullptr);
}

}  // namespace
}  // namespace vigil::topics
