#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;
using enum ReasonCode;

TEST(DecodeConnect, RoundTrips) {
  for (const std::string_view text : {
           R"(10 ~ "MQIsdp" 03 02 003C "c")",
           R"(10 ~ "MQIsdp" 83 02 003C "c")",
           R"(10 ~ "MQIsdp" 03 00 0000 "an identifier of more than 23 bytes")",
           R"(10 ~ "MQIsdp" 03 C6 003C "c" "w" "bye" "user" "pass")",
           R"(10 ~ "MQTT" 04 02 003C "c")",
           R"(10 ~ "MQTT" 84 02 003C "c")",
           R"(10 ~ "MQTT" 04 02 FFFF "")",
           R"(10 ~ "MQTT" 04 00 003C "c")",
           R"(10 ~ "MQTT" 04 36 003C "c" "w/t" "bye")",
           R"(10 ~ "MQTT" 04 0E 003C "c" "w/t" "")",
           R"(10 ~ "MQTT" 04 82 003C "c" "user")",
           R"(10 ~ "MQTT" 04 C2 003C "c" "" 0002 00FF)",
           R"(10 ~ "MQTT" 05 02 003C 00 "c")",
           R"(10 ~ "MQTT" 85 02 003C 00 "c")",
           R"(10 ~ "MQTT" 05 00 003C 00 "")",
           R"(10 ~ "MQTT" 05 42 003C 00 "c" "only a password")",
           R"(10 ~ "MQTT" 05 F6 003C 05 11 0000003C "c" 05 18 00000005 "w" "bye" "user" "pass")",
           R"(10 ~ "MQTT" 05 02 003C {11 FFFFFFFF 17 00 19 01 21 0014 22 000A 27 00001000 15 "SCRAM" 16 "data"
              26 "n" "v" 26 "n" "w"} "c")",
           R"(10 ~ "MQTT" 05 06 0000 00 "c" {01 01 02 0000000A 18 00000005 03 "text/plain" 08 "re/ply" 09 0002 00FF
              26 "n" "v"} "w" "bye")",
       }) {
    // CONNECT says its version itself.
    expect_good({V311, Client, text});
  }
}

TEST(DecodeConnect, ReadsEveryField) {
  const Parsed parsed = parse(
      wire(R"(10 ~ "MQTT" 85 F6 0102 05 11 0000003C "id" 05 18 00000005 "w/t" "bye" "user" "pass")"), V311, Client);
  ASSERT_TRUE(parsed.packet);
  const Connect& c = std::get<Connect>(*parsed.packet);
  EXPECT_EQ(c.version, V5);
  EXPECT_TRUE(c.bridge);
  EXPECT_TRUE(c.clean_start);
  EXPECT_EQ(c.keep_alive_s, 0x0102);
  EXPECT_EQ(c.client_id, "id");
  EXPECT_EQ(c.properties.number(Property::SessionExpiryInterval), 60U);
  ASSERT_TRUE(c.will);
  EXPECT_EQ(c.will->topic, "w/t");
  EXPECT_EQ(base::as_text(c.will->payload), "bye");
  EXPECT_EQ(c.will->qos, QoS::ExactlyOnce);
  EXPECT_TRUE(c.will->retain);
  EXPECT_EQ(c.will->properties.number(Property::WillDelayInterval), 5U);
  EXPECT_EQ(c.user_name, "user");
  ASSERT_TRUE(c.password);
  EXPECT_EQ(base::as_text(*c.password), "pass");
}

TEST(DecodeConnect, RefusesOtherProtocols) {
  for (const Bad& bad : {
           // [MQTT-3.1.2-1] [MQTT3-3.1.2-1]
           Bad{V5, Client, R"(10 ~ "MQTX" 05 02 003C 00 "c")", UnsupportedProtocolVersion, "Protocol Name",
               "MQTT-3.1.2-1"},
           Bad{V5, Client, R"(10 ~ "mqtt" 04 02 003C "c")", UnsupportedProtocolVersion, "Protocol Name",
               "MQTT-3.1.2-1"},
           Bad{V5, Client, R"(10 ~ "" 04 02 003C "c")", UnsupportedProtocolVersion, "Protocol Name", "MQTT-3.1.2-1"},
           Bad{V5, Client, R"(10 ~ 0004 'MQ' FF 'T' 04 02 003C "c")", MalformedPacket, "Protocol Name", "MQTT-1.5.4-1"},
           // [MQTT-3.1.2-2] [MQTT3-3.1.2-2]
           Bad{V5, Client, R"(10 ~ "MQTT" 03 02 003C "c")", UnsupportedProtocolVersion, "Protocol Version",
               "MQTT-3.1.2-2"},
           Bad{V5, Client, R"(10 ~ "MQTT" 06 02 003C "c")", UnsupportedProtocolVersion, "Protocol Version",
               "MQTT-3.1.2-2"},
           Bad{V5, Client, R"(10 ~ "MQTT" 00 02 003C "c")", UnsupportedProtocolVersion, "Protocol Version",
               "MQTT-3.1.2-2"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 04 02 003C "c")", UnsupportedProtocolVersion, "Protocol Version",
               "MQTT-3.1.2-2"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 05 02 003C "c")", UnsupportedProtocolVersion, "Protocol Version",
               "MQTT-3.1.2-2"},
       }) {
    expect_bad(bad);
  }
}

