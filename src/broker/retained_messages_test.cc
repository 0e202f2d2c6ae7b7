#include "broker/retained_messages.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <fmt/format.h>

namespace vigil::broker {
namespace {

using What = RetainedMessages::What;

constexpr std::uint32_t kTimerKind = 7;

// The retained messages of one shard, with a wheel of their own and messages whose positions rise.
class RetainedMessagesTest : public testing::Test {
 protected:
  explicit RetainedMessagesTest(unsigned shards = 1, RetainedMessages::Bounds bounds = {})
      : retained_({.wheel = wheel_, .timer_kind = kTimerKind, .shards = shards, .bounds = bounds}) {}

  MessagePtr make(std::string_view topic, std::string_view payload, std::uint64_t sequence,
                  base::Instant expires = base::Instant::never()) {
    Message::Spec spec;
    spec.topic = topic;
    spec.payload = base::as_bytes(payload);
    spec.retain = true;
    spec.expires = expires;
    spec.position = {sequence, 0};
    return Message::make(spec);
  }
  // As "Kept", or "Kept, was there".
  std::string keep(const MessagePtr& message) {
    const RetainedMessages::Answer answer = retained_.keep(message, now_);
    std::string text;
    switch (answer.what) {
      case What::Kept: text = "Kept"; break;
      case What::Deleted: text = "Deleted"; break;
      case What::DidNotFit: text = "DidNotFit"; break;
      case What::Older: text = "Older"; break;
    }
    return answer.was_there ? text + ", was there" : text;
  }
  std::string keep(std::string_view topic, std::string_view payload) { return keep(make(topic, payload, ++sequence_)); }
  // The payloads that a filter finds, in order.
  std::vector<std::string> find(std::string_view filter) {
    std::vector<std::string> found;
    looked_at_ = retained_.for_each_match(
        filter, now_, [&](const MessagePtr& message) { found.emplace_back(base::as_text(message->payload())); });
    return found;
  }
  // Lets time pass. The topics whose messages have expired.
  std::vector<std::string> pass(base::Duration time) {
    now_ += time;
    std::vector<base::TimerOwner> fired;
    wheel_.advance(now_, fired);
    std::vector<std::string> topics;
    for (const base::TimerOwner& owner : fired) {
      EXPECT_EQ(owner.kind, kTimerKind);
      if (const auto topic = retained_.expired(owner.id, now_)) topics.push_back(*topic);
    }
    return topics;
  }

