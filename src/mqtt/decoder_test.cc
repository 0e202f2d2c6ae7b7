#include "mqtt/decoder.h"

#include <gtest/gtest.h>

#include "mqtt/samples_test.h"
#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;
using enum ReasonCode;

Decoded<std::optional<FrameHeader>> header(std::string_view text, std::uint32_t max = kMaxRemainingLength,
                                           Version version = V5) {
  return decode_header(Exact(wire(text)).bytes(), max, version);
}

TEST(DecodeHeader, ReadsTypeFlagsAndLength) {
  const auto h = header("3B FFFFFF7F", 0xFFFF'FFFF);
  ASSERT_TRUE(h && *h);
  EXPECT_EQ((*h)->type, PacketType::Publish);
  EXPECT_EQ((*h)->flags, 0x0B);
  EXPECT_EQ((*h)->header_size, 5);
  EXPECT_EQ((*h)->remaining, kMaxRemainingLength);
  EXPECT_EQ((*h)->size(), std::size_t{kMaxRemainingLength} + 5);

  for (const std::uint32_t length :
       {0U, 1U, 127U, 128U, 16'383U, 16'384U, 2'097'151U, 2'097'152U, kMaxRemainingLength}) {
    Buffer bytes = {0x30};
    append_varint(bytes, length);
    const auto decoded = decode_header(Exact(bytes).bytes(), 0xFFFF'FFFF);
    ASSERT_TRUE(decoded && *decoded);
    EXPECT_EQ((*decoded)->remaining, length);
    EXPECT_EQ((*decoded)->header_size, bytes.size());
  }
}

TEST(DecodeHeader, WaitsForTheWhole) {
  for (const std::string_view part : {"", "30", "30 80", "30 FFFF", "30 FFFFFF"}) {
    const auto h = header(part);
    ASSERT_TRUE(h) << part;
    EXPECT_FALSE(*h) << part;
  }
}

// [MQTT-1.5.5-1]
TEST(DecodeHeader, RefusesLengthsOfTheWrongForm) {
  for (const std::string_view bytes :
       {"30 FFFFFFFF", "30 80808080", "30 8000", "30 FF00", "30 808000", "30 FFFFFF00"}) {
    for (const std::string_view rest : {"", "01"}) {
      const auto h = header(std::string(bytes) + std::string(rest));
      ASSERT_FALSE(h) << bytes;
      EXPECT_EQ(h.error().code, MalformedPacket);
      EXPECT_EQ(h.error().field, "Remaining Length");
      EXPECT_EQ(h.error().clause, "MQTT-1.5.5-1");
    }
  }
  // 3.x says nothing of the shortest form.
  const auto lenient = header("30 8300", 100, V311);
  ASSERT_TRUE(lenient && *lenient);
  EXPECT_EQ((*lenient)->remaining, 3U);
  EXPECT_FALSE(header("30 FFFFFFFF", 100, V311));
}

// [MQTT-2.1.3-1] [MQTT3-2.2.2-1] [MQTT3-2.2.2-2]
TEST(DecodeHeader, ChecksTheFlagsOfEveryType) {
  for (unsigned first = 0; first < 256; ++first) {
    const unsigned type = first >> 4U;
    const unsigned flags = first & 15U;
    bool legal = flags == 0;
    if (type == 0) legal = false;
    if (type == 1) continue;  // decode_connect judges them
    if (type == 6 || type == 8 || type == 10) legal = flags == 2;
    // [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT3-3.3.1-2] [MQTT3-3.3.1-4]
    if (type == 3) legal = (flags & 6U) != 6 && !((flags & 8U) != 0 && (flags & 6U) == 0);
    const Buffer bytes = {static_cast<std::uint8_t>(first), 0};
    for (const Version version : {V311, V5}) {
      const auto h = decode_header(bytes, 100, version);
      EXPECT_EQ(h.has_value(), legal) << first;
      EXPECT_TRUE(legal || h.error().code == MalformedPacket) << first;
    }
  }
  EXPECT_EQ(header("00 00").error().field, "packet type");
  EXPECT_EQ(header("36 00").error().field, "QoS");
  EXPECT_EQ(header("38 00").error().field, "DUP");
  EXPECT_EQ(header("C1 00").error().field, "fixed header flags");
}

// 3.1 reserves no flags: what a packet type has no use for "is not used".
TEST(DecodeHeader, IgnoresFlagsThatAreNotUsedIn31) {
  for (unsigned first = 0x10; first < 256; ++first) {
    const unsigned type = first >> 4U;
    const unsigned qos = first >> 1U & 3U;
    bool legal = true;
    if (type == 3) legal = qos != 3;
    if (type == 6 || type == 8 || type == 10) legal = qos == 1;
    const Buffer bytes = {static_cast<std::uint8_t>(first), 0};
    EXPECT_EQ(decode_header(bytes, 100, V31).has_value(), legal) << first;
  }
}

// 3.1.2.11.4 and 0x95: the size counts from the first byte of the packet.
TEST(DecodeHeader, ChecksTheSize) {
  EXPECT_TRUE(header("30 0A", 12));
  const auto h = header("30 0A", 11);
  ASSERT_FALSE(h);
  EXPECT_EQ(h.error().code, PacketTooLarge);
  EXPECT_EQ(h.error().field, "Remaining Length");
  EXPECT_TRUE(header("30 8001", 131));
  EXPECT_FALSE(header("30 8001", 130));
}

TEST(DecodeHeader, PingsHaveNoBody) {
  expect_good({V311, Client, "C0 00"});
  expect_good({V5, Server, "D0 00"});
  expect_bad({V5, Client, "C0 01 00", MalformedPacket, "Remaining Length"});
  expect_bad({V5, Server, "D0 01 00", MalformedPacket, "Remaining Length"});
  expect_bad({V5, Server, "C0 00", ProtocolError, "packet type"});
  expect_bad({V5, Client, "D0 00", ProtocolError, "packet type"});
  // [MQTT-2.1.3-1]
  expect_bad({V5, Client, "C1 00", MalformedPacket, "fixed header flags", "MQTT-2.1.3-1"});
  const std::uint8_t extra = 0;
  EXPECT_FALSE(decode({.type = PacketType::PingReq, .header_size = 2, .remaining = 1}, {&extra, 1}, V5, Client));
}

TEST(DecodePublish, RoundTrips) {
  for (const Sender sender : {Client, Server}) {
    for (const Version version : {V31, V311}) {
      for (const std::string_view text : {R"(30 ~ "a/b")", R"(31 ~ "a/b" 'hello')", R"(32 ~ "a" 0001 'x')",
                                          R"(3D ~ "/" FFFF 00)", R"(34 ~ "$SYS/x" 0102)", R"(3A ~ "a" 0001)"}) {
        expect_good({version, sender, text});
      }
    }
    for (const std::string_view text :
         {R"(30 ~ "a/b" 00)", R"(31 ~ "a/b" 00 'hello')", R"(3D ~ "a" 0001 00 'x')", R"(30 ~ "" 03 23 0001 'x')",
          R"(32 ~ "a" 0001 {01 01 02 0000000A 23 0007 03 "text/plain" 08 "re/ply" 09 0002 00FF 26 "n" "v"
              26 "n" "w"} 'x')"}) {
      expect_good({V5, sender, text});
    }
  }
  expect_good({V5, Server, R"(30 ~ "a" 07 0B 01 0B FFFFFF7F 'x')"});
}

TEST(DecodePublish, ReadsEveryField) {
  const Parsed parsed = parse(wire(R"(3D ~ "a/b" 0102 05 02 0000000A 'hello')"), V5, Client);
  ASSERT_TRUE(parsed.packet);
  const Publish& p = std::get<Publish>(*parsed.packet);
  EXPECT_TRUE(p.dup);
  EXPECT_TRUE(p.retain);
  EXPECT_EQ(p.qos, QoS::ExactlyOnce);
  EXPECT_EQ(p.topic, "a/b");
  EXPECT_EQ(p.packet_id, 0x0102);
  EXPECT_EQ(p.properties.number(Property::MessageExpiryInterval), 10U);
  EXPECT_EQ(base::as_text(p.payload), "hello");
  const Buffer raw = wire("02 0000000A");
  EXPECT_EQ(Buffer(p.raw_properties.begin(), p.raw_properties.end()), raw);
}

TEST(DecodePublish, RefusesWhatIsIllegal) {
  for (const Bad& bad : {
           // [MQTT-3.3.1-4] [MQTT3-3.3.1-4]
           Bad{V5, Client, R"(36 ~ "a" 0001 00)", MalformedPacket, "QoS", "MQTT-3.3.1-4"},
           Bad{V311, Client, R"(36 ~ "a" 0001)", MalformedPacket, "QoS", "MQTT-3.3.1-4"},
           // [MQTT-3.3.1-2] [MQTT3-3.3.1-2]
           Bad{V5, Client, R"(38 ~ "a" 00)", MalformedPacket, "DUP", "MQTT-3.3.1-2"},
           Bad{V311, Client, R"(38 ~ "a")", MalformedPacket, "DUP", "MQTT-3.3.1-2"},
           // [MQTT-3.3.2-1] [MQTT3-3.3.2-1]
           Bad{V5, Client, R"(30 ~ 0002 C328 00)", MalformedPacket, "Topic Name", "MQTT-1.5.4-1"},
           Bad{V311, Client, R"(30 ~ 0001 00)", MalformedPacket, "Topic Name", "MQTT-1.5.4-1"},
           // [MQTT-3.3.2-2] [MQTT3-3.3.2-2]
           Bad{V5, Client, R"(30 ~ "a/#" 00)", MalformedPacket, "Topic Name", "MQTT-3.3.2-2"},
           Bad{V311, Client, R"(30 ~ "+")", MalformedPacket, "Topic Name", "MQTT-3.3.2-2"},
           // [MQTT-4.7.3-1] [MQTT3-4.7.3-1]
           Bad{V5, Client, R"(30 ~ "" 00)", ProtocolError, "Topic Name"},
           Bad{V311, Client, R"(30 ~ "")", MalformedPacket, "Topic Name", "MQTT3-4.7.3-1"},
           // [MQTT-2.2.1-3] [MQTT-2.2.1-4] [MQTT3-2.3.1-1]
           Bad{V5, Client, R"(32 ~ "a" 0000 00)", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           Bad{V311, Server, R"(34 ~ "a" 0000)", ProtocolError, "Packet Identifier", "MQTT-2.2.1-3"},
           Bad{V311, Server, R"(34 ~ "a" 00)", MalformedPacket, "Packet Identifier"},
           // [MQTT-3.3.2-8]
           Bad{V5, Client, R"(30 ~ "a" 03 23 0000)", TopicAliasInvalid, "Topic Alias", "MQTT-3.3.2-8"},
           // [MQTT-3.3.4-6]
           Bad{V5, Client, R"(30 ~ "a" 02 0B 01)", ProtocolError, "Subscription Identifier", "MQTT-3.3.4-6"},
           // [MQTT-2.2.2-1]
           Bad{V5, Client, R"(30 ~ "a")", MalformedPacket, "Property Length"},
           Bad{V5, Client, R"(30 ~ 0004 'abc')", MalformedPacket, "Topic Name"},
           Bad{V5, Client, "30 01 00", MalformedPacket, "Topic Name"},
       }) {
    expect_bad(bad);
  }
  // Also when the flags come from elsewhere.
  const Exact body(wire(R"("a" 0001)"));
  EXPECT_FALSE(decode_publish({.type = PacketType::Publish, .flags = 6, .header_size = 2, .remaining = 5}, body.bytes(),
                              V311, Client));
}

// The payload is the application's: a text that is not one is still a legal packet (3.3.2.3.2).
TEST(DecodePublish, DoesNotLookIntoThePayload) {
  EXPECT_TRUE(parse(wire(R"(30 ~ "a" 02 01 01 FF)"), V5, Client).packet);
}

TEST(Decode, EverySampleSaysTheSameAgain) {
  for (const Sample& sample : samples()) {
    const Buffer bytes = encoded(sample.version, sample.packet);
    SCOPED_TRACE(testing::PrintToString(bytes));
    EXPECT_EQ(bytes.size(), encoded_size(sample.version, sample.packet));
    const Parsed parsed = parse(bytes, sample.version, sample.sender);
    ASSERT_TRUE(parsed.packet) << parsed.packet.error().field << ": " << parsed.packet.error().detail;
    EXPECT_EQ(*parsed.packet, sample.packet);
    EXPECT_EQ(encoded(sample.version, *parsed.packet), bytes);
  }
}

// Cut at every byte: as it comes (incomplete), and with a Remaining Length that fits what is left. The second is an
// error, or a packet in its own right that ends there; never a read outside.
TEST(Decode, EveryTruncationFailsCleanly) {
  for (const Sample& sample : samples()) {
    const Buffer bytes = encoded(sample.version, sample.packet);
    const auto h = decode_header(bytes, kMaxRemainingLength, sample.version);
    ASSERT_TRUE(h && *h);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const Exact part(base::Bytes(bytes).first(size));
      const auto cut = decode_header(part.bytes(), kMaxRemainingLength, sample.version);
      ASSERT_TRUE(cut);
      EXPECT_EQ(cut->has_value(), size >= (*h)->header_size);
    }
    for (std::size_t size = 0; size < (*h)->remaining; ++size) {
      FrameHeader shorter = **h;
      shorter.remaining = static_cast<std::uint32_t>(size);
      const Exact body(base::Bytes(bytes).subspan((*h)->header_size, size));
      const auto packet = decode(shorter, body.bytes(), sample.version, sample.sender);
      if (packet) {
        EXPECT_NE(*packet, sample.packet);
        EXPECT_LE(encoded_size(sample.version, *packet), size + 5);
      } else {
        EXPECT_FALSE(packet.error().field.empty());
        EXPECT_FALSE(packet.error().detail.empty());
      }
    }
  }
}

// Any single byte changed to anything: an answer, and one that is stable when the packet is legal.
TEST(Decode, EveryChangedByteHasAnAnswer) {
  for (const Sample& sample : samples()) {
    const Buffer bytes = encoded(sample.version, sample.packet);
    if (bytes.size() > 200) continue;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned change : {1U, 2U, 4U, 8U, 16U, 32U, 64U, 128U, 255U}) {
        Buffer changed = bytes;
        changed[at] ^= static_cast<std::uint8_t>(change);
        const Parsed parsed = parse(changed, sample.version, sample.sender);
        if (!parsed.packet) continue;
        const Parsed again = parse(encoded(sample.version, *parsed.packet), sample.version, sample.sender);
        ASSERT_TRUE(again.packet);
        EXPECT_EQ(*again.packet, *parsed.packet);
      }
    }
  }
}

}  // namespace
}  // namespace vigil::mqtt
