#include "sim/sim_client.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "mqtt/decoder.h"

namespace vigil::sim {

using base::Instant;
using mqtt::Property;
using mqtt::QoS;

void SimClient::forget_link() {
  if (link_) world_.detach(*link_);
  link_.reset();
  accepted_ = false;
  torn_ = false;
  lazy_ = false;
  unsent_acks_.clear();
  framer_ = {};
}

bool SimClient::gone() const { return !connected() || torn_; }

void SimClient::send(const mqtt::Packet& packet) {
  mqtt::Buffer bytes;
  mqtt::encode(bytes, wish_.version, packet);
  world_.send(*link_, bytes);
  last_sent_ = world_.now();
}

void SimClient::connect(const ConnectWish& wish, const LinkProfile& profile, unsigned shard) {
  if (link_) {
    world_.end(*link_, StreamEnd::Closed);
    forget_link();
  }
  wish_ = wish;
  link_ = world_.connect(*this, profile, shard);
  ++link_count_;
  mqtt::Connect packet;
  packet.version = wish.version;
  packet.clean_start = wish.clean_start;
  packet.keep_alive_s = wish.keep_alive_s;
  packet.client_id = id_;
  std::string will_topic;
  std::string will_payload;
  if (wish.will) {
    will_topic = "w/" + id_;
    will_payload = fmt::format("w-{}-{}", name_, wills_++);
    mqtt::Will will;
    will.topic = will_topic;
    will.payload = base::as_bytes(will_payload);
    will.qos = wish.will_qos;
    will.retain = wish.will_retain;
    if (wish.version == mqtt::Version::V5 && wish.will_delay_s > 0)
      will.properties.set_number(Property::WillDelayInterval, wish.will_delay_s);
    packet.will = will;
  }
  if (wish.version == mqtt::Version::V5) {
    if (wish.expiry_s > 0) packet.properties.set_number(Property::SessionExpiryInterval, wish.expiry_s);
    if (wish.receive_maximum > 0) packet.properties.set_number(Property::ReceiveMaximum, wish.receive_maximum);
    if (wish.maximum_packet_size > 0)
      packet.properties.set_number(Property::MaximumPacketSize, wish.maximum_packet_size);
    if (wish.topic_alias_maximum > 0)
      packet.properties.set_number(Property::TopicAliasMaximum, wish.topic_alias_maximum);
  }
  if (wish.clean_start) outgoing_.clear();
  send(packet);
}

void SimClient::send_publish(mqtt::PacketId id, const Outgoing& message, bool dup) {
  mqtt::Publish packet;
  packet.dup = dup;
  packet.qos = message.qos;
  packet.retain = message.retain;
  packet.topic = message.topic;
  packet.packet_id = id;
  packet.payload = base::as_bytes(message.payload);
  if (wish_.version == mqtt::Version::V5 && message.expiry_s > 0)
    packet.properties.set_number(Property::MessageExpiryInterval, message.expiry_s);
  send(packet);
}

mqtt::PacketId SimClient::new_id() {
  while (outgoing_.contains(next_id_) || next_id_ == 0) ++next_id_;
  return next_id_++;
}

void SimClient::publish(std::string topic, QoS qos, bool retain, std::size_t padding, std::uint32_t expiry_s) {
  if (gone()) return;
  if (qos != QoS::AtMostOnce && outgoing_.size() >= send_quota_) return;
  Outgoing message;
  message.topic = std::move(topic);
  message.payload = fmt::format("p-{}-{}", name_, messages_++);
  if (padding > 0) message.payload += " " + std::string(padding, '.');
  message.qos = qos;
  message.retain = retain;
  message.expiry_s = expiry_s;
  message.order = next_order_++;
  const mqtt::PacketId id = qos == QoS::AtMostOnce ? mqtt::PacketId{0} : new_id();
  send_publish(id, message, false);
  if (qos != QoS::AtMostOnce) outgoing_[id] = std::move(message);
}

void SimClient::subscribe(const std::string& filter, mqtt::SubscriptionOptions options) {
  if (gone()) return;
  if (wish_.version != mqtt::Version::V5) options = {.qos = options.qos};
  mqtt::Subscribe packet;
  packet.packet_id = new_id();
  packet.entries.push_back({.filter = filter, .options = options});
  send(packet);
}

void SimClient::unsubscribe(const std::string& filter) {
  if (gone()) return;
  mqtt::Unsubscribe packet;
  packet.packet_id = new_id();
  packet.entries.push_back({.filter = filter});
  send(packet);
}

void SimClient::ping() {
  if (!gone()) send(mqtt::PingReq{});
}

// A client that keeps its promise: something at least every three quarters of K.
void SimClient::schedule_ping() {
  if (keep_alive_s_ == 0) return;
  const base::Duration interval = base::milliseconds(1000) * keep_alive_s_;
  const auto wait = base::Duration(random_.between(interval.count() / 2, interval.count() * 3 / 4));
  const std::uint64_t link_count = link_count_;
  world_.after(wait, [this, link_count] {
    if (link_count != link_count_ || !connected()) return;
    if (pinging_) ping();
    schedule_ping();
  });
}

void SimClient::disconnect(mqtt::ReasonCode reason, std::optional<std::uint32_t> expiry_s) {
  if (gone()) return;
  mqtt::Disconnect packet;
  if (wish_.version == mqtt::Version::V5) {
    packet.reason = reason;
    // A session that ends with its connection cannot be prolonged.
    if (expiry_s && (wish_.expiry_s > 0 || *expiry_s == 0))
      packet.properties.set_number(Property::SessionExpiryInterval, *expiry_s);
  }
  send(packet);
  world_.end(*link_, StreamEnd::Closed);
  forget_link();
}

void SimClient::drop(StreamEnd how) {
  if (!link_) return;
  world_.end(*link_, how);
  forget_link();
}

void SimClient::send_torn_packet() {
  if (gone()) return;
  const std::array<std::uint8_t, 9> whole = {0x30, 0x60, 0x00, 0x03, 't', '/', '1', 'x', 'x'};
  world_.send(*link_, base::Bytes(whole).first(1 + random_.below(whole.size() - 1)));
  torn_ = true;
}

void SimClient::send_garbage() {
  if (gone()) return;
  std::array<std::uint8_t, 12> bytes;
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random_.next());
  bytes[0] = static_cast<std::uint8_t>(bytes[0] & 0x0FU);  // packet type 0: no packet at all
  world_.send(*link_, bytes);
  torn_ = true;
}