TEST(DecodeConnect, RefusesIllegalFlags) {
  for (const Bad& bad : {
           // [MQTT-3.1.2-3] [MQTT3-3.1.2-3]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 03 003C 00 "c")", MalformedPacket, "Connect Flags", "MQTT-3.1.2-3"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 03 003C "c")", MalformedPacket, "Connect Flags", "MQTT-3.1.2-3"},
           // [MQTT-3.1.2-11] [MQTT3-3.1.2-11] [MQTT3-3.1.2-13]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 0A 003C 00 "c")", MalformedPacket, "Will QoS", "MQTT-3.1.2-11"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 12 003C "c")", MalformedPacket, "Will QoS", "MQTT-3.1.2-11"},
           // [MQTT-3.1.2-12] [MQTT3-3.1.2-14]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 1E 003C 00 "c" 00 "w" "x")", MalformedPacket, "Will QoS", "MQTT-3.1.2-12"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 1E 003C "c" "w" "x")", MalformedPacket, "Will QoS", "MQTT-3.1.2-12"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 03 1E 003C "c" "w" "x")", MalformedPacket, "Will QoS", "MQTT-3.1.2-12"},
           // [MQTT-3.1.2-13] [MQTT3-3.1.2-15]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 22 003C 00 "c")", MalformedPacket, "Will Retain", "MQTT-3.1.2-13"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 22 003C "c")", MalformedPacket, "Will Retain", "MQTT-3.1.2-13"},
           // [MQTT3-3.1.2-22]
           Bad{V5, Client, R"(10 ~ "MQTT" 04 42 003C "c" "p")", MalformedPacket, "Password Flag", "MQTT3-3.1.2-22"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 03 42 003C "c" "p")", MalformedPacket, "Password Flag", "MQTT3-3.1.2-22"},
       }) {
    expect_bad(bad);
  }
}

// The fixed header's flags are judged here, where the version is known.  [MQTT-2.1.3-1] [MQTT3-2.2.2-1]
TEST(DecodeConnect, ChecksTheHeadersFlagsButOf31) {
  for (unsigned flags = 0; flags < 16; ++flags) {
    Buffer v5 = wire(R"(10 ~ "MQTT" 05 02 003C 00 "c")");
    Buffer v311 = wire(R"(10 ~ "MQTT" 04 02 003C "c")");
    Buffer v31 = wire(R"(10 ~ "MQIsdp" 03 02 003C "c")");
    for (Buffer* bytes : {&v5, &v311, &v31}) bytes->front() |= static_cast<std::uint8_t>(flags);
    for (const Buffer& bytes : {v5, v311}) {
      const Parsed parsed = parse(bytes, V5, Client);
      ASSERT_EQ(parsed.packet.has_value(), flags == 0) << flags;
      if (flags == 0) continue;
      EXPECT_EQ(parsed.packet.error().code, MalformedPacket);
      EXPECT_EQ(parsed.packet.error().field, "fixed header flags");
    }
    EXPECT_TRUE(parse(v31, V5, Client).packet) << flags;
  }
}

// 3.1 does not use the will's bits where there is no will.
TEST(DecodeConnect, IgnoresUnusedBitsOf31) {
  for (const std::string_view flags : {"0A", "1A", "22", "3A", "03"}) {
    EXPECT_TRUE(parse(wire(fmt::format(R"(10 ~ "MQIsdp" 03 {} 003C "c")", flags)), V5, Client).packet) << flags;
  }
}

