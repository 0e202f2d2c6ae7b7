// The whole core under mutation: the input is a program of steps for a few clients of a one- or two-shard broker: whole
// packets, packets with changed bytes, raw bytes, time, closes. Nothing may crash, break an invariant, spin, or keep a
// connection that has ended.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "mqtt/encoder.h"
#include "mqtt/packet.h"
#include "sim/framer.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

using mqtt::Property;
using mqtt::Version;

// The input, read front to back; zeros behind its end.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
  bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
  }
  std::uint32_t below(std::uint32_t bound) { return byte() % bound; }
  base::Bytes bytes(std::size_t most) {
    const base::Bytes taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  base::Bytes rest_;
};

class FuzzClient final : public Peer {
 public:
  std::optional<LinkId> link;
  Version version = Version::V5;

  // What the broker sends must be legal, whatever it was sent.
  void on_bytes(LinkId, base::Bytes bytes, base::Instant) override {
    framer_.add(bytes);
    while (const auto frame = framer_.next()) {
      const auto packet = mqtt::decode(frame->header, frame->body(), version, mqtt::Sender::Server);
      if (!packet && !odd_version) {
        std::fprintf(stderr, "the broker sent a malformed packet: %.*s\n",
                     static_cast<int>(packet.error().field.size()), packet.error().field.data());
        std::abort();
      }
    }
  }
  void on_closed(LinkId, base::Instant) override { link.reset(); }
  void begin() {
    framer_ = {};
    odd_version = false;
  }
  bool odd_version = false;  // its CONNECT was mutated: what it speaks is not known

 private:
  Framer framer_;
};

constexpr std::array<std::string_view, 8> kTopics = {"a", "a/b", "#", "+/b", "$share/g/a", "$SYS/#", "", "a/+/c"};

mqtt::Buffer make_packet(Input& in, const FuzzClient& client, std::uint32_t who) {
  mqtt::Buffer out;
  const std::string_view topic = kTopics[in.below(kTopics.size())];
  const auto id = static_cast<mqtt::PacketId>(1 + in.below(4));
  const std::uint8_t flags = in.byte();
  switch (in.below(9)) {
    case 0: {
      const std::array<std::string_view, 3> names = {"x", "y", "z"};
      mqtt::Connect packet;
      packet.version = client.version;
      packet.client_id = names[who % 2 == 0 ? 0 : 1 + flags % 2];
      packet.clean_start = (flags & 1U) != 0;
      packet.keep_alive_s = flags % 5;
      if ((flags & 2U) != 0)
        packet.will =
            mqtt::Will{"will/topic", base::as_bytes("gone"), static_cast<mqtt::QoS>(flags % 3), (flags & 4U) != 0, {}};
      if (client.version == Version::V5) {
        packet.properties.set_number(Property::SessionExpiryInterval, flags);
        if ((flags & 8U) != 0) packet.properties.set_number(Property::ReceiveMaximum, 1 + flags % 3);
        if ((flags & 16U) != 0) packet.properties.set_number(Property::TopicAliasMaximum, 2);
        if ((flags & 32U) != 0) packet.properties.set_number(Property::MaximumPacketSize, 20U + flags);
        if (packet.will && (flags & 64U) != 0)
          packet.will->properties.set_number(Property::WillDelayInterval, flags % 7);
      }
      mqtt::encode(out, client.version, packet);
      break;
    }
    case 1: {
      mqtt::Publish packet;
      packet.topic = topic;
      packet.qos = static_cast<mqtt::QoS>(flags % 3);
      packet.packet_id = packet.qos == mqtt::QoS::AtMostOnce ? mqtt::PacketId{0} : id;
      packet.retain = (flags & 8U) != 0;
      packet.dup = (flags & 16U) != 0 && packet.packet_id != 0;
      packet.payload = in.bytes(flags);
      if (client.version == Version::V5 && (flags & 32U) != 0)
        packet.properties.set_number(Property::TopicAlias, 1 + flags % 3);
      if (client.version == Version::V5 && (flags & 64U) != 0)
        packet.properties.set_number(Property::MessageExpiryInterval, flags % 4);
      mqtt::encode(out, client.version, packet);
      break;
    }
    case 2: {
      mqtt::Subscribe packet;
      packet.packet_id = id;
      packet.entries.push_back({topic,
                                {static_cast<mqtt::QoS>(flags % 3), (flags & 4U) != 0, (flags & 8U) != 0,
                                 static_cast<mqtt::RetainHandling>(flags / 16 % 3)}});
      mqtt::encode(out, client.version, packet);
      break;
    }
    case 3: {
      mqtt::Unsubscribe packet;
      packet.packet_id = id;
      packet.entries.push_back({.filter = topic});
      mqtt::encode(out, client.version, packet);
      break;
    }
    case 4:
    case 5: {
      constexpr std::array kTypes = {mqtt::PacketType::PubAck, mqtt::PacketType::PubRec, mqtt::PacketType::PubRel,
                                     mqtt::PacketType::PubComp};
      mqtt::Ack packet;
      packet.type = kTypes[flags % 4];
      packet.packet_id = id;
      mqtt::encode(out, client.version, packet);
      break;
    }
    case 6: mqtt::encode(out, client.version, mqtt::PingReq{}); break;
    case 7: {
      mqtt::Disconnect packet;
      packet.reason = (flags & 1U) != 0 ? mqtt::ReasonCode::DisconnectWithWill : mqtt::ReasonCode::Success;
      mqtt::encode(out, client.version, packet);
      break;
    }
    default: mqtt::encode(out, client.version == Version::V5 ? client.version : Version::V5, mqtt::Auth{}); break;
  }
  return out;
}