void SimClient::drip() {
  if (gone()) return;
  // A PUBLISH of 100,000 bytes that nobody will live to see the end of.
  const std::array<std::uint8_t, 9> head = {0x30, 0xA0, 0x8D, 0x06, 0x00, 0x03, 't', '/', '1'};
  world_.send(*link_, head);
  torn_ = true;
  const std::uint64_t link_count = link_count_;
  auto step = [this, link_count](auto& self) -> void {
    world_.after(base::milliseconds(700), [this, link_count, self]() mutable {
      if (link_count != link_count_ || !link_ || !torn_) return;
      const std::array<std::uint8_t, 3> bytes = {'x', 'y', 'z'};
      world_.send(*link_, bytes);
      self(self);
    });
  };
  step(step);
}

void SimClient::silence() {
  if (link_) world_.silence(*link_);
}

void SimClient::set_reading(bool reading) {
  if (link_) world_.set_reading(*link_, reading);
}

void SimClient::set_lazy(bool lazy) {
  lazy_ = lazy;
  if (lazy || gone()) return;
  const std::vector<mqtt::Ack> acks = std::exchange(unsent_acks_, {});
  for (const mqtt::Ack& ack : acks) send(ack);
}

void SimClient::on_bytes(LinkId link, base::Bytes bytes, Instant) {
  if (link_ != link) return;
  framer_.add(bytes);
  while (const auto frame = framer_.next()) {
    const auto packet = mqtt::decode(frame->header, frame->body(), wish_.version, mqtt::Sender::Server);
    if (packet) received(*packet);
    if (link_ != link) return;
  }
}

void SimClient::on_closed(LinkId link, Instant) {
  if (link_ != link) return;
  world_.end(link, StreamEnd::Closed);
  forget_link();
}

void SimClient::connack(const mqtt::ConnAck& packet) {
  if (mqtt::is_failure(packet.reason)) return;
  accepted_ = true;
  keep_alive_s_ = packet.properties.number_or(Property::ServerKeepAlive, wish_.keep_alive_s);
  send_quota_ = packet.properties.number_or(Property::ReceiveMaximum, wish_.version == mqtt::Version::V5 ? 65535 : 20);
  schedule_ping();
  if (!packet.session_present) {
    outgoing_.clear();
    return;
  }
  for (auto& [id, message] : outgoing_) message.sent = false;
  resend();
}

// What the last connection left unfinished, in the order of the original sends [MQTT-4.6.0-1], as many as the broker
// takes at once.
void SimClient::resend() {
  if (gone()) return;
  std::vector<std::pair<std::uint64_t, mqtt::PacketId>> waiting;
  std::size_t under_way = 0;
  for (const auto& [id, message] : outgoing_) {
    if (message.sent) {
      ++under_way;
    } else {
      waiting.emplace_back(message.order, id);
    }
  }
  std::ranges::sort(waiting);
  for (const auto& [number, id] : waiting) {
    if (under_way++ >= send_quota_) return;
    Outgoing& message = outgoing_[id];
    message.sent = true;
    if (message.released) {
      mqtt::Ack release;
      release.type = mqtt::PacketType::PubRel;
      release.packet_id = id;
      send(release);
    } else {
      send_publish(id, message, true);
    }
  }
}

void SimClient::acknowledge(const mqtt::Ack& ack) {
  if (gone()) return;
  if (lazy_) {
    unsent_acks_.push_back(ack);
  } else {
    send(ack);
  }
}

void SimClient::received(const mqtt::Packet& packet) {
  using mqtt::PacketType;
  if (const auto* answer = std::get_if<mqtt::ConnAck>(&packet)) connack(*answer);
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet);
      publish != nullptr && publish->qos != QoS::AtMostOnce) {
    mqtt::Ack ack;
    ack.type = publish->qos == QoS::AtLeastOnce ? PacketType::PubAck : PacketType::PubRec;
    ack.packet_id = publish->packet_id;
    acknowledge(ack);
  }
  if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) ack_received(*ack);
}

void SimClient::ack_received(const mqtt::Ack& ack) {
  using mqtt::PacketType;
  mqtt::Ack answer;
  answer.packet_id = ack.packet_id;
  if (ack.type == PacketType::PubRel) {
    answer.type = PacketType::PubComp;
    acknowledge(answer);
    return;
  }
  const auto it = outgoing_.find(ack.packet_id);
  if (it == outgoing_.end()) return;
  if (ack.type == PacketType::PubRec && !mqtt::is_failure(ack.reason)) {
    it->second.released = true;
    answer.type = PacketType::PubRel;
    if (!gone()) send(answer);
    return;
  }
  outgoing_.erase(it);
  resend();
}

}  // namespace vigil::sim
