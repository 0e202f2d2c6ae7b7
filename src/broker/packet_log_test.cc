// What the core says for the log: the lines that operators read and search for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "broker/shard_core.h"
#include "mqtt/encoder.h"

namespace vigil::broker {
namespace {

using mqtt::Version;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// One client of a broker with one shard; what the broker says of it.
class LogTest : public testing::Test {
 protected:
  void begin(LogLevel level, const Limits& limits = {}, std::string_view address = "127.0.0.1:5") {
    ShardSetup setup;
    setup.limits = limits;
    setup.limits.sys_enabled = false;
    core_ = std::make_unique<ShardCore>(std::move(setup), now_);
    core_->log_from(level);
    address_ = address;
  }
  void open() {
    PeerInfo peer;
    peer.address = address_;
    peer.listener = "small";
    peer.loopback = peer.allow_anonymous = true;
    peer.over_quota = over_quota_;
    id_ = core_->opened(std::move(peer), now_);
  }
  void connect(Version version, const mqtt::Connect& packet = {.client_id = "dev"}) {
    open();
    version_ = version;
    mqtt::Connect connect = packet;
    connect.version = version;
    send(connect);
  }
  void send(const mqtt::Packet& packet) {
    std::vector<std::uint8_t> bytes;
    mqtt::encode(bytes, version_, packet);
    core_->received(id_, bytes, now_);
  }
  void send_bytes(std::string_view bytes) { core_->received(id_, base::as_bytes(bytes), now_); }
  void subscribe(std::string_view filter, mqtt::QoS qos = mqtt::QoS::AtLeastOnce) {
    mqtt::Subscribe packet{.packet_id = 1};
    packet.entries.push_back({.filter = filter, .options = {.qos = qos}});
    send(packet);
  }
  void publish(std::string_view topic, std::string_view payload = "hello") {
    send(mqtt::Publish{.topic = topic, .payload = base::as_bytes(payload)});
  }
  // The lines since the last call.
  std::vector<std::string> said(LogLevel least = LogLevel::Trace) {
    core_->end_turn();
    std::vector<std::string> lines;
    for (const LogLine& line : core_->effects().log) {
      if (line.level >= least) lines.push_back(line.message);
    }
    core_->effects().clear();
    return lines;
  }