class Fuzz {
 public:
  explicit Fuzz(Input& in) : in_(in), world_(options(in)) {}

  void run() {
    for (unsigned step = 0; step < 200 && !in_.empty(); ++step) act();
    for (FuzzClient& client : clients_) {
      if (client.link) world_.end(*client.link, StreamEnd::Closed);
    }
    // All sockets are closed, or their CONNECT is overdue: none may be left.
    world_.run_for(base::seconds(30));
    const bool sound = world_.fault().empty() && world_.connections() == 0 && world_.stats().clients_connected == 0;
    if (!sound) {
      std::fprintf(stderr, "fault: '%s', connections left: %zu\n", world_.fault().c_str(), world_.connections());
      std::abort();
    }
  }

 private:
  static WorldOptions options(Input& in) {
    WorldOptions options;
    const std::uint8_t dice = in.byte();
    options.shards = 1 + dice % 2;
    options.prompt = (dice & 2U) != 0;
    options.seed = dice;
    options.limits.max_output_bytes = (dice & 4U) != 0 ? 60 : 100'000;
    options.limits.max_inflight = (dice & 8U) != 0 ? 1 : 100;
    options.limits.max_queued_messages = (dice & 16U) != 0 ? 2 : 100;
    options.limits.max_packet_size = 4096;
    if ((dice & 32U) != 0) options.auth_methods = {"m"};
    return options;
  }

  void act() {
    const std::uint32_t who = in_.below(4);
    FuzzClient& client = clients_[who];
    const std::uint8_t what = in_.byte();
    if (!client.link) {
      constexpr std::array kVersions = {Version::V5, Version::V5, Version::V311, Version::V31};
      client.version = kVersions[what % 4];
      client.begin();
      LinkProfile profile;
      profile.window = what >= 128 ? 30 : 100'000;
      client.link = world_.connect(client, profile, what % world_.shards());
    }
    switch (what % 16) {
      case 0:
        world_.send(*client.link, in_.bytes(in_.byte()));
        client.odd_version = true;
        break;
      case 1: world_.run_for(base::milliseconds(in_.byte() * 40)); break;
      case 2:
        world_.end(*client.link, what >= 128 ? StreamEnd::Reset : StreamEnd::Closed);
        world_.detach(*client.link);
        client.link.reset();
        break;
      case 3: world_.set_reading(*client.link, what >= 128); break;
      case 4: {
        mqtt::Buffer packet = make_packet(in_, client, who);
        if (!packet.empty()) packet[in_.byte() % packet.size()] ^= in_.byte();
        client.odd_version = true;
        world_.send(*client.link, packet);
        break;
      }
      case 5: world_.kick("x"); break;
      case 6: world_.stall(what / 16 % world_.shards(), base::milliseconds(in_.byte() * 10)); break;
      default: world_.send(*client.link, make_packet(in_, client, who)); break;
    }
    world_.run_for(base::milliseconds(what % 3));
  }

  Input& in_;
  std::array<FuzzClient, 4> clients_;
  World world_;
};

}  // namespace
}  // namespace vigil::sim

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vigil::sim::Input input(data, size);
  vigil::sim::Fuzz(input).run();
  return 0;
}
