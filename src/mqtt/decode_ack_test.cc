#include <gtest/gtest.h>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;
using enum ReasonCode;

TEST(DecodeAck, RoundTrips) {
  for (const Version version : {V31, V311, V5}) {
    for (const Sender sender : {Client, Server}) {
      for (const std::string_view text : {"40 02 0001", "50 02 FFFF", "62 02 0001", "70 02 1234"}) {
        expect_good({version, sender, text});
      }
    }
  }
  for (const Sender sender : {Client, Server}) {
    for (const std::string_view text :
         {"40 03 0001 87", "50 03 0001 97", "62 03 0001 92", "70 03 0001 92", R"(40 ~ 0001 00 06 1F "why")",
          R"(50 ~ 0001 80 0D 1F "why" 26 "n" "v")", R"(62 ~ 0001 92 07 26 "n" "v")", R"(70 ~ 0001 00 06 1F "why")"}) {
      expect_good({V5, sender, text});
    }
  }
  expect_good({V5, Server, "40 03 0001 10"});
  expect_good({V5, Server, "50 03 0001 10"});
}

// 3.4.2.1: what may be left out may also be said.
TEST(DecodeAck, TakesTheLongFormsOfSuccess) {
  for (const std::string_view text :
       {"40 03 0001 00", "40 04 0001 00 00", "50 03 0001 00", "62 04 0001 00 00", "70 03 0001 00"}) {
    const Parsed parsed = parse(wire(text), V5, Client);
    ASSERT_TRUE(parsed.packet) << text;
    const Ack& ack = std::get<Ack>(*parsed.packet);
    EXPECT_EQ(ack.packet_id, 1);
    EXPECT_EQ(ack.reason, Success);
    EXPECT_TRUE(ack.properties.empty());
  }
}

TEST(DecodeAck, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-2.1.3-1] [MQTT3-2.2.2-1] [MQTT3-2.2.2-2] [MQTT-3.6.1-1] [MQTT3-3.6.1-1]
           Bad{V5, Client, "41 02 0001", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V5, Client, "52 02 0001", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V5, Client, "60 02 0001", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V311, Client, "6A 02 0001", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V5, Client, "78 02 0001", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V5, Client, "40 02 0000", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           Bad{V311, Client, "62 02 0000", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           Bad{V311, Client, "40 03 0001 00", MalformedPacket, "acknowledgement"},
           Bad{V31, Client, "70 03 0001 00", MalformedPacket, "acknowledgement"},
           Bad{V5, Client, "40 05 0001 00 00 00", MalformedPacket, "acknowledgement"},
           // [MQTT-3.4.2-1]
           Bad{V5, Client, "40 03 0001 01", ProtocolError, "Reason Code", "MQTT-3.4.2-1"},
           Bad{V5, Client, "40 03 0001 92", ProtocolError, "Reason Code", "MQTT-3.4.2-1"},
           // [MQTT-3.5.2-1]
           Bad{V5, Server, "50 03 0001 81", ProtocolError, "Reason Code", "MQTT-3.5.2-1"},
           // [MQTT-3.6.2-1]
           Bad{V5, Client, "62 03 0001 80", ProtocolError, "Reason Code", "MQTT-3.6.2-1"},
           // [MQTT-3.7.2-1]
           Bad{V5, Client, "70 03 0001 10", ProtocolError, "Reason Code", "MQTT-3.7.2-1"},
       }) {
    expect_bad(bad);
  }
}

// 0x10 is the server's alone, but says that the message was received: from a client it is a success.
TEST(DecodeAck, TakesNoMatchingSubscribersOfAClientForSuccess) {
  expect_good({V5, Client, "40 03 0001 10"});
  expect_good({V5, Client, "50 03 0001 10"});
  expect_bad({V5, Client, "62 03 0001 10", ProtocolError, "Reason Code", "MQTT-3.6.2-1"});
  EXPECT_FALSE(is_failure(NoMatchingSubscribers));
}

