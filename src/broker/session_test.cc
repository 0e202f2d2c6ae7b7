#include "broker/session.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/random.h"

namespace vigil::broker {
namespace {

TEST(SessionSubscriptions, AreFoundByTextAndByNumber) {
  Session s;
  EXPECT_EQ(s.find_subscription("a/#"), nullptr);
  s.add_subscription("a/#", 7, false);
  s.add_subscription("$share/g/b", 8, true);
  EXPECT_EQ(s.find_subscription("a/#")->number, 7U);
  EXPECT_TRUE(s.find_subscription("$share/g/b")->shared);
  EXPECT_EQ(s.find_subscription(8U)->text, "$share/g/b");
  EXPECT_EQ(s.find_subscription(9U), nullptr);
  EXPECT_EQ(s.find_shared("g", "b")->number, 8U);
  EXPECT_EQ(s.find_shared("g", "c"), nullptr);
  for (std::uint32_t i = 10; i < 200; ++i) s.add_subscription("t/" + std::to_string(i), i, false);
  EXPECT_EQ(s.find_shared("g", "b")->number, 8U);
  EXPECT_EQ(s.find_shared("b", "g"), nullptr);
}

TEST(SessionSubscriptions, AreRemovedOnce) {
  Session s;
  s.add_subscription("a", 1, false);
  s.add_subscription("b", 2, false);
  EXPECT_TRUE(s.remove_subscription("a"));
  EXPECT_FALSE(s.remove_subscription("a"));
  EXPECT_EQ(s.find_subscription("b")->number, 2U);
  EXPECT_EQ(s.subscriptions.size(), 1U);
}

// The list is indexed from a number of subscriptions on, and is a plain list again below half of it.
TEST(SessionSubscriptions, AreTheSameAsAMapUnderRandomChanges) {
  base::Random random(1);
  Session s;
  std::map<std::string, std::uint32_t> model;
  std::uint32_t next = 1;
  bool indexed = false;
  for (int step = 0; step < 20'000; ++step) {
    // Grows for a while, then shrinks.
    const std::size_t range = step / 2'000 % 2 == 0 ? 300 : 20;
    const std::string text = "topic/" + std::to_string(random.below(static_cast<std::uint32_t>(range)));
    const auto known = model.find(text);
    const OwnSubscription* own = s.find_subscription(text);
    ASSERT_EQ(own != nullptr, known != model.end());
    if (own == nullptr && range == 300) {
      s.add_subscription(text, next, false);
      model.emplace(text, next++);
    } else if (own != nullptr) {
      ASSERT_EQ(own->number, known->second);
      ASSERT_EQ(s.find_subscription(own->number), own);
      if (random.chance(30)) {
        ASSERT_TRUE(s.remove_subscription(text));
        model.erase(text);
      }
    }
    if (range == 20 && !s.subscriptions.empty() && random.chance(50)) {
      const std::string last = s.subscriptions.back().text.str();
      ASSERT_TRUE(s.remove_subscription(last));
      model.erase(last);
    }
    ASSERT_EQ(s.subscriptions.size(), model.size());
    indexed |= s.extras && s.extras->subscription_index;
  }
  EXPECT_TRUE(indexed);
  for (const auto& [text, number] : model) EXPECT_EQ(s.find_subscription(text)->number, number);
}

}  // namespace
}  // namespace vigil::broker
