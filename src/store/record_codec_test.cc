#include "store/record_codec.h"

#include <gtest/gtest.h>

#include "store/references.h"
#include "store/run_record.h"

namespace vigil::store {
namespace {

using Buffer = std::vector<std::uint8_t>;

const broker::Moment kNow{.at = base::Instant::from_ns(5'000'000'000), .unix_ms = 1'900'000'000'000};

MessageView sample() {
  static const Buffer kProperties = {38, 0, 1, 'a', 0, 1, 'b'};
  return {.topic = "a/b",
          .properties = kProperties,
          .payload = base::as_bytes("payload"),
          .qos = mqtt::QoS::ExactlyOnce,
          .retain = true,
          .expires_ms = kNow.unix_ms + 1'000,
          .position = {.sequence = 1'900'000'000'000'000, .shard = 9}};
}

broker::Terms terms() {
  return {.qos = mqtt::QoS::AtLeastOnce,
          .retain = true,
          .retained_at_subscribe = true,
          .share = 12,
          .subscription_ids = {1, 268'435'455}};
}

// No beginning of a record may pass for the whole.
template <class Decode>
void expect_refused_when_cut(const Buffer& record, Decode decode) {
  for (std::size_t size = 0; size < record.size(); ++size) {
    EXPECT_FALSE(decode(base::Bytes(record).first(size)).has_value()) << size;
  }
  Buffer longer = record;
  longer.push_back(0);
  EXPECT_FALSE(decode(longer).has_value());
  Buffer newer = record;
  newer[0] = 99;
  EXPECT_NE(decode(newer).error().find("version 99"), std::string::npos);
}

TEST(RecordCodec, SortsKeysAsPositionsAndNumbersAreOrdered) {
  const broker::SessionKey low{.sequence = 255, .shard = 63};
  const broker::SessionKey high{.sequence = 256, .shard = 0};
  EXPECT_LT(position_key(low), position_key(high));
  EXPECT_LT(entry_key({low, UINT64_MAX}), entry_key({high, 0}));
  EXPECT_LT(entry_key({low, 255}), entry_key({low, 256}));
  EXPECT_LT(position_key({.sequence = 1, .shard = 1}), position_key({.sequence = 1, .shard = 2}));
}

TEST(RecordCodec, ReadsKeysBack) {
  const broker::SessionKey session{.sequence = 0x0102030405060708, .shard = 9};
  EXPECT_EQ(read_position_key(position_key(session)), session);
  EXPECT_EQ(read_entry_key(entry_key({session, 10})), (EntryKey{session, 10}));
  EXPECT_EQ(read_subscription_key(subscription_key(session, 7))->number, 7U);
  EXPECT_EQ(read_unreleased_key(unreleased_key(session, 65'535))->packet_id, 65'535);
  EXPECT_EQ(read_unreleased_key(position_key(session)), std::nullopt);
}

TEST(RecordCodec, WritesAMessageByteForByteAsDocumented) {
  Buffer record;
  encode_message({.topic = "t", .payload = base::as_bytes("p"), .qos = mqtt::QoS::AtLeastOnce, .position = {300, 2}},
                 record);
  EXPECT_EQ(record, (Buffer{1, 1, 0, 0xAC, 0x02, 2, 1, 't', 0, 1, 'p'}));
}

TEST(RecordCodec, ReadsMessagesBack) {
  Buffer record;
  encode_message(sample(), record);
  const auto got = decode_message(record);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->topic, "a/b");
  EXPECT_EQ(base::as_text(got->payload), "payload");
  EXPECT_EQ(got->properties.size(), 7U);
  EXPECT_EQ(got->qos, mqtt::QoS::ExactlyOnce);
  EXPECT_TRUE(got->retain);
  EXPECT_EQ(got->position, sample().position);
  EXPECT_EQ(to_message(*got, kNow)->expires(), kNow.at + base::seconds(1));
  expect_refused_when_cut(record, decode_message);
}

TEST(RecordCodec, ReadsEntriesBackWithTheirMessageAndWithout) {
  for (const Placing placing : {Placing::Inline, Placing::Shared}) {
    Buffer record;
    encode_entry(terms(), sample(), placing, record);
    const auto got = decode_entry(record);
    ASSERT_TRUE(got.has_value()) << got.error();
    EXPECT_EQ(got->head.shared, placing == Placing::Shared);
    EXPECT_EQ(got->head.size(), to_message(sample(), kNow)->size());
    EXPECT_EQ(got->head.expires_ms, kNow.unix_ms + 1'000);
    EXPECT_EQ(got->position, sample().position);
    EXPECT_EQ(got->terms().qos, mqtt::QoS::AtLeastOnce);
    EXPECT_TRUE(got->terms().retain && got->terms().retained_at_subscribe);
    EXPECT_EQ(got->terms().share, 12U);
    EXPECT_EQ(got->terms().subscription_ids, terms().subscription_ids);
    EXPECT_EQ(decode_entry_head(record), got->head);
    expect_refused_when_cut(record, decode_entry);
  }
  Buffer record;
  encode_released(record);
  EXPECT_TRUE(decode_entry(record)->head.released);
  EXPECT_EQ(decode_entry_head(record)->size(), 0U);
  expect_refused_when_cut(record, decode_entry);
}

TEST(RecordCodec, RefusesATopicThatNoPacketCouldCarry) {
  Buffer record;
  const std::string topic(65'536, 't');
  encode_message({.topic = topic}, record);
  EXPECT_FALSE(decode_message(record).has_value());
}

TEST(RecordCodec, ReadsSessionsBack) {
  broker::PutSession session{.key = {5, 6}, .client_id = "c", .user_name = "u", .epoch = 3, .expiry_s = UINT32_MAX};
  session.sent_below = UINT64_MAX;
  const auto decode = [](base::Bytes record) { return decode_session({5, 6}, record); };
  Buffer plain;
  encode_session(session, plain);
  EXPECT_EQ(decode(plain), session);
  expect_refused_when_cut(plain, decode);
  session.will = {{.topic = "w", .payload = {1}, .delay_s = 5}};
  session.will_due_ms = 7;
  session.connected = true;
  session.expires_ms = 12;
  Buffer with_will;
  encode_session(session, with_will);
  EXPECT_EQ(decode(with_will), session);
  expect_refused_when_cut(with_will, decode);
}

TEST(RecordCodec, ReadsSubscriptionsBack) {
  const broker::PutSubscription subscription{
      {1, 2}, 3, 4, {.qos = mqtt::QoS::ExactlyOnce, .retain_handling = mqtt::RetainHandling::SendIfNew}, "$share/g/#"};
  const SubscriptionBytes key = subscription_key({1, 2}, 3);
  const auto decode = [&](base::Bytes record) { return decode_subscription(key, record); };
  Buffer record;
  encode_subscription(subscription, record);
  const auto got = decode(record);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->text, "$share/g/#");
  EXPECT_EQ(got->options, subscription.options);
  EXPECT_EQ(got->subscription_id, 4U);
  expect_refused_when_cut(record, decode);
}

TEST(RecordCodec, TranslatesTimesBetweenTheClocks) {
  EXPECT_EQ(to_unix_ms(kNow.at + base::seconds(2), kNow), kNow.unix_ms + 2'000);
  EXPECT_EQ(to_unix_ms(base::Instant::never(), kNow), broker::kNeverMs);
  EXPECT_TRUE(to_instant(broker::kNeverMs, kNow).is_never());
  EXPECT_EQ(to_instant(kNow.unix_ms - 1, kNow), kNow.at - base::milliseconds(1));
  // The longest interval that MQTT has.
  const base::Instant far = kNow.at + base::seconds(0xFFFF'FFFFLL);
  EXPECT_EQ(to_instant(to_unix_ms(far, kNow), kNow), far);
  // Far from now it is far away, and nothing overflows.
  EXPECT_GT(to_instant(broker::kNeverMs - 1, kNow), kNow.at + base::seconds(1'000'000'000));
  EXPECT_LT(to_instant(0, kNow), kNow.at - base::seconds(1'000'000'000));
}

TEST(RunRecord, GivesItsEntriesBack) {
  const Buffer one = {1, 2, 3};
  const Buffer none;
  const std::vector<base::Bytes> entries = {one, none, one};
  Buffer record;
  encode_run(entries, record);
  EXPECT_EQ(record, (Buffer{1, 3, 3, 1, 2, 3, 0, 3, 1, 2, 3}));
  const auto read = decode_run(record);
  ASSERT_TRUE(read.has_value()) << read.error();
  ASSERT_EQ(read->size(), 3U);
  EXPECT_EQ(base::as_text(read->at(2)), base::as_text(one));
}

TEST(RunRecord, RefusesWhatIsNotWhole) {
  for (const Buffer& bad :
       {Buffer{}, Buffer{1}, Buffer{2, 1, 0}, Buffer{1, 0}, Buffer{1, 65, 0}, Buffer{1, 1, 2, 7}, Buffer{1, 1, 0, 0}}) {
    EXPECT_FALSE(decode_run(bad).has_value());
  }
}

TEST(References, CountsUntilTheLastOneGoes) {
  References references;
  EXPECT_TRUE(references.add({1, 1}));
  EXPECT_FALSE(references.add({1, 1}));
  EXPECT_TRUE(references.add({1, 2}));
  EXPECT_FALSE(references.drop({1, 1}));
  EXPECT_TRUE(references.drop({1, 1}));
  EXPECT_FALSE(references.contains({1, 1}));
  EXPECT_FALSE(references.drop({1, 1}));
  EXPECT_EQ(references.size(), 1U);
}

}  // namespace
}  // namespace vigil::store