TEST(DecodeDisconnect, RoundTrips) {
  expect_good({V31, Client, "E0 00"});
  expect_good({V311, Client, "E0 00"});
  for (const Sender sender : {Client, Server}) {
    for (const std::string_view text : {"E0 00", "E0 01 81", R"(E0 ~ 00 07 26 "n" "v")", R"(E0 ~ 82 06 1F "why")"}) {
      expect_good({V5, sender, text});
    }
  }
  expect_good({V5, Client, "E0 01 04"});
  expect_good({V5, Client, R"(E0 ~ 04 05 11 0000003C)"});
  expect_good({V5, Server, "E0 01 8D"});
  expect_good({V5, Server, R"(E0 ~ 9C 06 1C "ref")"});
}

TEST(DecodeDisconnect, TakesTheLongFormsOfSuccess) {
  for (const std::string_view text : {"E0 01 00", "E0 02 00 00"}) {
    const Parsed parsed = parse(wire(text), V5, Client);
    ASSERT_TRUE(parsed.packet) << text;
    EXPECT_EQ(std::get<Disconnect>(*parsed.packet), Disconnect{});
  }
}

TEST(DecodeDisconnect, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-3.14.1-1] [MQTT3-3.14.1-1]
           Bad{V5, Client, "E1 00", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           Bad{V311, Client, "E2 00", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           // [MQTT-3.14.2-1]
           Bad{V5, Client, "E0 01 01", ProtocolError, "Reason Code", "MQTT-3.14.2-1"},
           Bad{V5, Client, "E0 01 05", ProtocolError, "Reason Code", "MQTT-3.14.2-1"},
           Bad{V5, Client, "E0 01 8D", ProtocolError, "Reason Code", "MQTT-3.14.2-1"},
           Bad{V5, Client, "E0 01 FF", ProtocolError, "Reason Code", "MQTT-3.14.2-1"},
           Bad{V5, Server, "E0 01 04", ProtocolError, "Reason Code", "MQTT-3.14.2-1"},
           // [MQTT-3.14.2-2]
           Bad{V5, Server, "E0 ~ 00 05 11 0000003C", ProtocolError, "Session Expiry Interval", "MQTT-3.14.2-2"},
           Bad{V5, Client, "E0 03 00 00 00", MalformedPacket, "DISCONNECT"},
           Bad{V311, Client, "E0 01 00", MalformedPacket, "DISCONNECT"},
           // [MQTT-3.14.0-1]: before 5.0 no server sends one.
           Bad{V311, Server, "E0 00", ProtocolError, "packet type"},
       }) {
    expect_bad(bad);
  }
}

TEST(DecodeAuth, RoundTrips) {
  for (const Sender sender : {Client, Server}) {
    expect_good({V5, sender, R"(F0 ~ 18 12 15 "SCRAM" 16 "data" 1F "")"});
    expect_good({V5, sender, R"(F0 ~ 18 04 15 "M")"});
  }
  expect_good({V5, Client, R"(F0 ~ 19 0B 15 "M" 26 "n" "v")"});
  expect_good({V5, Server, R"(F0 ~ 00 04 15 "M")"});
  expect_good({V5, Server, "F0 00"});
}

TEST(DecodeAuth, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-3.15.1-1]
           Bad{V5, Client, R"(F1 ~ 18 04 15 "M")", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"},
           // [MQTT-3.15.2-1]
           Bad{V5, Client, "F0 00", ProtocolError, "Reason Code", "MQTT-3.15.2-1"},
           Bad{V5, Client, R"(F0 ~ 00 04 15 "M")", ProtocolError, "Reason Code", "MQTT-3.15.2-1"},
           Bad{V5, Server, R"(F0 ~ 19 04 15 "M")", ProtocolError, "Reason Code", "MQTT-3.15.2-1"},
           Bad{V5, Client, R"(F0 ~ 8C 04 15 "M")", ProtocolError, "Reason Code", "MQTT-3.15.2-1"},
           Bad{V5, Client, "F0 01 18", MalformedPacket, "Property Length"},
           Bad{V5, Client, "F0 02 18 00", ProtocolError, "Authentication Method"},
           Bad{V5, Client, R"(F0 ~ 18 04 16 "D")", ProtocolError, "Authentication Method"},
           Bad{V5, Client, R"(F0 ~ 18 04 15 "M" 00)", MalformedPacket, "AUTH"},
           Bad{V311, Client, "F0 00", ProtocolError, "packet type"},
           Bad{V31, Server, "F0 00", ProtocolError, "packet type"},
       }) {
    expect_bad(bad);
  }
}

}  // namespace
}  // namespace vigil::mqtt
