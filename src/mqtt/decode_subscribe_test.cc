#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mqtt/topic.h"
#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;
using enum ReasonCode;

TEST(DecodeSubscribe, RoundTrips) {
  for (const Good& good : {
           Good{V31, Client, R"(82 ~ 0001 "a/b" 00)"},
           Good{V311, Client, R"(82 ~ FFFF "a/b" 01 "c/#" 02 "+" 00 "/" 01 "d" 02)"},
           Good{V5, Client, R"(82 ~ 0001 00 "a/b" 00)"},
           Good{V5, Client, R"(82 ~ 0001 02 0B 01 "a/b" 2E "c" 1D)"},
           Good{V5, Client, R"(82 ~ 0001 05 0B FFFFFF7F "a" 00)"},
           Good{V5, Client, R"(82 ~ 0001 07 26 "n" "v" "$share/g/a" 02)"},
           Good{V31, Client, R"(A2 ~ 0001 "a/b")"},
           Good{V311, Client, R"(A2 ~ 0001 "a/b" "c" "d" "e" "f")"},
           Good{V5, Client, R"(A2 ~ 0001 00 "a/b" "#")"},
           Good{V5, Client, R"(A2 ~ 0001 07 26 "n" "v" "a/b")"},
           Good{V31, Server, "90 ~ 0001 00 01 02"},
           Good{V311, Server, "90 ~ 0001 00 01 02 80"},
           Good{V5, Server, "90 ~ 0001 00 00 01 02 80 83 87 8F 91 97 9E A1 A2"},
           Good{V5, Server, R"(90 ~ 0001 0D 1F "why" 26 "n" "v" 87)"},
           Good{V31, Server, "B0 02 0001"},
           Good{V311, Server, "B0 02 0001"},
           Good{V5, Server, "B0 ~ 0001 00 00 11 80 83 87 8F 91"},
           Good{V5, Server, R"(B0 ~ 0001 0D 1F "why" 26 "n" "v" 11)"},
       }) {
    expect_good(good);
  }
}

TEST(DecodeSubscribe, ReadsEveryField) {
  const Parsed parsed = parse(wire(R"(82 ~ 0102 03 0B 8101 "a/b" 2E "c" 11)"), V5, Client);
  ASSERT_TRUE(parsed.packet);
  const Subscribe& s = std::get<Subscribe>(*parsed.packet);
  EXPECT_EQ(s.packet_id, 0x0102);
  ASSERT_EQ(s.properties.subscription_ids.size(), 1U);
  EXPECT_EQ(s.properties.subscription_ids[0], 129U);
  ASSERT_EQ(s.entries.size(), 2U);
  EXPECT_EQ(s.entries[0], (Subscribe::Entry{"a/b", {QoS::ExactlyOnce, true, true, RetainHandling::DoNotSend}}));
  EXPECT_EQ(s.entries[1], (Subscribe::Entry{"c", {QoS::AtLeastOnce, false, false, RetainHandling::SendIfNew}}));
}

TEST(DecodeSubscribe, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-3.8.1-1] [MQTT3-3.8.1-1]
           Bad{V5, Client, R"(80 ~ 0001 00 "a" 00)", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V311, Client, R"(8A ~ 0001 "a" 00)", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           // [MQTT-2.2.1-3] [MQTT3-2.3.1-1]
           Bad{V5, Client, R"(82 ~ 0000 00 "a" 00)", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           Bad{V311, Client, R"(82 ~ 0000 "a" 00)", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           // [MQTT-3.8.3-1] [MQTT3-3.8.3-1]
           Bad{V5, Client, R"(82 ~ 0001 00 0001 FF 00)", MalformedPacket, "Topic Filter", "MQTT-1.5.4-1"},
           Bad{V311, Client, R"(82 ~ 0001 "a" 00 0001 00 00)", MalformedPacket, "Topic Filter", "MQTT-1.5.4-1"},
           // [MQTT-3.8.3-2] [MQTT3-3.8.3-3]
           Bad{V5, Client, "82 ~ 0001 00", ProtocolError, "Topic Filter", "MQTT-3.8.3-2"},
           Bad{V311, Client, "82 ~ 0001", ProtocolError, "Topic Filter", "MQTT-3.8.3-2"},
           // [MQTT-3.8.3-4]
           Bad{V5, Client, R"(82 ~ 0001 00 "$share/g/a" 04)", ProtocolError, "No Local", "MQTT-3.8.3-4"},
           // [MQTT-3.8.3-5] [MQTT3-3.8.3-4]
           Bad{V5, Client, R"(82 ~ 0001 00 "a" 40)", MalformedPacket, "Subscription Options", "MQTT-3.8.3-5"},
           Bad{V5, Client, R"(82 ~ 0001 00 "a" 80)", MalformedPacket, "Subscription Options", "MQTT-3.8.3-5"},
           Bad{V311, Client, R"(82 ~ 0001 "a" 04)", MalformedPacket, "Requested QoS", "MQTT3-3.8.3-4"},
           Bad{V311, Client, R"(82 ~ 0001 "a" 03)", MalformedPacket, "Requested QoS", "MQTT3-3.8.3-4"},
           Bad{V31, Client, R"(82 ~ 0001 "a" 03)", MalformedPacket, "Requested QoS", "MQTT3-3.8.3-4"},
           Bad{V5, Client, R"(82 ~ 0001 00 "a" 03)", ProtocolError, "Maximum QoS"},
           Bad{V5, Client, R"(82 ~ 0001 00 "a" 30)", ProtocolError, "Retain Handling"},
           Bad{V5, Client, R"(82 ~ 0001 00 "a" 00 "b")", MalformedPacket, "Subscription Options"},
           Bad{V5, Client, R"(82 ~ 0001 02 0B 00 "a" 00)", ProtocolError, "Subscription Identifier"},
           Bad{V5, Client, R"(82 ~ 0001 04 0B 01 0B 02 "a" 00)", ProtocolError, "Subscription Identifier"},
           Bad{V5, Server, R"(82 ~ 0001 00 "a" 00)", ProtocolError, "packet type"},
           // [MQTT-3.10.1-1] [MQTT3-3.10.1-1]
           Bad{V5, Client, R"(A0 ~ 0001 00 "a")", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           // [MQTT-2.2.1-3]
           Bad{V5, Client, R"(A2 ~ 0000 00 "a")", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           // [MQTT-3.10.3-1] [MQTT3-3.10.3-1]
           Bad{V5, Client, R"(A2 ~ 0001 00 0001 FF)", MalformedPacket, "Topic Filter", "MQTT-1.5.4-1"},
           // [MQTT-3.10.3-2] [MQTT3-3.10.3-2]
           Bad{V5, Client, "A2 ~ 0001 00", ProtocolError, "Topic Filter", "MQTT-3.10.3-2"},
           Bad{V311, Client, "A2 ~ 0001", ProtocolError, "Topic Filter", "MQTT-3.10.3-2"},
           // [MQTT-3.9.3-2] [MQTT3-3.9.3-2]
           Bad{V5, Server, "90 ~ 0001 00 03", ProtocolError, "Reason Code", "MQTT-3.9.3-2"},
           Bad{V311, Server, "90 ~ 0001 87", ProtocolError, "Reason Code", "MQTT-3.9.3-2"},
           Bad{V5, Server, "90 ~ 0001 00", MalformedPacket, "Reason Code"},
           Bad{V311, Server, "90 ~ 0001", MalformedPacket, "Reason Code"},
           Bad{V5, Client, "90 ~ 0001 00 00", ProtocolError, "packet type"},
           // [MQTT-3.11.3-2]
           Bad{V5, Server, "B0 ~ 0001 00 01", ProtocolError, "Reason Code", "MQTT-3.11.3-2"},
           Bad{V5, Server, "B0 ~ 0001 00", MalformedPacket, "Reason Code"},
           Bad{V311, Server, "B0 ~ 0001 00", MalformedPacket, "UNSUBACK"},
       }) {
    expect_bad(bad);
  }
}

// One illegal filter makes the whole packet illegal, in every version, and the error shows it.
// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT3-4.7.1-2] [MQTT3-4.7.1-3]
// [MQTT3-4.7.3-1]
TEST(DecodeSubscribe, RefusesIllegalFilters) {
  for (const std::string_view filter : {"", "#/a", "a#", "a/#b", "a/#/b", "a+", "+a/b", "$share", "$share//f",
                                        "$share/g", "$share/g/", "$share/g+/f", "$share/g/a#"}) {
    for (const Version version : {V31, V311, V5}) {
      const std::string head = version == V5 ? "0001 00" : "0001";
      const auto subscribe = wire(fmt::format(R"(82 ~ {} "ok" 00 "{}" 00)", head, filter));
      const auto unsubscribe = wire(fmt::format(R"(A2 ~ {} "ok" "{}")", head, filter));
      for (const Buffer& bytes : {subscribe, unsubscribe}) {
        const Parsed parsed = parse(bytes, version, Client);
        ASSERT_FALSE(parsed.packet) << filter;
        const DecodeError& error = parsed.packet.error();
        EXPECT_EQ(error.code, ProtocolError) << filter;
        EXPECT_EQ(error.field, "Topic Filter") << filter;
        EXPECT_EQ(error.clause, fault_of_filter(filter).clause) << filter;
        EXPECT_EQ(error.text, filter);
      }
    }
  }
}

TEST(DecodeSubscribe, SaysWhatAFilterMeans) {
  const Parsed subscribed = parse(wire(R"(82 ~ 0001 00 "a/+" 00 "$share/g/b" 00)"), V5, Client);
  ASSERT_TRUE(subscribed.packet);
  const Subscribe& s = std::get<Subscribe>(*subscribed.packet);
  EXPECT_EQ(s.entries[0].parsed, (TopicFilter{"a/+", ""}));
  EXPECT_EQ(s.entries[1].filter, "$share/g/b");
  EXPECT_EQ(s.entries[1].parsed, (TopicFilter{"b", "g"}));
  const Parsed unsubscribed = parse(wire(R"(A2 ~ 0001 00 "$share/g/b")"), V5, Client);
  ASSERT_TRUE(unsubscribed.packet);
  EXPECT_EQ(std::get<Unsubscribe>(*unsubscribed.packet).entries[0].parsed, (TopicFilter{"b", "g"}));
}

// 3.1 marks a packet sent again with DUP.
TEST(DecodeSubscribe, MayBeSentAgainInVersion31) {
  EXPECT_TRUE(parse(wire(R"(8A ~ 0001 "a" 00)"), V31, Client).packet);
  EXPECT_TRUE(parse(wire(R"(AA ~ 0001 "a")"), V31, Client).packet);
  EXPECT_TRUE(parse(wire("6A 02 0001"), V31, Client).packet);
  EXPECT_FALSE(parse(wire("60 02 0001"), V31, Client).packet);
}

// 3.1 does not use the upper six bits of the byte behind a filter.
TEST(DecodeSubscribe, ReadsOnlyTheQosInVersion31) {
  const Parsed parsed = parse(wire(R"(82 ~ 0001 "a" FD)"), V31, Client);
  ASSERT_TRUE(parsed.packet);
  EXPECT_EQ(std::get<Subscribe>(*parsed.packet).entries[0].options, (SubscriptionOptions{.qos = QoS::AtLeastOnce}));
}

}  // namespace
}  // namespace vigil::mqtt
