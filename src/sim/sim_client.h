// A client program for the swarm: keeps the protocol (acknowledgements, QoS 2, pings in time, receive maximum, messages
// sent again after a session was resumed), unless it is told to misbehave.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "mqtt/encoder.h"
#include "mqtt/packet.h"
#include "sim/framer.h"
#include "sim/world.h"

namespace vigil::sim {

// What a client asks for in its CONNECT.
struct ConnectWish {
  mqtt::Version version = mqtt::Version::V5;
  bool clean_start = true;
  std::uint16_t keep_alive_s = 0;
  std::uint32_t expiry_s = 0;
  std::uint32_t receive_maximum = 0;      // 0: does not say
  std::uint32_t maximum_packet_size = 0;  // 0: does not say
  std::uint32_t topic_alias_maximum = 0;
  bool will = false;
  std::uint32_t will_delay_s = 0;
  mqtt::QoS will_qos = mqtt::QoS::AtMostOnce;
  bool will_retain = false;
};

class SimClient final : public Peer {
 public:
  SimClient(World& world, std::string id, std::uint64_t seed)
      : world_(world), id_(std::move(id)), name_(id_), random_(seed) {}

  const std::string& id() const { return id_; }
  // Where another client has the same id: its own mark in payloads (default: the id), and packet identifiers of its
  // own.
  void become_rival(std::string name, mqtt::PacketId first_packet_id) {
    name_ = std::move(name);
    next_id_ = first_packet_id;
  }
  bool linked() const { return link_.has_value(); }
  bool connected() const { return linked() && accepted_; }
  std::optional<LinkId> link() const { return link_; }

  // Opens a link and sends CONNECT. An open link is ended first.
  void connect(const ConnectWish& wish, const LinkProfile& profile, unsigned shard);
  // Each does nothing while the client is not connected.
  void publish(std::string topic, mqtt::QoS qos, bool retain, std::size_t padding, std::uint32_t expiry_s);
  void subscribe(const std::string& filter, mqtt::SubscriptionOptions options);
  void unsubscribe(const std::string& filter);
  void ping();
  void disconnect(mqtt::ReasonCode reason, std::optional<std::uint32_t> expiry_s);
  // Ends the link in the middle of a packet, or between two.
  void drop(StreamEnd how);
  void send_torn_packet();
  void send_garbage();
  // A packet that begins and then comes a few bytes a second.
  void drip();
  void silence();
  void set_reading(bool reading);
  // While lazy, nothing is acknowledged.
  void set_lazy(bool lazy);
  void set_pinging(bool pinging) { pinging_ = pinging; }

  void on_bytes(LinkId link, base::Bytes bytes, base::Instant now) override;
  void on_closed(LinkId link, base::Instant now) override;

 private:
  struct Outgoing {
    std::string topic;
    std::string payload;
    mqtt::QoS qos = mqtt::QoS::AtLeastOnce;
    bool retain = false;
    bool released = false;
    bool sent = true;  // on this connection
    std::uint32_t expiry_s = 0;
    std::uint64_t order = 0;
  };

  void forget_link();
  void send(const mqtt::Packet& packet);
  void send_publish(mqtt::PacketId id, const Outgoing& message, bool dup);
  void connack(const mqtt::ConnAck& packet);
  void received(const mqtt::Packet& packet);
  void acknowledge(const mqtt::Ack& ack);
  void ack_received(const mqtt::Ack& ack);
  void resend();
  void schedule_ping();
  mqtt::PacketId new_id();
  bool gone() const;

  World& world_;
  std::string id_;
  std::string name_;
  base::Random random_;
  std::optional<LinkId> link_;
  bool accepted_ = false;
  bool torn_ = false;  // an unfinished packet has been sent: nothing sensible can follow
  bool lazy_ = false;
  bool pinging_ = true;
  ConnectWish wish_;
  std::uint32_t keep_alive_s_ = 0;
  std::uint32_t send_quota_ = 65535;
  Framer framer_;
  std::vector<mqtt::Ack> unsent_acks_;           // of a lazy client
  std::map<mqtt::PacketId, Outgoing> outgoing_;  // of the session
  std::uint64_t next_order_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t wills_ = 0;
  mqtt::PacketId next_id_ = 1;
  std::uint64_t link_count_ = 0;
  base::Instant last_sent_;
};

}  // namespace vigil::sim
