// The small parts of delivery: the list of unacknowledged messages, owed acknowledgements, topic aliases.
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "base/random.h"
#include "broker/ack_queue.h"
#include "broker/inflight.h"
#include "broker/topic_alias.h"

namespace vigil::broker {
namespace {

using mqtt::PacketType;

// Adds messages with rising numbers.
struct Numbered {
  Inflight inflight;
  std::uint64_t next = 1;
  mqtt::PacketId add() { return inflight.add({.number = next++}).packet_id; }
};

TEST(Inflight, GivesIdentifiersInTurn) {
  Numbered n;
  Inflight& inflight = n.inflight;
  EXPECT_EQ(n.add(), 1);
  EXPECT_EQ(n.add(), 2);
  EXPECT_EQ(n.add(), 3);
  EXPECT_EQ(inflight.find(2)->packet_id, 2);
  EXPECT_EQ(inflight.find(4), nullptr);
  EXPECT_EQ(inflight.find(0), nullptr);
}

TEST(Inflight, ForgetsInAnyOrder) {
  Numbered n;
  Inflight& inflight = n.inflight;
  for (int i = 0; i < 5; ++i) n.add();
  inflight.erase(3);
  inflight.erase(1);
  EXPECT_EQ(inflight.find(3), nullptr);
  EXPECT_EQ(inflight.find(1), nullptr);
  EXPECT_EQ(inflight.find(2)->packet_id, 2);
  EXPECT_EQ(inflight.find(5)->packet_id, 5);
  EXPECT_EQ(inflight.size(), 3U);
}

// [MQTT-2.2.1-4] An identifier in use is not given again, however many go round.
TEST(Inflight, GoesRoundWithoutUsingAnIdentifierTwice) {
  Numbered n;
  Inflight& inflight = n.inflight;
  n.add();  // 1 stays unacknowledged
  for (unsigned i = 2; i <= 65535; ++i) {
    ASSERT_TRUE(inflight.has_free_id(n.next));
    const mqtt::PacketId id = n.add();
    ASSERT_EQ(id, i);
    inflight.erase(id);
  }
  EXPECT_FALSE(inflight.has_free_id(n.next));
  inflight.erase(1);
  EXPECT_TRUE(inflight.has_free_id(n.next));
  EXPECT_EQ(n.add(), 1);
}

// One that is never acknowledged stops nobody: the message whose identifier it has gets another one.
TEST(Inflight, GivesAnotherIdentifierWhereTheUsualOneIsUsed) {
  Inflight inflight;
  std::uint64_t number = 0;
  inflight.add({.number = ++number});
  std::size_t others = 0;
  for (int i = 0; i < 200'000; ++i) {
    Delivery delivery{.number = ++number};
    if (!inflight.has_free_id(number)) {
      delivery.packet_id = inflight.free_id();
      EXPECT_NE(delivery.packet_id, 1);
      ++others;
    }
    const mqtt::PacketId id = inflight.add(std::move(delivery)).packet_id;
    ASSERT_EQ(inflight.find(id)->delivery.number, number);
    ASSERT_EQ(inflight.find(1)->delivery.number, 1U);
    inflight.erase(id);
  }
  EXPECT_EQ(others, 3U);
  EXPECT_EQ(inflight.size(), 1U);
}

// As many unacknowledged ones as there may be, whichever of them are acknowledged: no identifier is used twice, and
// each finds its message.
TEST(Inflight, KeepsIdentifiersApartUnderRandomAcknowledgements) {
  base::Random random(5);
  Inflight inflight;
  std::map<mqtt::PacketId, std::uint64_t> model;
  std::vector<mqtt::PacketId> used;
  std::uint64_t number = 65'000;
  for (int step = 0; step < 300'000; ++step) {
    number += random.below(8) == 0 ? 1 + random.below(3'000) : 1;
    if (model.size() < 500) {
      Delivery delivery{.number = number};
      if (!inflight.has_free_id(number)) delivery.packet_id = inflight.free_id();
      const mqtt::PacketId id = inflight.add(std::move(delivery)).packet_id;
      ASSERT_NE(id, 0);
      ASSERT_TRUE(model.emplace(id, number).second) << "identifier " << id << " is used twice";
      used.push_back(id);
    }
    if (model.size() > 400 || random.chance(40)) {
      const std::size_t i = random.chance(90) ? used.size() - 1 : random.below(static_cast<std::uint32_t>(used.size()));
      ASSERT_EQ(inflight.find(used[i])->delivery.number, model.at(used[i]));
      inflight.erase(used[i]);
      ASSERT_EQ(inflight.find(used[i]), nullptr);
      model.erase(used[i]);
      used.erase(used.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_EQ(inflight.size(), model.size());
  }
  for (const auto& [id, its_number] : model) ASSERT_EQ(inflight.find(id)->delivery.number, its_number);
}

TEST(Inflight, FindsAcrossTheWrap) {
  Numbered n;
  Inflight& inflight = n.inflight;
  for (unsigned i = 1; i <= 65533; ++i) inflight.erase(n.add());
  for (int i = 0; i < 6; ++i) n.add();
  for (const mqtt::PacketId id : {65534, 65535, 1, 2, 3, 4}) {
    ASSERT_NE(inflight.find(id), nullptr) << id;
    EXPECT_EQ(inflight.find(id)->packet_id, id);
  }
}

// A message that was dropped before it was sent leaves a gap; after a restart a number has the identifier it had.
TEST(Inflight, TheNumberDecidesTheIdentifier) {
  Numbered n;
  n.next = 65'534;
  EXPECT_EQ(n.add(), 65'534);
  n.next += 2;  // 65'535 and 65'536 were not sent
  EXPECT_EQ(n.add(), 2);
  EXPECT_NE(n.inflight.find(2), nullptr);
  EXPECT_EQ(n.inflight.find(1), nullptr);
  EXPECT_EQ(n.inflight.find(65'535), nullptr);
}

TEST(Inflight, CountsWhatHasBeenSentAgain) {
  Numbered n;
  Inflight& inflight = n.inflight;
  for (int i = 0; i < 4; ++i) n.add();
  inflight.set_resent(2);
  inflight.erase(1);
  EXPECT_EQ(inflight.resent(), 1U);
  inflight.erase(4);
  EXPECT_EQ(inflight.resent(), 1U);
}

// [MQTT-4.6.0-2]
TEST(AckQueue, OneThatWaitsHoldsBackThoseBehindIt) {
  AckQueue acks;
  const std::uint32_t first = acks.next_sequence();
  acks.push({.type = PacketType::PubAck, .packet_id = 1, .waiting = 2});
  acks.push({.type = PacketType::PubAck, .packet_id = 2});
  EXPECT_EQ(acks.ready(0), nullptr);
  acks.receipt(first, Outcome::NoSubscriber);
  EXPECT_EQ(acks.ready(0), nullptr);
  acks.receipt(first, Outcome::Taken);
  ASSERT_NE(acks.ready(0), nullptr);
  const AckQueue::Entry ready = acks.pop();
  EXPECT_EQ(ready.packet_id, 1);
  EXPECT_EQ(ready.outcome, Outcome::Taken);
  ASSERT_NE(acks.ready(0), nullptr);
  EXPECT_EQ(acks.pop().packet_id, 2);
  EXPECT_EQ(acks.ready(0), nullptr);
}

TEST(AckQueue, WaitsForItsBatch) {
  AckQueue acks;
  acks.push({.packet_id = 1, .needs = 7});
  EXPECT_EQ(acks.ready(6), nullptr);
  EXPECT_NE(acks.ready(7), nullptr);
}

TEST(AckQueue, OneThatIsReadyMayBeMadeToWaitAgain) {
  AckQueue acks;
  acks.push({.packet_id = 1, .needs = 7});
  acks.push({.packet_id = 2});
  acks.ready(7)->needs = 8;
  EXPECT_EQ(acks.ready(7), nullptr);
  ASSERT_NE(acks.ready(8), nullptr);
  EXPECT_EQ(acks.pop().packet_id, 1);
}

// Of several receivers the one that fared best counts.
TEST(AckQueue, TheBestOutcomeCounts) {
  AckQueue acks;
  const std::uint32_t first = acks.next_sequence();
  acks.push({.packet_id = 1, .waiting = 3});
  acks.receipt(first, Outcome::Dropped);
  acks.receipt(first, Outcome::Taken);
  acks.receipt(first, Outcome::NoSubscriber);
  EXPECT_EQ(acks.ready(0)->outcome, Outcome::Taken);
}

TEST(AckQueue, AReceiptThatNobodyWaitsForChangesNothing) {
  AckQueue acks;
  acks.receipt(7, Outcome::Taken);
  acks.push({.packet_id = 1, .waiting = 1});
  acks.receipt(acks.next_sequence(), Outcome::Taken);
  EXPECT_EQ(acks.ready(0), nullptr);
}

TEST(TopicAlias, InboundFindsOnlyWhatWasSet) {
  InboundAliases aliases;
  EXPECT_EQ(aliases.topic(1), "");
  aliases.set(3, "a/b");
  EXPECT_EQ(aliases.topic(3), "a/b");
  EXPECT_EQ(aliases.topic(2), "");
  aliases.set(3, "c");
  EXPECT_EQ(aliases.topic(3), "c");
}

TEST(TopicAlias, OutboundGivesTheFirstTopicsAnAlias) {
  OutboundAliases aliases;
  ASSERT_TRUE(aliases.find("a", 2));
  EXPECT_FALSE(aliases.find("a", 2)->known);
  aliases.set("a", aliases.find("a", 2)->alias);
  aliases.set("b", aliases.find("b", 2)->alias);
  EXPECT_EQ(aliases.find("a", 2)->alias, 1);
  EXPECT_TRUE(aliases.find("b", 2)->known);
  EXPECT_FALSE(aliases.find("c", 2));
}

}  // namespace
}  // namespace vigil::broker
