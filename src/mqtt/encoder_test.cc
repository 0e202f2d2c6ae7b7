#include "mqtt/encoder.h"

#include <gtest/gtest.h>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;

// [MQTT-1.5.5-1]
TEST(Encoder, WritesTheShortestVariableByteIntegers) {
  const std::vector<std::pair<std::uint32_t, Buffer>> cases = {
      {0, {0}},
      {127, {0x7F}},
      {128, {0x80, 0x01}},
      {16'383, {0xFF, 0x7F}},
      {16'384, {0x80, 0x80, 0x01}},
      {2'097'151, {0xFF, 0xFF, 0x7F}},
      {2'097'152, {0x80, 0x80, 0x80, 0x01}},
      {268'435'455, {0xFF, 0xFF, 0xFF, 0x7F}},
  };
  for (const auto& [value, bytes] : cases) {
    Buffer out;
    append_varint(out, value);
    EXPECT_EQ(out, bytes) << value;
    EXPECT_EQ(varint_size(value), bytes.size()) << value;
  }
}

TEST(Encoder, Appends) {
  Buffer out = {0xAA};
  encode(out, V311, PingResp{});
  encode_publish(out, V311, {.topic = "t", .payload = base::as_bytes("x")});
  EXPECT_EQ(out, wire(R"(AA D0 00 30 04 "t" 'x')"));
}

TEST(Encoder, LeavesOutWhatTheVersionDoesNotHave) {
  Properties properties;
  properties.set_text(Property::ReasonString, "why");
  for (const Version version : {V31, V311}) {
    EXPECT_EQ(encoded(version, ConnAck{false, ReasonCode::NotAuthorized, properties}), wire("20 02 00 05"));
    EXPECT_EQ(encoded(version, Ack{PacketType::PubAck, 1, ReasonCode::QuotaExceeded, properties}), wire("40 02 0001"));
    EXPECT_EQ(encoded(version, Disconnect{ReasonCode::KeepAliveTimeout, properties}), wire("E0 00"));
    EXPECT_EQ(encoded(version, UnsubAck{1, properties, {ReasonCode::Success}}), wire("B0 02 0001"));
    EXPECT_EQ(encoded(version, Publish{.topic = "t", .properties = properties}), wire(R"(30 03 "t")"));
    // [MQTT3-3.9.3-2]
    EXPECT_EQ(encoded(version, SubAck{1, properties, {ReasonCode::GrantedQoS2, ReasonCode::TopicFilterInvalid}}),
              wire("90 04 0001 02 80"));
    EXPECT_EQ(
        encoded(version, Subscribe{1, properties, {{"f", {QoS::AtLeastOnce, true, true, RetainHandling::DoNotSend}}}}),
        wire(R"(82 ~ 0001 "f" 01)"));
    // What cannot be said at all.
    EXPECT_EQ(encoded(version, ConnAck{false, ReasonCode::MalformedPacket, {}}), Buffer());
    EXPECT_EQ(encoded_size(version, ConnAck{false, ReasonCode::MalformedPacket, {}}), 0U);
    EXPECT_EQ(encoded(version, Auth{ReasonCode::ContinueAuthentication, {}}), Buffer());
  }
  EXPECT_EQ(encoded(V31, ConnAck{true, ReasonCode::Success, {}}), wire("20 02 00 00"));
}

// [MQTT-3.2.2-6] [MQTT3-3.2.2-4]
TEST(Encoder, ARefusalNeverHasASessionPresent) {
  EXPECT_EQ(encoded(V311, ConnAck{true, ReasonCode::NotAuthorized, {}}), wire("20 02 00 05"));
  EXPECT_EQ(encoded(V5, ConnAck{true, ReasonCode::NotAuthorized, {}}), wire("20 03 00 87 00"));
}

TEST(Encoder, UsesTheShortForms) {
  EXPECT_EQ(encoded(V5, Ack{PacketType::PubRec, 1, ReasonCode::Success, {}}), wire("50 02 0001"));
  EXPECT_EQ(encoded(V5, Ack{PacketType::PubRel, 1, ReasonCode::PacketIdentifierNotFound, {}}), wire("62 03 0001 92"));
  EXPECT_EQ(encoded(V5, Disconnect{}), wire("E0 00"));
  EXPECT_EQ(encoded(V5, Disconnect{ReasonCode::SessionTakenOver, {}}), wire("E0 01 8E"));
}

TEST(Encoder, EachFunctionSaysTheSameAsEncode) {
  Buffer out;
  encode_connack(out, V5, {true, ReasonCode::Success, {}});
  encode_ack(out, V5, {PacketType::PubComp, 1, ReasonCode::Success, {}});
  encode_suback(out, V5, {1, {}, {ReasonCode::GrantedQoS1}});
  encode_unsuback(out, V5, {1, {}, {ReasonCode::NoSubscriptionExisted}});
  encode_disconnect(out, V5, {ReasonCode::ServerBusy, {}});
  encode_auth(out, V5, {});
  EXPECT_EQ(out, wire("20 03 01 00 00  70 02 0001  90 04 0001 00 01  B0 04 0001 00 11  E0 01 89  F0 00"));
}

TEST(Encoder, WritesPropertiesWithoutTheirLength) {
  Properties properties;
  properties.set_number(Property::TopicAlias, 3);
  properties.set_number(Property::MessageExpiryInterval, 10);
  properties.set_text(Property::ContentType, "x");
  properties.subscription_ids.push_back(128);
  properties.user.push_back({"n", "v"});
  Buffer out = {0xAA};
  encode_properties(out, properties);
  EXPECT_EQ(out, wire(R"(AA 02 0000000A 23 0003 03 "x" 0B 8001 26 "n" "v")"));
  EXPECT_EQ(properties_size(properties), out.size() - 1);
}

TEST(EncoderDeathTest, ChecksWhatCannotBeSaid) {
  const std::string text(65'536, 'x');
  EXPECT_DEATH(encoded(V311, Publish{.topic = text}), "broken invariant");
  EXPECT_DEATH(encoded(V5,
                       [&] {
                         Disconnect disconnect;
                         disconnect.properties.set_text(Property::ReasonString, text);
                         return disconnect;
                       }()),
               "broken invariant");
  Buffer out;
  EXPECT_DEATH(append_varint(out, 268'435'456), "broken invariant");
}

}  // namespace
}  // namespace vigil::mqtt
