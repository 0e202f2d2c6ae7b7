#include "broker/ended_sessions.h"

#include <vector>

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

SessionKey key(std::uint64_t sequence) { return {.sequence = sequence, .shard = 3}; }
Change about(std::uint64_t sequence) { return DropSubscription{key(sequence), 1}; }

// `held` by prune_if_large().
auto all(const std::vector<Change>& held) {
  return [&held](auto&& f) {
    for (const Change& change : held) f(change);
  };
}

TEST(EndedSessions, MakeVoidWhatIsSaidOfThem) {
  EndedSessions ended;
  EXPECT_FALSE(ended.is_void(about(1)));
  ended.add(key(1));
  EXPECT_TRUE(ended.is_void(about(1)));
  EXPECT_TRUE(ended.is_void(PutUnreleased{key(1), 7}));
  EXPECT_FALSE(ended.is_void(about(2)));
  EXPECT_FALSE(ended.is_void(DropSubscription{{.sequence = 1, .shard = 4}, 1}));
}

TEST(EndedSessions, LeaveTheEndsThemselvesAndWhatIsAboutNoSession) {
  EndedSessions ended;
  ended.add(key(1));
  EXPECT_FALSE(ended.is_void(EndSession{key(1)}));
  EXPECT_FALSE(ended.is_void(DropRetained{"a"}));
}

TEST(EndedSessions, AreForgottenWhenNothingIsHeld) {
  EndedSessions ended;
  ended.add(key(1));
  ended.clear();
  EXPECT_TRUE(ended.empty());
  EXPECT_FALSE(ended.is_void(about(1)));
}

TEST(EndedSessions, AreKeptWhileTheyAreFew) {
  EndedSessions ended;
  for (std::uint64_t i = 1; i < EndedSessions::kPruneFrom; ++i) ended.add(key(i));
  ended.prune_if_large(all({}));
  EXPECT_EQ(ended.size(), EndedSessions::kPruneFrom - 1);
}

TEST(EndedSessions, AreKeptWhereAHeldChangeNamesThem) {
  EndedSessions ended;
  for (std::uint64_t i = 1; i <= EndedSessions::kPruneFrom; ++i) ended.add(key(i));
  const std::vector<Change> held = {about(5), about(7), about(5), about(100'000), DropRetained{"a"}};
  ended.prune_if_large(all(held));
  EXPECT_EQ(ended.size(), 2U);
  EXPECT_TRUE(ended.is_void(about(5)));
  EXPECT_TRUE(ended.is_void(about(7)));
  EXPECT_FALSE(ended.is_void(about(6)));
}

TEST(EndedSessions, AreLookedThroughAgainOnlyAfterTheyHaveDoubled) {
  EndedSessions ended;
  std::vector<Change> held;
  for (std::uint64_t i = 1; i <= EndedSessions::kPruneFrom; ++i) {
    ended.add(key(i));
    held.push_back(about(i));
  }
  ended.prune_if_large(all(held));
  for (std::uint64_t i = 1; i < EndedSessions::kPruneFrom; ++i) ended.add(key(10'000 + i));
  ended.prune_if_large([](auto&&) { FAIL() << "looked too early"; });
  ended.add(key(20'000));
  ended.prune_if_large(all(held));
  EXPECT_EQ(ended.size(), EndedSessions::kPruneFrom);
}

}  // namespace
}  // namespace vigil::broker
