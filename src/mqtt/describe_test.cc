#include "mqtt/describe.h"

#include <gtest/gtest.h>

#include <set>

#include "mqtt/samples_test.h"
#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;

std::string described(std::string_view text, Version version, Sender sender) {
  const Parsed parsed = parse(wire(text), version, sender);
  return parsed.packet ? describe(*parsed.packet) : std::string(parsed.packet.error().field);
}

TEST(Describe, SaysWhatMatters) {
  EXPECT_EQ(described(R"(3A ~ "a/b" 0007 'hello')", V311, Client), "PUBLISH topic=a/b qos=1 id=7 dup=1 payload=hello");
  EXPECT_EQ(described(R"(31 ~ "a" {23 0003 26 "n" "v"} 00FF)", V5, Client),
            "PUBLISH topic=a qos=0 retain=1 topic_alias=3 user.n=v payload=0x00ff");
  EXPECT_EQ(
      described(R"(10 ~ "MQTT" 05 C6 003C {11 0000003C 15 "M" 16 "D"} "c" {18 00000005} "w/t" "bye" "u" "secret")", V5,
                Client),
      "CONNECT id=c version=5 clean=1 keep_alive=60 user_name=u password=*** session_expiry_interval=60 "
      "authentication_method=M authentication_data=*** will=w/t will.payload=bye will.will_delay_interval=5");
  EXPECT_EQ(described("20 02 01 00", V311, Server), "CONNACK session_present=1");
  EXPECT_EQ(described("20 03 00 87 00", V5, Server), "CONNACK session_present=0 reason=0x87 (Not authorized)");
  EXPECT_EQ(described("62 03 0001 92", V5, Server), "PUBREL id=1 reason=0x92 (Packet Identifier not found)");
  EXPECT_EQ(
      described(R"(82 ~ 0001 {0B 07} "a" 2D "b" 00)", V5, Client),
      "SUBSCRIBE id=1 subscription_identifier=7 filter=a qos=1 no_local=1 retain_as_published=1 retain_handling=2 "
      "filter=b qos=0");
  EXPECT_EQ(described("90 ~ 0001 00 01 8F", V5, Server), "SUBACK id=1 reasons=0x01,0x8F");
  EXPECT_EQ(described(R"(A2 ~ 0001 "a" "b")", V311, Client), "UNSUBSCRIBE id=1 filter=a filter=b");
  EXPECT_EQ(described("B0 02 0001", V311, Server), "UNSUBACK id=1");
  EXPECT_EQ(described("C0 00", V311, Client), "PINGREQ");
  EXPECT_EQ(described("D0 00", V311, Server), "PINGRESP");
  EXPECT_EQ(described("E0 00", V5, Client), "DISCONNECT");
  EXPECT_EQ(described("E0 01 8D", V5, Server), "DISCONNECT reason=0x8D (Keep Alive timeout)");
  EXPECT_EQ(described(R"(F0 ~ 18 {15 "M"})", V5, Server),
            "AUTH reason=0x18 (Continue authentication) authentication_method=M");
}

TEST(Describe, StaysOnOneShortLine) {
  const std::string long_text(1'000, 'x');
  Publish publish{.topic = "a\nb\x7F", .payload = base::as_bytes(long_text)};
  EXPECT_EQ(describe(publish), "PUBLISH topic=a\\x0ab\\x7f qos=0 payload=" + std::string(64, 'x') + "...");
  publish.topic = long_text;
  publish.payload = {};
  EXPECT_EQ(describe(publish), "PUBLISH topic=" + std::string(128, 'x') + "... qos=0 payload=");
  const std::string binary(100, '\0');
  publish.topic = "t";
  publish.payload = base::as_bytes(binary);
  EXPECT_EQ(describe(publish), "PUBLISH topic=t qos=0 payload=0x" + std::string(32, '0') + "...");
}

TEST(Describe, NeverShowsSecrets) {
  for (const Sample& sample : samples()) {
    const std::string line = describe(sample.packet);
    EXPECT_EQ(line.find("p\\x00ss"), std::string::npos);
    EXPECT_EQ(line.find("703a"), std::string::npos);
    const std::size_t data = line.find("authentication_data=");
    EXPECT_TRUE(data == std::string::npos || line.substr(data + 20, 3) == "***") << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
}

TEST(Describe, ShowsOnlyTheSizeOfPayloadsWhereAsked) {
  Publish publish;
  publish.topic = "t";
  publish.payload = base::as_bytes("hello");
  EXPECT_EQ(describe(publish, Payloads::SizeOnly), "PUBLISH topic=t qos=0 payload=(5 bytes)");
  Connect connect;
  connect.client_id = "a";
  connect.will = Will{.topic = "w", .payload = base::as_bytes("gone")};
  EXPECT_EQ(describe(connect, Payloads::SizeOnly).find("gone"), std::string::npos);
}

TEST(Describe, NamesEveryType) {
  std::set<std::string_view> names;
  for (unsigned type = 0; type < 16; ++type) names.insert(packet_name(static_cast<PacketType>(type)));
  EXPECT_EQ(names.size(), 16U);
  for (const Sample& sample : samples()) {
    const Buffer bytes = encoded(sample.version, sample.packet);
    EXPECT_EQ(static_cast<unsigned>(packet_type(sample.packet)), bytes[0] >> 4U);
  }
}

}  // namespace
}  // namespace vigil::mqtt
