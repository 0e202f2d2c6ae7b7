// A client that says much at once is served, however long its answers have to wait: it is read no further meanwhile,
// and nobody else notices.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "mqtt/encoder.h"
#include "sim/framer.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

using mqtt::PacketId;
using mqtt::PacketType;
using mqtt::Version;

class Client final : public Peer {
 public:
  Client(World& world, std::string id, Version version) : world_(world), id_(std::move(id)), version_(version) {}

  void connect(bool clean_start = true, std::uint16_t keep_alive_s = 0) {
    link = world_.connect(*this, LinkProfile{}, 0);
    mqtt::Connect packet;
    packet.version = version_;
    packet.client_id = id_;
    packet.clean_start = clean_start;
    packet.keep_alive_s = keep_alive_s;
    if (version_ == Version::V5 && !clean_start) {
      packet.properties.set_number(mqtt::Property::SessionExpiryInterval, 100);
    }
    add(packet);
    flush();
  }
  void add(const mqtt::Packet& packet) { mqtt::encode(waiting_, version_, packet); }
  void flush() { world_.send(*link, std::exchange(waiting_, {})); }
  // All but the last bytes; they go with what follows.
  void flush_but(std::size_t bytes) {
    const std::vector<std::uint8_t> rest(waiting_.end() - static_cast<std::ptrdiff_t>(bytes), waiting_.end());
    waiting_.resize(waiting_.size() - bytes);
    flush();
    waiting_ = rest;
  }
  void subscribe(int number) {
    const std::string filter = "zigbee2mqtt/" + std::to_string(number);
    mqtt::Subscribe packet;
    packet.packet_id = static_cast<PacketId>(number + 1);
    packet.entries.push_back({.filter = filter});
    add(packet);
  }
  void unsubscribe(int number) {
    const std::string filter = "zigbee2mqtt/" + std::to_string(number);
    mqtt::Unsubscribe packet;
    packet.packet_id = static_cast<PacketId>(number + 1);
    packet.entries.push_back({.filter = filter});
    add(packet);
  }
  void publish(int number) {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.qos = mqtt::QoS::AtLeastOnce;
    packet.packet_id = static_cast<PacketId>(number % 65'535 + 1);
    add(packet);
  }
  void on_bytes(LinkId, base::Bytes bytes, base::Instant) override {
    framer_.add(bytes);
    while (const auto frame = framer_.next()) {
      ++came[frame->header.type];
      if (on_packet) on_packet(frame->header.type);
    }
  }
  void on_closed(LinkId, base::Instant) override { link.reset(); }

  std::optional<LinkId> link;
  std::map<PacketType, int> came;
  std::function<void(PacketType)> on_packet;

 private:
  World& world_;
  std::string id_;
  Version version_;
  Framer framer_;
  std::vector<std::uint8_t> waiting_;
};

constexpr int kMany = 20'000;

class Burst : public ::testing::TestWithParam<Version> {
 protected:
  static WorldOptions options(unsigned shards, bool durable) {
    WorldOptions options;
    options.prompt = true;
    options.shards = shards;
    options.durable = durable;
    return options;
  }
};

TEST_P(Burst, OfSubscribesIsAnswered) {
  World world(options(2, false));
  Client client(world, "hub", GetParam());
  client.connect();
  world.stall(1, base::seconds(3));
  for (int i = 0; i < kMany; ++i) client.subscribe(i);
  client.flush();
  world.run_for(base::seconds(10));
  EXPECT_EQ(client.came[PacketType::SubAck], kMany);
  EXPECT_TRUE(client.link);
  for (int i = 0; i < kMany; ++i) client.unsubscribe(i);
  client.flush();
  world.run_for(base::seconds(10));
  EXPECT_EQ(client.came[PacketType::UnsubAck], kMany);
  EXPECT_EQ(world.fault(), "");
}

// The store stands still: answers wait, and their number is bounded.
TEST_P(Burst, IsReadNoFurtherWhileItsAnswersWaitForTheStore) {
  World world(options(1, true));
  Client client(world, "hub", GetParam());
  client.connect(false);
  world.run_for(base::milliseconds(100));
  for (int i = 0; i < kMany; ++i) client.subscribe(i);
  client.flush();
  world.run_for(base::seconds(1));
  world.stall_store(base::seconds(5));
  for (int i = 0; i < kMany; ++i) client.unsubscribe(i);
  client.flush();
  world.run_for(base::seconds(2));
  // Most of it has not been acted upon.
  EXPECT_GT(world.stats().subscriptions, static_cast<std::uint64_t>(kMany) / 2);
  world.run_for(base::seconds(10));
  EXPECT_EQ(client.came[PacketType::SubAck], kMany);
  EXPECT_EQ(client.came[PacketType::UnsubAck], kMany);
  EXPECT_TRUE(client.link);
}

TEST_P(Burst, OfPublishesIsAcknowledgedOnceItIsRead) {
  World world(options(1, false));
  Client client(world, "logger", GetParam());
  client.connect();
  // 4 bytes each: more than the broker lets wait for a connection.
  world.set_reading(*client.link, false);
  world.set_window(*client.link, 1'000);
  constexpr int kMessages = 200'000;
  for (int i = 0; i < kMessages; ++i) {
    client.publish(i);
    if (i % 10'000 != 0) continue;
    client.flush();
    world.run_for(base::milliseconds(10));
  }
  client.flush();
  world.run_for(base::seconds(5));
  ASSERT_TRUE(client.link);
  EXPECT_LT(world.stats().publish_received, 100'000U);
  world.set_reading(*client.link, true);
  world.set_window(*client.link, 1'000'000);
  world.run_for(base::seconds(5));
  EXPECT_EQ(client.came[PacketType::PubAck], kMessages);
}

// Who asks again and again for all that is retained waits for it. Others get theirs in between.
TEST_P(Burst, OfSubscriptionsToEverythingHoldsNobodyUp) {
  World world(options(1, false));
  Client writer(world, "writer", GetParam());
  writer.connect();
  for (int i = 0; i < 3'000; ++i) {
    const std::string topic = "r/" + std::to_string(i);
    mqtt::Publish packet;
    packet.topic = topic;
    packet.retain = true;
    packet.payload = base::as_bytes(std::string_view("x"));
    writer.add(packet);
  }
  writer.flush();
  world.run_for(base::milliseconds(100));
  Client greedy(world, "greedy", GetParam());
  Client other(world, "other", GetParam());
  greedy.connect();
  other.connect();
  world.run_for(base::milliseconds(100));
  constexpr int kAsked = 200;
  for (int i = 0; i < kAsked; ++i) {
    mqtt::Subscribe packet;
    packet.packet_id = static_cast<PacketId>(i + 1);
    packet.entries.push_back({.filter = "#"});
    greedy.add(packet);
  }
  greedy.flush();
  mqtt::Subscribe packet;
  packet.packet_id = 1;
  packet.entries.push_back({.filter = "r/7"});
  other.add(packet);
  int before = kAsked;  // answers to the greedy one until the other one has all of its own
  other.on_packet = [&](PacketType type) {
    if (type == PacketType::Publish) before = greedy.came[PacketType::SubAck];
  };
  other.flush();
  world.run_for(base::seconds(5));
  EXPECT_EQ(other.came[PacketType::Publish], 1);
  EXPECT_LT(before, kAsked / 2);
  EXPECT_EQ(greedy.came[PacketType::SubAck], kAsked);
}

// A packet that came in two parts is complete, and waits for the store: that is no slow packet.
TEST_P(Burst, IsNoPacketThatArrivesTooSlowly) {
  World world(options(1, true));
  Client client(world, "hub", GetParam());
  client.connect(false, 0);
  world.run_for(base::milliseconds(100));
  for (int i = 0; i < kMany; ++i) client.subscribe(i);
  client.flush_but(5);
  world.run_for(base::milliseconds(100));
  world.stall_store(base::seconds(100));
  for (int i = 0; i < kMany; ++i) client.unsubscribe(i);
  client.flush();
  world.run_for(base::seconds(95));
  EXPECT_TRUE(client.link);
  world.run_for(base::seconds(10));
  EXPECT_EQ(client.came[PacketType::UnsubAck], kMany);
}

// It said nothing else, and what it said was not read: it is alive as long as that is so.
TEST_P(Burst, IsNoSilence) {
  World world(options(2, false));
  Client client(world, "hub", GetParam());
  client.connect(true, 2);
  Client other(world, "other", GetParam());
  other.connect(true, 0);
  world.run_for(base::milliseconds(100));
  world.stall(1, base::seconds(20));
  for (int i = 0; i < kMany; ++i) client.subscribe(i);
  client.flush();
  world.run_for(base::seconds(15));
  EXPECT_TRUE(client.link);
  // Nobody else is held up by it.
  other.publish(1);
  other.flush();
  world.run_for(base::milliseconds(100));
  EXPECT_EQ(other.came[PacketType::PubAck], 1);
}

INSTANTIATE_TEST_SUITE_P(Of, Burst, ::testing::Values(Version::V311, Version::V5));

}  // namespace
}  // namespace vigil::sim