TEST(DecodeConnect, RefusesIllegalPayloads) {
  for (const Bad& bad : {
           // [MQTT-3.1.3-4] [MQTT3-3.1.3-4]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 02 003C 00 0001 FF)", MalformedPacket, "Client Identifier",
               "MQTT-1.5.4-1"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 02 003C 0001 00)", MalformedPacket, "Client Identifier", "MQTT-1.5.4-1"},
           // [MQTT3-3.1.3-8]
           Bad{V5, Client, R"(10 ~ "MQTT" 04 00 003C "")", ClientIdentifierNotValid, "Client Identifier",
               "MQTT3-3.1.3-8"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 03 02 003C "")", ClientIdentifierNotValid, "Client Identifier"},
           // [MQTT-3.1.3-11] [MQTT3-3.1.3-10]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 06 003C 00 "c" 00 0001 C0 "x")", MalformedPacket, "Will Topic",
               "MQTT-1.5.4-1"},
           // [MQTT-4.7.3-1] [MQTT-4.7.0-1]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 06 003C 00 "c" 00 "" "x")", MalformedPacket, "Will Topic", "MQTT-4.7.3-1"},
           Bad{V5, Client, R"(10 ~ "MQTT" 05 06 003C 00 "c" 00 "a/#" "x")", MalformedPacket, "Will Topic",
               "MQTT-4.7.0-1"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 06 003C "c" "+" "x")", MalformedPacket, "Will Topic", "MQTT-4.7.0-1"},
           // [MQTT-3.1.3-12] [MQTT3-3.1.3-11]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 82 003C 00 "c" 0001 FE)", MalformedPacket, "User Name", "MQTT-1.5.4-1"},
           // [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT3-3.1.2-19] [MQTT3-3.1.2-21]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 82 003C 00 "c")", MalformedPacket, "User Name"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 C2 003C "c" "u")", MalformedPacket, "Password"},
           // [MQTT-3.1.2-9] [MQTT3-3.1.2-9]
           Bad{V5, Client, R"(10 ~ "MQTT" 04 06 003C "c")", MalformedPacket, "Will Topic"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 06 003C "c" "w")", MalformedPacket, "Will Payload"},
           // [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT3-3.1.2-11] [MQTT3-3.1.2-18] [MQTT3-3.1.2-20]
           Bad{V5, Client, R"(10 ~ "MQTT" 05 02 003C 00 "c" 00)", MalformedPacket, "CONNECT"},
           Bad{V5, Client, R"(10 ~ "MQTT" 04 02 003C "c" "u")", MalformedPacket, "CONNECT"},
           Bad{V5, Client, R"(10 ~ "MQIsdp" 03 02 003C "c" 00)", MalformedPacket, "CONNECT"},
           Bad{V5, Client, R"(10 ~ "MQTT" 05 02 003C 07 16 "data" "c")", ProtocolError, "Authentication Data"},
           // [MQTT-1.5.5-1]
           Bad{V5, Client, R"(10 8E00 "MQTT" 05 02 003C 00 "c")", MalformedPacket, "Remaining Length", "MQTT-1.5.5-1"},
           // [MQTT-3.1.4-1] [MQTT3-3.1.4-1]
           Bad{V5, Client, "10 00", MalformedPacket, "Protocol Name"},
       }) {
    expect_bad(bad);
  }
}

// 3.1 gives these bits no meaning.
TEST(DecodeConnect, IgnoresInVersion31WhatLaterVersionsReserve) {
  for (const std::string_view text :
       {R"(10 ~ "MQIsdp" 03 03 003C "c")", R"(10 ~ "MQIsdp" 03 0A 003C "c")", R"(10 ~ "MQIsdp" 03 22 003C "c")"}) {
    const Parsed parsed = parse(wire(text), V5, Client);
    ASSERT_TRUE(parsed.packet) << text;
    EXPECT_FALSE(std::get<Connect>(*parsed.packet).will);
  }
}

// 3.1: "the Remaining Length field takes precedence over the User Name flag".
TEST(DecodeConnect, MayMissCredentialsInVersion31) {
  const Parsed none = parse(wire(R"(10 ~ "MQIsdp" 03 C2 003C "c")"), V5, Client);
  ASSERT_TRUE(none.packet);
  EXPECT_FALSE(std::get<Connect>(*none.packet).user_name);
  EXPECT_FALSE(std::get<Connect>(*none.packet).password);
  const Parsed user = parse(wire(R"(10 ~ "MQIsdp" 03 C2 003C "c" "u")"), V5, Client);
  ASSERT_TRUE(user.packet);
  EXPECT_EQ(std::get<Connect>(*user.packet).user_name, "u");
  EXPECT_FALSE(std::get<Connect>(*user.packet).password);
}

// Only 5.0 forbids it.
TEST(DecodeConnect, MayHaveALongLengthBefore5) {
  EXPECT_TRUE(parse(wire(R"(10 8D00 "MQTT" 04 02 003C "c")"), V5, Client).packet);
}

