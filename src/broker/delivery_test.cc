// The small parts of delivery: the list of unacknowledged messages, owed acknowledgements, topic aliases.
#include <gtest/gtest.h>

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
  EXPECT_FALSE(acks.pop_ready(0));
  acks.receipt(first, false);
  EXPECT_FALSE(acks.pop_ready(0));
  acks.receipt(first, true);
  const auto ready = acks.pop_ready(0);
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->packet_id, 1);
  EXPECT_TRUE(ready->matched);
  EXPECT_EQ(acks.pop_ready(0)->packet_id, 2);
  EXPECT_FALSE(acks.pop_ready(0));
}

TEST(AckQueue, WaitsForItsBatch) {
  AckQueue acks;
  acks.push({.packet_id = 1, .needs = 7});
  EXPECT_FALSE(acks.pop_ready(6));
  EXPECT_TRUE(acks.pop_ready(7));
}

TEST(AckQueue, AReceiptThatNobodyWaitsForChangesNothing) {
  AckQueue acks;
  acks.receipt(7, true);
  acks.push({.packet_id = 1, .waiting = 1});
  acks.receipt(acks.next_sequence(), true);
  EXPECT_FALSE(acks.pop_ready(0));
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
