// Packet identifiers go round: one message that is never acknowledged must not stop those behind it, in memory or in a
// stored session, also not over the death of the broker. [MQTT-2.2.1-4]
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mqtt/encoder.h"
#include "sim/framer.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

using mqtt::Ack;
using mqtt::PacketId;
using mqtt::PacketType;
using mqtt::Property;
using mqtt::QoS;
using mqtt::Version;

constexpr int kRound = 65'535;

// Acknowledges everything but what it was told to leave.
class Client final : public Peer {
 public:
  Client(World& world, std::string id) : world_(world), id_(std::move(id)) {}

  void connect(bool clean_start, std::uint32_t expiry_s) {
    framer_ = {};
    link_ = world_.connect(*this, LinkProfile{}, 0);
    mqtt::Connect packet;
    packet.version = Version::V5;
    packet.clean_start = clean_start;
    packet.client_id = id_;
    packet.properties.set_number(Property::SessionExpiryInterval, expiry_s);
    send(packet);
  }
  void subscribe(std::string_view filter, QoS qos) {
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    packet.entries.push_back({.filter = filter, .options = {.qos = qos}});
    send(packet);
  }
  void publish(std::string_view topic, int number) {
    const std::string payload = std::to_string(number);
    mqtt::Publish packet;
    packet.topic = topic;
    packet.qos = QoS::AtLeastOnce;
    packet.packet_id = static_cast<PacketId>(number % 60'000 + 1);
    packet.payload = base::as_bytes(payload);
    send(packet);
  }
  void send(const mqtt::Packet& packet) {
    std::vector<std::uint8_t> bytes;
    mqtt::encode(bytes, Version::V5, packet);
    world_.send(*link_, bytes);
  }
  void drop() { world_.end(*link_, StreamEnd::Closed); }

  std::set<int> unacknowledged;      // payloads that are left so
  std::map<int, PacketId> received;  // payloads, and under which identifier they came last
  std::set<PacketId> in_use;         // of what is left unacknowledged
  std::string fault;

  void on_bytes(LinkId, base::Bytes bytes, base::Instant) override {
    framer_.add(bytes);
    while (const auto frame = framer_.next()) {
      const auto packet = mqtt::decode(frame->header, frame->body(), Version::V5, mqtt::Sender::Server);
      ASSERT_TRUE(packet);
      if (const auto* publish = std::get_if<mqtt::Publish>(&*packet)) take(*publish);
      if (const auto* ack = std::get_if<Ack>(&*packet); ack != nullptr && ack->type == PacketType::PubRel) {
        send(Ack{.type = PacketType::PubComp, .packet_id = ack->packet_id});
      }
    }
  }
  void on_closed(LinkId, base::Instant) override { link_.reset(); }

 private:
  void take(const mqtt::Publish& publish) {
    const int number = std::stoi(std::string(base::as_text(publish.payload)));
    const auto [it, first] = received.try_emplace(number, publish.packet_id);
    if (!first && it->second != publish.packet_id)
      fault = "message " + std::to_string(number) + " changed its identifier";
    if (unacknowledged.contains(number)) {
      in_use.insert(publish.packet_id);
      return;
    }
    if (in_use.contains(publish.packet_id)) fault = "message " + std::to_string(number) + " uses one that is in use";
    send(Ack{.type = publish.qos == QoS::AtLeastOnce ? PacketType::PubAck : PacketType::PubRec,
             .packet_id = publish.packet_id});
  }

  World& world_;
  std::string id_;
  std::optional<LinkId> link_;
  Framer framer_;
};

class Identifiers : public ::testing::TestWithParam<std::tuple<bool, QoS>> {
 protected:
  // Publishes this many messages, `at_once` between two moments, to a subscriber that acknowledges all but the first
  // and the eighth.
  static void publish(int messages, int at_once) {
    const auto [durable, qos] = GetParam();
    WorldOptions options;
    options.prompt = true;
    options.durable = durable;
    World world(options);
    Client subscriber(world, "s");
    Client publisher(world, "p");
    subscriber.unacknowledged = {0, 7};
    subscriber.connect(false, durable ? 1'000 : 0);
    subscriber.subscribe("t", qos);
    publisher.connect(true, 0);
    world.run_for(base::milliseconds(10));
    for (int i = 0; i < messages; ++i) {
      publisher.publish("t", i);
      if (i % at_once == 0) world.run_for(base::milliseconds(1));
    }
    world.run_for(base::seconds(1));
    EXPECT_EQ(subscriber.fault, "");
    EXPECT_EQ(subscriber.received.size(), static_cast<std::size_t>(messages));
    EXPECT_EQ(world.fault(), "");
  }
};

TEST_P(Identifiers, AMessageThatIsNeverAcknowledgedStopsNobody) { publish(2 * kRound + 1'000, 200); }

// Each message is acknowledged before the next one comes: no acknowledgement is left to go on by.
TEST_P(Identifiers, NorThoseThatComeOneByOne) { publish(kRound + 20, 1); }

INSTANTIATE_TEST_SUITE_P(Of, Identifiers,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(QoS::AtLeastOnce, QoS::ExactlyOnce)));

// What was sent under another identifier than the usual one comes under the same one again.
TEST(Identifiers, AreTheSameAfterTheBrokerDied) {
  WorldOptions options;
  options.prompt = true;
  options.durable = true;
  World world(options);
  Client subscriber(world, "s");
  Client publisher(world, "p");
  // The second of the two finds the identifier of the first in use.
  subscriber.unacknowledged = {0, kRound, kRound + 1};
  subscriber.connect(false, 1'000);
  subscriber.subscribe("t", QoS::ExactlyOnce);
  publisher.connect(true, 0);
  world.run_for(base::milliseconds(10));
  for (int i = 0; i < kRound + 10; ++i) {
    publisher.publish("t", i);
    if (i % 200 == 0) world.run_for(base::milliseconds(1));
  }
  world.run_for(base::seconds(1));
  ASSERT_EQ(subscriber.in_use.size(), 3U);
  world.crash(base::seconds(1));
  world.run_for(base::seconds(2));
  const std::size_t before = subscriber.received.size();
  subscriber.connect(false, 1'000);
  world.run_for(base::seconds(1));
  EXPECT_EQ(subscriber.fault, "");
  EXPECT_EQ(subscriber.in_use.size(), 3U);
  EXPECT_EQ(subscriber.received.size(), before);
  // All of it is acknowledged at last, and nothing is left of it.
  subscriber.unacknowledged.clear();
  subscriber.in_use.clear();
  subscriber.drop();
  world.run_for(base::seconds(1));
  subscriber.connect(false, 1'000);
  world.run_for(base::seconds(1));
  EXPECT_EQ(world.store().messages(), 0U);
  EXPECT_EQ(world.store().packet_ids(), 0U);
  EXPECT_EQ(world.store().fault(), "");
}

}  // namespace
}  // namespace vigil::sim