  base::Instant now_ = base::Instant::from_ns(1'000'000'000);
  std::unique_ptr<ShardCore> core_;
  std::string address_;
  OverQuota over_quota_ = OverQuota::No;
  ConnectionId id_;
  Version version_ = Version::V5;
};

TEST_F(LogTest, TraceShowsEveryPacketInOneLineAndPayloadsOnlyAsASize) {
  begin(LogLevel::Trace);
  connect(Version::V311);
  subscribe("a/b");
  publish("a/b");
  send(mqtt::PingReq{});
  std::vector<std::string> packets;
  for (std::string& line : said()) {
    if (line.starts_with("from ") || line.starts_with("to ")) packets.push_back(std::move(line));
  }
  EXPECT_THAT(
      packets,
      ElementsAre(HasSubstr("from 127.0.0.1:5: CONNECT id=dev version=4"), "to dev: CONNACK session_present=0",
                  "from dev: SUBSCRIBE id=1 filter=a/b qos=1", "to dev: SUBACK id=1 reasons=0x01",
                  "from dev: PUBLISH topic=a/b qos=0 payload=(5 bytes)",
                  "to dev: PUBLISH topic=a/b qos=0 payload=(5 bytes)", "from dev: PINGREQ", "to dev: PINGRESP"));
}

TEST_F(LogTest, TraceNamesTheTopicAlsoWhereAnAliasStandsForIt) {
  begin(LogLevel::Trace);
  mqtt::Connect packet{.client_id = "dev"};
  packet.properties.set_number(mqtt::Property::TopicAliasMaximum, 5);
  connect(Version::V5, packet);
  subscribe("a/b");
  publish("a/b");
  static_cast<void>(said());
  publish("a/b");
  EXPECT_THAT(said(), Contains(HasSubstr("to dev: PUBLISH topic=a/b qos=0 topic_alias=1")));
}

TEST_F(LogTest, DebugShowsWhatClientsSubscribeToAndWhatGoesToNobody) {
  begin(LogLevel::Debug);
  connect(Version::V5);
  static_cast<void>(said());
  subscribe("a/b", mqtt::QoS::ExactlyOnce);
  mqtt::Unsubscribe unsubscribe{.packet_id = 2};
  for (const std::string_view filter : {"a/b", "c"}) unsubscribe.entries.push_back({.filter = filter});
  send(unsubscribe);
  publish("a/b");
  EXPECT_THAT(said(), ElementsAre("Client dev subscribed to a/b with QoS 2.", "Client dev unsubscribed from a/b.",
                                  "Client dev had no subscription to c.",
                                  "A message of client dev to a/b went to nobody: no subscription matches."));
}

TEST_F(LogTest, InfoIsSilentAboutAllThat) {
  begin(LogLevel::Info);
  connect(Version::V5);
  static_cast<void>(said());
  subscribe("a/b");
  publish("a/b/c");
  send(mqtt::PingReq{});
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(LogTest, WhatA3xClientIsRefusedIsSaidWithTheKey) {
  Limits limits;
  limits.max_subscriptions_per_session = 1;
  limits.max_topic_levels = 3;
  limits.wildcard_available = limits.shared_available = false;
  begin(LogLevel::Info, limits);
  connect(Version::V311);
  static_cast<void>(said());
  subscribe("a");
  subscribe("b");
  subscribe("1/2/3/4");
  subscribe("#");
  subscribe("$share/g/a");
  publish("1/2/3/4");
  const std::vector<std::string> lines = said(LogLevel::Info);
  EXPECT_THAT(
      lines,
      Contains("Client dev: subscriptions are refused: limits.max_subscriptions_per_session is reached (it has 1)."));
  EXPECT_THAT(lines,
              Contains("Client dev was refused a subscription to 1/2/3/4: more levels than limits.max_topic_levels."));
  EXPECT_THAT(lines, Contains(HasSubstr("mqtt.wildcard_available")));
  EXPECT_THAT(lines, Contains(HasSubstr("mqtt.shared_available")));
  EXPECT_THAT(lines,
              Contains("Client dev was refused a message to 1/2/3/4: more levels than limits.max_topic_levels."));
}

TEST_F(LogTest, RefusalsDoNotFillTheLog) {
  Limits limits;
  limits.wildcard_available = false;
  begin(LogLevel::Info, limits);
  connect(Version::V311);
  static_cast<void>(said());
  for (int i = 0; i < 1'000; ++i) subscribe("#");
  EXPECT_EQ(said().size(), 100U - 0U);
  now_ = now_ + base::seconds(1);
  subscribe("#");
  EXPECT_EQ(said().size(), 1U);
}

TEST_F(LogTest, APacketThatIsTooLargeIsNamedWithItsSizeAndTheKey) {
  Limits limits;
  limits.max_packet_size = 2'000;
  limits.max_connect_size = 1'000;
  begin(LogLevel::Info, limits);
  connect(Version::V5);
  publish("t", std::string(3'000, 'x'));
  EXPECT_THAT(
      said(),
      Contains(
          "Client dev at 127.0.0.1:5 disconnected: PROTOCOL_ERROR: Remaining Length: a PUBLISH of 3007 bytes is too "
          "large: limits.max_packet_size is 2000."));
  connect(Version::V5, {.client_id = std::string(1'500, 'x')});
  EXPECT_THAT(said(), Contains(HasSubstr("CONNECTION_REFUSED: Remaining Length: a CONNECT of 1516 bytes is too large: "
                                         "limits.max_connect_size is 1000.")));
}

TEST_F(LogTest, ARefusedWillIsNamedWithItsTopic) {
  begin(LogLevel::Info);
  mqtt::Connect packet{.client_id = "dev"};
  packet.will = mqtt::Will{.topic = "$SYS/broker/uptime"};
  connect(Version::V311, packet);
  EXPECT_THAT(said(), Contains(HasSubstr("Will Topic: this client may not publish there (the will's topic is "
                                         "$SYS/broker/uptime).")));
}

TEST_F(LogTest, AFullListenerIsNamedWithItsOwnKey) {
  begin(LogLevel::Info);
  over_quota_ = OverQuota::Listener;
  connect(Version::V311);
  EXPECT_THAT(said(), Contains(HasSubstr("as dev ended before it was accepted: CONNECTION_REFUSED: listener \"small\": "
                                         "max_connections is reached.")));
  over_quota_ = OverQuota::Broker;
  connect(Version::V311);
  EXPECT_THAT(said(), Contains(HasSubstr("limits.max_connections is reached.")));
}

TEST_F(LogTest, AnotherProtocolAtAPlainListenerIsNamed) {
  begin(LogLevel::Info);
  open();
  send_bytes("\x16\x03\x01\x02\x01\xFC");
  EXPECT_THAT(said(), Contains(HasSubstr("PROTOCOL_ERROR: looks like TLS: this listener speaks plain MQTT.")));
  open();
  // The first letter is PUBREC's.
  send_bytes("P");
  send_bytes("OST /x HTTP/1.1\r\n\r\n");
  EXPECT_THAT(said(),
              Contains(HasSubstr("PROTOCOL_ERROR: looks like HTTP (POST /x): this listener speaks plain MQTT.")));
  open();
  send_bytes(std::string_view("\xC0\0", 2));
  EXPECT_THAT(said(), Contains(HasSubstr("PROTOCOL_ERROR: packet type: the first packet is not a CONNECT.")));
}

TEST_F(LogTest, AGoodbyeShowsTheAddressAsItIsAndSilenceWhereItMatters) {
  begin(LogLevel::Info, {}, "[::1]:5000");
  connect(Version::V5, {.keep_alive_s = 10, .client_id = "dev"});
  now_ = now_ + base::seconds(5);
  core_->closed(id_, SocketEnd::Closed, std::nullopt, now_);
  EXPECT_THAT(said(),
              Contains("Client dev at [::1]:5000 disconnected: CONNECTION_CLOSED: the peer closed the socket."));
  connect(Version::V5, {.keep_alive_s = 10, .client_id = "dev"});
  now_ = now_ + base::seconds(12);
  core_->closed(id_, SocketEnd::Reset, std::nullopt, now_);
  EXPECT_THAT(said(), Contains(HasSubstr("the peer reset the connection (silent for 12000 ms).")));
}

}  // namespace
}  // namespace vigil::broker
