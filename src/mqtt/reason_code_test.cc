#include "mqtt/reason_code.h"

#include <gtest/gtest.h>

#include <string>

namespace vigil::mqtt {
namespace {

// All codes that a packet may carry from that side, as hex.
std::string allowed(PacketType type, Sender sender) {
  std::string out;
  for (unsigned code = 0; code < 256; ++code) {
    if (!reason_allowed(type, sender, static_cast<std::uint8_t>(code))) continue;
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    if (!out.empty()) out += ' ';
    out += kDigits[code >> 4U];
    out += kDigits[code & 15U];
  }
  return out;
}

// Table 2-6 and the tables of each packet.
// [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
// [MQTT-3.14.2-1] [MQTT-3.15.2-1]
TEST(ReasonCode, IsAllowedWhereTheTablesSaySo) {
  using enum PacketType;
  using enum Sender;
  EXPECT_EQ(allowed(ConnAck, Server), "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F");
  EXPECT_EQ(allowed(PubAck, Server), "00 10 80 83 87 90 91 97 99");
  EXPECT_EQ(allowed(PubRec, Server), "00 10 80 83 87 90 91 97 99");
  EXPECT_EQ(allowed(PubAck, Client), "00 80 83 87 90 91 97 99");
  EXPECT_EQ(allowed(PubRec, Client), "00 80 83 87 90 91 97 99");
  for (const Sender sender : {Client, Server}) {
    EXPECT_EQ(allowed(PubRel, sender), "00 92");
    EXPECT_EQ(allowed(PubComp, sender), "00 92");
  }
  EXPECT_EQ(allowed(SubAck, Server), "00 01 02 80 83 87 8F 91 97 9E A1 A2");
  EXPECT_EQ(allowed(UnsubAck, Server), "00 11 80 83 87 8F 91");
  EXPECT_EQ(allowed(Disconnect, Client), "00 04 80 81 82 83 8C 90 93 94 95 96 97 98 99");
  EXPECT_EQ(allowed(Disconnect, Server),
            "00 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2");
  EXPECT_EQ(allowed(Auth, Client), "18 19");
  EXPECT_EQ(allowed(Auth, Server), "00 18");
  for (const PacketType type : {Connect, Publish, Subscribe, Unsubscribe, PingReq, PingResp}) {
    EXPECT_EQ(allowed(type, Client), "");
    EXPECT_EQ(allowed(type, Server), "");
  }
  EXPECT_EQ(allowed(ConnAck, Client), "");
  EXPECT_EQ(allowed(SubAck, Client), "");
  EXPECT_EQ(allowed(UnsubAck, Client), "");
}

TEST(ReasonCode, IsNamedAsInTheStandard) {
  EXPECT_EQ(reason_name(ReasonCode::Success), "Success");
  EXPECT_EQ(reason_name(ReasonCode::KeepAliveTimeout), "Keep Alive timeout");
  EXPECT_EQ(reason_name(ReasonCode::WildcardSubscriptionsNotSupported), "Wildcard Subscriptions not supported");
  EXPECT_EQ(reason_name(static_cast<ReasonCode>(0x03)), "unknown reason code");
  EXPECT_EQ(reason_name(static_cast<ReasonCode>(0xFF)), "unknown reason code");
}

TEST(ReasonCode, FailsFrom0x80) {
  EXPECT_FALSE(is_failure(ReasonCode::ReAuthenticate));
  EXPECT_TRUE(is_failure(ReasonCode::UnspecifiedError));
}

// Table 3.1 of 3.1.1.
TEST(ReasonCode, BecomesAReturnCodeBefore5) {
  for (std::uint8_t code = 0; code <= 5; ++code) {
    const auto reason = reason_of_return_code_v3(code);
    ASSERT_TRUE(reason);
    EXPECT_EQ(connack_return_code_v3(*reason), code);
  }
  EXPECT_EQ(reason_of_return_code_v3(6), std::nullopt);
  EXPECT_EQ(connack_return_code_v3(ReasonCode::ServerBusy), 3);
  EXPECT_EQ(connack_return_code_v3(ReasonCode::QuotaExceeded), 3);
  EXPECT_EQ(connack_return_code_v3(ReasonCode::Banned), 5);
  EXPECT_EQ(connack_return_code_v3(ReasonCode::MalformedPacket), std::nullopt);
  EXPECT_EQ(connack_return_code_v3(ReasonCode::ProtocolError), std::nullopt);
}

}  // namespace
}  // namespace vigil::mqtt
