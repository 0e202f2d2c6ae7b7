// What the load client writes and reads, against the broker's own codec: two implementations of one standard.
#include "load/wire.h"

#include <gtest/gtest.h>

#include <array>

namespace vigil::load {
namespace {

using namespace std::string_view_literals;

TEST(LoadWire, ConnectIsAsTheStandardSays) {
  EXPECT_EQ(encode_connect({.client_id = "c", .keep_alive_s = 60}),
            "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x63"sv);
  EXPECT_EQ(encode_connect({.version = Version::V31, .client_id = "c", .keep_alive_s = 1, .clean = false}),
            "\x10\x0f\x00\x06MQIsdp\x03\x00\x00\x01\x00\x01\x63"sv);
  // Session Expiry Interval of 258 s, will at QoS 1 retained, user name and password.
  EXPECT_EQ(encode_connect({.version = Version::V5,
                            .client_id = "c",
                            .keep_alive_s = 60,
                            .will = Will{.topic = "w", .payload = "x", .qos = 1, .retain = true},
                            .username = "u",
                            .password = "p",
                            .clean = true,
                            .session_expiry_s = 258}),
            "\x10\x20\x00\x04MQTT\x05\xee\x00\x3c\x05\x11\x00\x00\x01\x02\x00\x01"
            "c\x00\x00\x01w\x00\x01x\x00\x01u\x00\x01p"sv);
}

TEST(LoadWire, PublishAndItsAcknowledgements) {
  std::string out;
  append_publish(out, {.topic = "t", .payload = "hi"});
  EXPECT_EQ(out, "\x30\x05\x00\x01thi"sv);
  out.clear();
  append_publish(out,
                 {.version = Version::V5, .topic = "t", .payload = "hi", .qos = 2, .retain = true, .packet_id = 258});
  EXPECT_EQ(out, "\x35\x08\x00\x01t\x01\x02\x00hi"sv);
  for (const auto& [type, first] :
       std::array{std::pair(PacketType::Puback, '\x40'), std::pair(PacketType::Pubrec, '\x50'),
                  std::pair(PacketType::Pubrel, '\x62'), std::pair(PacketType::Pubcomp, '\x70')}) {
    out.clear();
    append_ack(out, type, 258);
    EXPECT_EQ(out, std::string(1, first) + "\x02\x01\x02");
  }
  const std::array<std::string, 2> filters = {"a", "b/#"};
  EXPECT_EQ(encode_subscribe(Version::V311, 7, filters, 1), "\x82\x0c\x00\x07\x00\x01\x61\x01\x00\x03\x62/#\x01"sv);
}

TEST(LoadWire, ReadsWhatABrokerSays) {
  std::string out;
  append_publish(out, {.version = Version::V5, .topic = "topic", .payload = "payload", .qos = 1, .packet_id = 513});
  const base::Bytes bytes = base::as_bytes(out);
  const FrameSize size = frame_size(bytes);
  ASSERT_EQ(size.total, bytes.size());
  const Frame frame{bytes[0], bytes.subspan(size.header)};
  EXPECT_EQ(frame.type(), PacketType::Publish);
  EXPECT_EQ(frame.publish_qos(), 1U);
  EXPECT_EQ(frame.publish_topic(), "topic");
  EXPECT_EQ(frame.publish_packet_id(), 513);
  EXPECT_EQ(base::as_text(frame.publish_payload(Version::V5)), "payload");

  const std::array<std::uint8_t, 3> suback = {0, 1, 0x80};
  EXPECT_TRUE((Frame{0x90, suback}.refuses_a_filter(Version::V311)));
  const std::array<std::uint8_t, 4> granted = {0, 1, 0, 1};
  EXPECT_FALSE((Frame{0x90, granted}.refuses_a_filter(Version::V5)));
  const std::array<std::uint8_t, 2> connack = {1, 0x87};
  EXPECT_EQ((Frame{0x20, connack}.code()), 0x87);
  EXPECT_TRUE((Frame{0x20, connack}.session_present()));
}

TEST(LoadWire, RefusesWhatCannotBe) {
  const std::array<std::uint8_t, 1> short_body = {0};
  EXPECT_THROW((void)(Frame{0x30, short_body}.publish_topic()), std::runtime_error);
  EXPECT_THROW((void)(Frame{0x40, short_body}.packet_id()), std::runtime_error);
  const std::array<std::uint8_t, 6> endless = {0x30, 0xff, 0xff, 0xff, 0xff, 0x01};
  EXPECT_THROW((void)frame_size(endless), std::runtime_error);
}

TEST(LoadWire, FramesAreCutWhereverTheyAreBroken) {
  std::string stream;
  for (int i = 0; i < 5; ++i) append_publish(stream, {.topic = "t", .payload = std::string(200, 'x')});
  stream += kPingreq;
  for (std::size_t cut = 1; cut < stream.size(); cut += 7) {
    Framer framer;
    int publishes = 0;
    int others = 0;
    const auto count = [&](const Frame& frame) { ++(frame.type() == PacketType::Publish ? publishes : others); };
    for (std::size_t at = 0; at < stream.size(); at += cut) {
      framer.feed(base::as_bytes(std::string_view(stream).substr(at, cut)), count);
    }
    EXPECT_EQ(publishes, 5);
    EXPECT_EQ(others, 1);
    EXPECT_TRUE(framer.idle());
  }
}

}  // namespace
}  // namespace vigil::load