// [MQTT-3.1.3-5] [MQTT3-3.1.3-5]
TEST(DecodeConnect, TakesLongIdentifiers) {
  Connect connect{.version = V311};
  const std::string id(65'535, 'x');
  connect.client_id = id;
  const Parsed parsed = parse(encoded(V311, connect), V311, Client);
  ASSERT_TRUE(parsed.packet);
  EXPECT_EQ(std::get<Connect>(*parsed.packet), connect);
}

TEST(DecodeConnect, PeeksAtVersionAndClientIdentifier) {
  const auto body = [](std::string_view text) { return Exact(wire(text)); };
  EXPECT_EQ(peek_client_id(body(R"("MQTT" 05 02 003C 05 11 0000003C "id")").bytes()), "id");
  EXPECT_EQ(peek_client_id(body(R"("MQTT" 04 FF 003C "")").bytes()), "");
  EXPECT_EQ(peek_client_id(body(R"("MQIsdp" 03 02 003C "old")").bytes()), "old");
  EXPECT_EQ(peek_client_id(body(R"("MQTT" 05 02 003C 7F "id")").bytes()), std::nullopt);
  EXPECT_EQ(peek_client_id(body(R"("MQTT" 05 02 003C 00 0005 'id')").bytes()), std::nullopt);
  EXPECT_EQ(peek_client_id(body(R"("MQTT" 07 02 003C 00 "id")").bytes()), std::nullopt);
  EXPECT_EQ(peek_client_id({}), std::nullopt);

  EXPECT_EQ(peek_version(body(R"("MQTT" 05)").bytes()), V5);
  EXPECT_EQ(peek_version(body(R"("MQTT" 84 FF)").bytes()), V311);
  EXPECT_EQ(peek_version(body(R"("MQIsdp" 03 FF)").bytes()), V31);
  EXPECT_EQ(peek_version(body(R"("MQTT" 06 FF)").bytes()), std::nullopt);
  EXPECT_EQ(peek_version(body(R"("MQTT")").bytes()), std::nullopt);
}

TEST(DecodeConnAck, RoundTrips) {
  for (const Good& good : {
           Good{V31, Server, "20 02 00 00"},
           Good{V31, Server, "20 02 00 05"},
           Good{V311, Server, "20 02 01 00"},
           Good{V311, Server, "20 02 00 00"},
           Good{V311, Server, "20 02 00 01"},
           Good{V311, Server, "20 02 00 02"},
           Good{V311, Server, "20 02 00 03"},
           Good{V311, Server, "20 02 00 04"},
           Good{V311, Server, "20 02 00 05"},
           Good{V5, Server, "20 03 00 00 00"},
           Good{V5, Server, "20 03 01 00 00"},
           Good{V5, Server, "20 03 00 87 00"},
           Good{V5, Server,
                R"(20 ~ 00 00 {11 0000000A 13 003C 21 0014 22 000A 24 01 25 01 27 00001000 28 01 29 01 2A 00
                              12 "auto" 15 "M" 16 "D" 1A "info" 1C "ref" 1F "why" 26 "n" "v"})"},
       }) {
    expect_good(good);
  }
}

TEST(DecodeConnAck, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-3.2.2-1]
           Bad{V5, Server, "20 03 02 00 00", MalformedPacket, "Connect Acknowledge Flags", "MQTT-3.2.2-1"},
           Bad{V311, Server, "20 02 81 00", MalformedPacket, "Connect Acknowledge Flags", "MQTT-3.2.2-1"},
           // [MQTT-3.2.2-6] [MQTT3-3.2.2-4]
           Bad{V5, Server, "20 03 01 87 00", ProtocolError, "Session Present", "MQTT-3.2.2-6"},
           Bad{V311, Server, "20 02 01 05", ProtocolError, "Session Present", "MQTT-3.2.2-6"},
           // [MQTT-3.2.2-8]
           Bad{V5, Server, "20 03 00 01 00", ProtocolError, "Connect Reason Code", "MQTT-3.2.2-8"},
           Bad{V5, Server, "20 03 00 8D 00", ProtocolError, "Connect Reason Code", "MQTT-3.2.2-8"},
           Bad{V311, Server, "20 02 00 06", ProtocolError, "Connect Return Code"},
           Bad{V311, Server, "20 03 00 00 00", MalformedPacket, "CONNACK"},
           Bad{V5, Server, "20 04 00 00 00 00", MalformedPacket, "CONNACK"},
           Bad{V5, Server, "20 02 00 00", MalformedPacket, "Property Length"},
           Bad{V5, Server, R"(20 ~ 00 00 04 16 "x")", ProtocolError, "Authentication Data"},
           Bad{V5, Client, "20 03 00 00 00", ProtocolError, "packet type"},
           Bad{V5, Server, R"(10 ~ "MQTT" 05 02 003C 00 "c")", ProtocolError, "packet type"},
       }) {
    expect_bad(bad);
  }
}

}  // namespace
}  // namespace vigil::mqtt