  using Texts = std::vector<std::string>;
  base::Instant now_ = base::Instant::from_ns(100'000'000'000);
  base::TimerWheel wheel_{now_};
  RetainedMessages retained_;
  std::uint64_t sequence_ = 0;
  std::size_t looked_at_ = 0;
};

class RetainedMessagesOfTwoShards : public RetainedMessagesTest {
 protected:
  RetainedMessagesOfTwoShards() : RetainedMessagesTest(2) {}
};

TEST_F(RetainedMessagesTest, KeepTheLastOfATopic) {
  EXPECT_TRUE(retained_.empty());
  EXPECT_EQ(keep("a", "1"), "Kept");
  EXPECT_EQ(keep("b", "2"), "Kept");
  EXPECT_EQ(keep("a", "3"), "Kept, was there");
  EXPECT_EQ(find("#"), (Texts{"3", "2"}));
  EXPECT_EQ(find("b"), Texts{"2"});
  EXPECT_FALSE(retained_.empty());
}

TEST_F(RetainedMessagesTest, DeleteWhereAnEmptyOneComes) {
  keep("a", "1");
  EXPECT_EQ(keep("a", ""), "Deleted, was there");
  EXPECT_EQ(keep("a", ""), "Deleted");
  EXPECT_EQ(find("#"), Texts{});
  EXPECT_EQ(retained_.count(), 0U);
  EXPECT_EQ(retained_.bytes(), 0U);
}

TEST_F(RetainedMessagesTest, CountMessagesAndBytesOfClients) {
  const MessagePtr first = make("a", "1", 1);
  const MessagePtr second = make("a", "something longer", 2);
  const MessagePtr third = make("b", "3", 3);
  retained_.keep(first, now_);
  EXPECT_EQ(retained_.count(), 1U);
  EXPECT_EQ(retained_.bytes(), first->size());
  retained_.keep(second, now_);
  retained_.keep(third, now_);
  EXPECT_EQ(retained_.count(), 2U);
  EXPECT_EQ(retained_.bytes(), second->size() + third->size());
  keep(make("a", "", 4));
  EXPECT_EQ(retained_.count(), 1U);
  EXPECT_EQ(retained_.bytes(), third->size());
}

// --- order: shards hear of messages in different orders

TEST_F(RetainedMessagesTest, IgnoreAnOlderOne) {
  EXPECT_EQ(keep(make("a", "new", 5)), "Kept");
  EXPECT_EQ(keep(make("a", "old", 4)), "Older");
  EXPECT_EQ(keep(make("a", "", 4)), "Older");
  EXPECT_EQ(find("a"), Texts{"new"});
  EXPECT_EQ(retained_.count(), 1U);
}

TEST_F(RetainedMessagesOfTwoShards, RememberADeletedOneForAWhile) {
  keep(make("a", "1", 1));
  EXPECT_EQ(keep(make("a", "", 5)), "Deleted, was there");
  EXPECT_EQ(keep(make("a", "late", 4)), "Older");
  EXPECT_EQ(find("#"), Texts{});
  EXPECT_FALSE(retained_.empty());
  EXPECT_EQ(pass(RetainedMessages::kTombstoneLife - base::milliseconds(1)), Texts{});
  EXPECT_EQ(keep(make("a", "late", 4)), "Older");
  EXPECT_EQ(pass(base::milliseconds(1)), Texts{});  // a tombstone is no message that expires
  EXPECT_TRUE(retained_.empty());
  EXPECT_EQ(keep(make("a", "too late", 4)), "Kept");
}

// An empty message overtook the one that it deletes.
TEST_F(RetainedMessagesOfTwoShards, RememberADeletedOneThatWasNeverThere) {
  EXPECT_EQ(keep(make("a", "", 2)), "Deleted");
  EXPECT_EQ(keep(make("a", "1", 1)), "Older");
  EXPECT_EQ(keep(make("a", "3", 3)), "Kept");
  EXPECT_EQ(find("a"), Texts{"3"});
  EXPECT_EQ(pass(base::seconds(10)), Texts{});  // the tombstone's timer has gone with it
  EXPECT_EQ(find("a"), Texts{"3"});
}

TEST_F(RetainedMessagesOfTwoShards, DeleteAgainWithoutCountingTwice) {
  for (std::size_t i = 0; i <= RetainedMessages::kMostTombstones; ++i) keep("a", "");
  EXPECT_EQ(wheel_.size(), 1U);
  keep("b", "");
  EXPECT_EQ(wheel_.size(), 2U);
}

TEST_F(RetainedMessagesOfTwoShards, RememberOnlySoManyDeletedOnes) {
  for (std::size_t i = 0; i < RetainedMessages::kMostTombstones; ++i) keep(fmt::format("{}", i), "");
  EXPECT_EQ(wheel_.size(), RetainedMessages::kMostTombstones);
  keep(make("a", "1", 100'000));
  EXPECT_EQ(keep(make("a", "", 100'002)), "Deleted, was there");
  EXPECT_EQ(keep(make("a", "late", 100'001)), "Kept");
  pass(RetainedMessages::kTombstoneLife);
  EXPECT_EQ(wheel_.size(), 0U);
  keep(make("a", "", 100'004));
  EXPECT_EQ(keep(make("a", "late", 100'003)), "Older");
}

TEST_F(RetainedMessagesOfTwoShards, RememberDeletedOnesOfOnlySoManyBytes) {
  const std::string long_topic(60'000, 'x');
  const std::size_t most = RetainedMessages::kMostTombstoneBytes / (long_topic.size() + 1);
  for (std::size_t i = 0; i < most + 3; ++i) keep(fmt::format("{}{}", long_topic, static_cast<char>('a' + i)), "");
  EXPECT_EQ(wheel_.size(), most);
}

TEST_F(RetainedMessagesTest, RememberNoDeletedOneWhereThereIsOneShard) {
  keep("a", "1");
  keep("a", "");
  EXPECT_TRUE(retained_.empty());
  EXPECT_EQ(wheel_.size(), 0U);
}

// --- bounds

TEST_F(RetainedMessagesTest, KeepNoFurtherTopicWhenThereAreTooMany) {
  retained_.set_bounds({.messages = 2});
  keep("a", "1");
  keep("b", "2");
  EXPECT_EQ(keep("c", "3"), "DidNotFit");
  EXPECT_EQ(keep("a", "4"), "Kept, was there");
  EXPECT_EQ(find("#"), (Texts{"4", "2"}));
  keep("b", "");
  EXPECT_EQ(keep("c", "5"), "Kept");
}

// [MQTT-3.3.1-5] What it was to replace is no longer true.
TEST_F(RetainedMessagesTest, DeleteWhatIsReplacedByOneThatDoesNotFit) {
  const MessagePtr first = make("a", "1", ++sequence_);
  retained_.set_bounds({.bytes = first->size() + 1});
  EXPECT_EQ(keep(first), "Kept");
  EXPECT_EQ(keep("a", "22"), "Kept, was there");
  EXPECT_EQ(keep("a", "333"), "DidNotFit, was there");
  EXPECT_EQ(find("a"), Texts{});
  EXPECT_EQ(retained_.count(), 0U);
  EXPECT_EQ(retained_.bytes(), 0U);
}

TEST_F(RetainedMessagesOfTwoShards, RememberWhatDidNotFit) {
  retained_.set_bounds({.messages = 0});
  EXPECT_EQ(keep(make("a", "2", 2)), "DidNotFit");
  retained_.set_bounds({});
  EXPECT_EQ(keep(make("a", "1", 1)), "Older");
  EXPECT_EQ(keep(make("a", "3", 3)), "Kept");
}

TEST_F(RetainedMessagesTest, KeepWhatIsThereUnderNarrowerBounds) {
  keep("a", "1");
  keep("b", "2");
  retained_.set_bounds({.messages = 1});
  EXPECT_EQ(retained_.count(), 2U);
  EXPECT_EQ(keep("a", "3"), "Kept, was there");
  EXPECT_EQ(keep("c", "4"), "DidNotFit");
}

TEST_F(RetainedMessagesTest, AreLoggedAsFullOnceInAWhile) {
  EXPECT_TRUE(retained_.may_log_full(now_));
  EXPECT_FALSE(retained_.may_log_full(now_ + RetainedMessages::kFullLoggedEvery - base::milliseconds(1)));
  EXPECT_TRUE(retained_.may_log_full(now_ + RetainedMessages::kFullLoggedEvery));
  EXPECT_FALSE(retained_.may_log_full(now_ + RetainedMessages::kFullLoggedEvery));
}

// --- the broker's own topics

TEST_F(RetainedMessagesTest, DoNotCountTheBrokersOwn) {
  retained_.set_bounds({.messages = 1, .bytes = 0});
  EXPECT_EQ(keep("$SYS/broker/uptime", "1 seconds"), "Kept");
  EXPECT_EQ(keep("$SYS/broker/version", "1"), "Kept");
  EXPECT_EQ(keep("$SYS/broker/uptime", "2 seconds"), "Kept, was there");
  EXPECT_EQ(retained_.count(), 0U);
  EXPECT_EQ(retained_.bytes(), 0U);
  EXPECT_EQ(keep("$SYS/broker/uptime", ""), "Deleted, was there");
  EXPECT_EQ(retained_.count(), 0U);
  EXPECT_EQ(find("$SYS/#"), Texts{"1"});
  // The state of a bridge is a client's.
  EXPECT_EQ(keep("$SYS/broker/connection/b/state", "1"), "DidNotFit");
}

TEST_F(RetainedMessagesOfTwoShards, ForgetTheBrokersOwnWithoutATrace) {
  keep("$SYS/broker/uptime", "1 seconds");
  keep(make("$SYS/broker/version", "1", ++sequence_, now_ + base::seconds(60)));
  keep("$SYS/broker/connection/b/state", "1");
  keep("a", "2");
  retained_.forget_brokers_own();
  EXPECT_EQ(find("$SYS/#"), Texts{"1"});
  EXPECT_EQ(find("#"), Texts{"2"});
  EXPECT_EQ(retained_.count(), 2U);
  EXPECT_EQ(wheel_.size(), 0U);
  EXPECT_EQ(keep(make("$SYS/broker/uptime", "0 seconds", 0)), "Kept");
}

// --- expiry

TEST_F(RetainedMessagesTest, ExpireInTime) {
  keep(make("a", "1", 1, now_ + base::seconds(10)));
  keep(make("b", "2", 2, now_ + base::seconds(20)));
  keep(make("c", "3", 3));
  EXPECT_EQ(pass(base::milliseconds(9'999)), Texts{});
  EXPECT_EQ(find("#"), (Texts{"1", "2", "3"}));
  EXPECT_EQ(pass(base::milliseconds(1)), Texts{"a"});
  EXPECT_EQ(retained_.count(), 2U);
  EXPECT_EQ(pass(base::seconds(3600)), Texts{"b"});
  EXPECT_EQ(find("#"), Texts{"3"});
}

// The time has come, and the timer has not fired yet.
TEST_F(RetainedMessagesTest, AreNotFoundOnceTheyHaveExpired) {
  keep(make("a", "1", 1, now_ + base::seconds(10)));
  keep("b", "2");
  now_ += base::seconds(10);
  EXPECT_EQ(find("#"), Texts{"2"});
  EXPECT_EQ(looked_at_, 2U);
}

TEST_F(RetainedMessagesTest, ExpireAsTheLastOneOfTheTopicSays) {
  keep(make("a", "1", 1, now_ + base::seconds(10)));
  keep(make("a", "2", 2, now_ + base::seconds(20)));
  EXPECT_EQ(wheel_.size(), 1U);
  EXPECT_EQ(pass(base::seconds(10)), Texts{});
  EXPECT_EQ(find("a"), Texts{"2"});
  keep(make("a", "3", 3));
  EXPECT_EQ(wheel_.size(), 0U);
  EXPECT_EQ(pass(base::seconds(3600)), Texts{});
  EXPECT_EQ(find("a"), Texts{"3"});
}

// Several timers fire together; what one of them stands for may have been replaced meanwhile.
TEST_F(RetainedMessagesTest, IgnoreATimerThatFiredForAMessageThatIsGone) {
  keep(make("a", "1", 1, now_ + base::seconds(10)));
  std::vector<base::TimerOwner> fired;
  wheel_.advance(now_ += base::seconds(10), fired);
  ASSERT_EQ(fired.size(), 1U);
  keep(make("a", "2", 2, now_ + base::seconds(10)));
  EXPECT_EQ(retained_.expired(fired.front().id, now_), std::nullopt);
  EXPECT_EQ(find("a"), Texts{"2"});
  EXPECT_EQ(pass(base::seconds(10)), Texts{"a"});
  EXPECT_EQ(retained_.expired(fired.front().id, now_), std::nullopt);
}

// --- the start

TEST_F(RetainedMessagesTest, AreRestoredWhateverTheBoundsAre) {
  retained_.set_bounds({.messages = 1});
  retained_.restore(make("a", "1", 1, now_ + base::seconds(10)));
  retained_.restore(make("b", "2", 2));
  EXPECT_EQ(retained_.count(), 2U);
  EXPECT_EQ(find("#"), (Texts{"1", "2"}));
  EXPECT_EQ(pass(base::seconds(10)), Texts{"a"});
  EXPECT_EQ(keep(make("b", "3", 1)), "Older");
}

}  // namespace
}  // namespace vigil::broker
