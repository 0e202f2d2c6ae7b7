#include "sim/oracle.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "mqtt/describe.h"
#include "mqtt/topic.h"

namespace vigil::sim {
namespace {

using base::Duration;
using base::Instant;
using base::milliseconds;
using mqtt::Property;
using mqtt::QoS;

// What a shard may be late by its own: waking up, and posting the mail of its turn.
constexpr Duration kSlack = milliseconds(3);
// Two events closer than this in time may be seen in either order.
constexpr Duration kBlur = milliseconds(5);
// From the moment a will is due to the moment the watcher's socket has it, without stalls.
constexpr Duration kWillTravel = milliseconds(50);

double in_seconds(Instant t) { return static_cast<double>(t.ns()) / 1e9; }
double in_seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

std::string key_of(base::Bytes payload) {
  const std::string_view text = base::as_text(payload);
  return std::string(text.substr(0, text.find(' ')));
}

Duration one_and_a_half(std::uint32_t keep_alive_s) { return milliseconds(1500) * keep_alive_s; }

}  // namespace

Oracle::Conn& Oracle::conn(LinkId link) {
  while (conns_.size() <= link) conns_.emplace_back();
  return conns_[link];
}

void Oracle::fail(LinkId link, std::string what) {
  if (!violation_.empty()) return;
  violation_ = fmt::format("{:.6f} link {} ({}): {}", in_seconds(now_), link, conn(link).client, what);
  if (verbose_) std::printf("VIOLATION %s\n", violation_.c_str());
}

void Oracle::print(LinkId link, std::string_view direction, const mqtt::Packet& packet) const {
  if (!verbose_) return;
  const std::string& client = conns_[link].client;
  std::printf("%12.6f link %-3u %-8s %s %s\n", in_seconds(now_), link, client.c_str(), std::string(direction).c_str(),
              mqtt::describe(packet).substr(0, 160).c_str());
}

// --- what the core read
// --------------------------------------------------------------------------------------------------------

void Oracle::on_arrival(LinkId link, base::Bytes bytes, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  c.arriving.add(bytes);
  while (c.arriving.next()) c.last_arrival = now;
}

void Oracle::on_judged(LinkId link, Instant now) {
  Conn& c = conn(link);
  c.silent_when_judged = now - c.last_arrival;
}

void Oracle::on_read(LinkId link, base::Bytes bytes, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  c.in.add(bytes);
  c.part_bytes += bytes.size();
  while (auto frame = c.in.next()) {
    c.last_read = now;
    c.part_bytes = c.in.pending();
    const mqtt::Version version = c.version.value_or(mqtt::Version::V5);
    const auto packet = mqtt::decode(frame->header, frame->body(), version, mqtt::Sender::Client);
    if (!packet) continue;
    packet_read(link, c, *packet);
    print(link, ">", *packet);
  }
}

void Oracle::packet_read(LinkId link, Conn& c, const mqtt::Packet& packet) {
  if (const auto* connect = std::get_if<mqtt::Connect>(&packet)) {
    if (!c.version) connect_read(link, c, *connect);
    return;
  }
  if (std::holds_alternative<mqtt::PingReq>(packet)) ++c.pings;
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) publish_read(link, c, *publish);
  if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) ack_read(c, *ack);
  if (const auto* subscribe = std::get_if<mqtt::Subscribe>(&packet)) subscribe_read(c, *subscribe);
  if (const auto* unsubscribe = std::get_if<mqtt::Unsubscribe>(&packet)) unsubscribe_read(c, *unsubscribe);
  if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
    c.goodbye = c.version != mqtt::Version::V5 || disconnect->reason == mqtt::ReasonCode::Success;
    const auto expiry = disconnect->properties.number(Property::SessionExpiryInterval);
    if (expiry && !c.expiry_zero) {
      const std::uint32_t capped = std::min(*expiry, world_->options().limits.max_session_expiry_s);
      c.expiry = base::seconds(capped);
      c.for_ever = capped == mqtt::kNoSessionExpiry;
    } else if (expiry && *expiry > 0) {
      c.goodbye = false;  // a protocol error
    }
  }
}

void Oracle::connect_read(LinkId link, Conn& c, const mqtt::Connect& packet) {
  const broker::Limits& limits = world_->options().limits;
  const bool v5 = packet.version == mqtt::Version::V5;
  c.version = packet.version;
  c.client = packet.client_id;
  c.clean = packet.clean_start;
  c.keep_alive_s = packet.keep_alive_s;
  std::uint32_t expiry = 0;
  if (v5) {
    expiry = packet.properties.number_or(Property::SessionExpiryInterval, 0);
  } else if (!packet.clean_start) {
    expiry = limits.v3_session_expiry_s;
  }
  expiry = std::min(expiry, limits.max_session_expiry_s);
  c.expiry = base::seconds(expiry);
  c.for_ever = expiry == mqtt::kNoSessionExpiry;
  c.expiry_zero = expiry == 0;
  c.receive_maximum = packet.properties.number_or(Property::ReceiveMaximum, 65535);
  c.max_packet = packet.properties.number_or(Property::MaximumPacketSize, 0);
  c.alias_maximum = packet.properties.number_or(Property::TopicAliasMaximum, 0);
  if (packet.will) {
    const std::uint32_t delay = packet.will->properties.number_or(Property::WillDelayInterval, 0);
    const std::string key = key_of(packet.will->payload);
    c.will = wills_.size();
    will_by_key_[key] = wills_.size();
    WillState& will = wills_.emplace_back();
    will.key = key;
    will.client = c.client;
    will.delay = base::seconds(std::min(delay, limits.max_will_delay_s));
    will.link = link;
    Publication& publication = publications_[key];
    publication.topic = packet.will->topic;
    publication.publisher = c.client;
    publication.qos = packet.will->qos;
    publication.retain = packet.will->retain;
    publication.will = true;
    publication.first_read = now_;
    publication.reads = {next_order_++};
  }
}

void Oracle::publish_read(LinkId link, Conn& c, const mqtt::Publish& packet) {
  (void)link;
  std::string topic(packet.topic);
  if (const auto alias = packet.properties.number(Property::TopicAlias)) {
    if (topic.empty()) topic = c.aliases_in[*alias];
    c.aliases_in[*alias] = topic;
  }
  const std::string key = key_of(packet.payload);
  ++counts_.publishes;
  bool again = false;
  if (packet.qos == QoS::ExactlyOnce) {
    auto& unreleased = sessions_[c.client].unreleased;
    const auto [it, fresh] = unreleased.try_emplace(packet.packet_id, key);
    again = !fresh && it->second == key;
    it->second = key;
    c.publishes2[packet.packet_id] = key;
  } else if (packet.qos == QoS::AtLeastOnce) {
    c.publishes1[packet.packet_id] = key;
  }
  if (key.empty()) return;
  Publication& publication = publications_[key];
  if (publication.reads.empty()) {
    publication.topic = topic;
    publication.publisher = c.client;
    publication.qos = packet.qos;
    publication.retain = packet.retain;
    publication.expires = packet.properties.has(Property::MessageExpiryInterval);
    publication.first_read = now_;
  }
  if (!again) publication.reads.push_back(next_order_++);
}

void Oracle::ack_read(Conn& c, const mqtt::Ack& packet) {
  using mqtt::PacketType;
  Session& s = sessions_[c.client];
  if (packet.type == PacketType::PubRel) {
    s.unreleased.erase(packet.packet_id);
    ++c.pubrels[packet.packet_id];
    return;
  }
  const auto it = s.outflight.find(packet.packet_id);
  if (it == s.outflight.end()) return;
  auto acknowledged = [&] {
    for (Delivery& delivery : deliveries_[it->second.key]) {
      if (delivery.client == c.client && delivery.session == s.generation)
        delivery.acknowledged = std::min(delivery.acknowledged, now_);
    }
  };
  const bool failure = mqtt::is_failure(packet.reason);
  if (packet.type == PacketType::PubRec && it->second.qos == QoS::ExactlyOnce && !failure) {
    acknowledged();
    it->second.released = true;
  } else if ((packet.type == PacketType::PubAck && it->second.qos == QoS::AtLeastOnce) ||
             (packet.type == PacketType::PubRec && it->second.qos == QoS::ExactlyOnce) ||
             (packet.type == PacketType::PubComp && it->second.qos == QoS::ExactlyOnce && it->second.released)) {
    acknowledged();
    c.outstanding.erase(packet.packet_id);
    s.outflight.erase(it);
  }
}

void Oracle::subscribe_read(Conn& c, const mqtt::Subscribe& packet) {
  PendingSubscribe& pending = c.subscribes[packet.packet_id];
  pending.count = packet.entries.size();
  for (const mqtt::Subscribe::Entry& entry : packet.entries) {
    const auto parsed = mqtt::TopicFilter::parse(entry.filter);
    Interval interval;
    if (parsed) {
      interval.filter = parsed->filter;
      interval.group = parsed->group;
    }
    interval.client = c.client;
    interval.session = c.generation;
    interval.qos = entry.options.qos;
    interval.no_local = entry.options.no_local;
    interval.asked = now_;
    // A weaker subscription takes the place of a stronger one when it is read, though its SUBACK may never be written.
    for (const std::size_t other : intervals_of_[c.client]) {
      Interval& old = intervals_[other];
      if (old.session != interval.session || old.filter != interval.filter || old.group != interval.group) continue;
      if (interval.qos < old.qos || interval.no_local) old.dropped = std::min(old.dropped, now_);
    }
    pending.intervals.push_back(intervals_.size());
    intervals_of_[c.client].push_back(intervals_.size());
    intervals_.push_back(std::move(interval));
  }
}

void Oracle::unsubscribe_read(Conn& c, const mqtt::Unsubscribe& packet) {
  auto& pending = c.unsubscribes[packet.packet_id];
  for (const std::string_view filter : packet.filters) {
    const auto parsed = mqtt::TopicFilter::parse(filter);
    if (!parsed) continue;
    for (const std::size_t i : intervals_of_[c.client]) {
      Interval& interval = intervals_[i];
      if (interval.session != c.generation || interval.filter != parsed->filter || interval.group != parsed->group)
        continue;
      interval.dropped = std::min(interval.dropped, now_);
      pending.push_back(i);
    }
  }
}

// --- what the core wrote
// -------------------------------------------------------------------------------------------------------

void Oracle::on_write(LinkId link, base::Bytes bytes, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  c.out.add(bytes);
  while (auto frame = c.out.next()) {
    const mqtt::Version version = c.version.value_or(mqtt::Version::V5);
    const auto packet = mqtt::decode(frame->header, frame->body(), version, mqtt::Sender::Server);
    if (!packet) {
      fail(link, fmt::format("the broker sent a malformed {}: {} {}", mqtt::packet_name(frame->header.type),
                             packet.error().field, packet.error().detail));
      return;
    }
    print(link, "<", *packet);
    packet_written(link, c, *packet, frame->bytes.size());
  }
  if (c.out.broken()) fail(link, "the broker sent what is no packet");
}

void Oracle::packet_written(LinkId link, Conn& c, const mqtt::Packet& packet, std::size_t size) {
  if (c.over) fail(link, "something was written after the close");
  if (c.max_packet > 0 && size > c.max_packet) fail(link, "a packet is larger than the client's Maximum Packet Size");
  if (const auto* connack = std::get_if<mqtt::ConnAck>(&packet)) {
    if (c.connack_written) fail(link, "a second CONNACK");
    c.connack_written = true;
    if (c.connected == mqtt::is_failure(connack->reason)) fail(link, "a CONNACK that is not the one announced");
    return;
  }
  if (std::holds_alternative<mqtt::PingResp>(packet)) {
    if (c.pings == 0) fail(link, "a PINGRESP nobody asked for");
    --c.pings;
  }
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) publish_written(link, c, *publish);
  if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) ack_written(link, c, *ack);
  if (const auto* suback = std::get_if<mqtt::SubAck>(&packet)) {
    const auto it = c.subscribes.find(suback->packet_id);
    if (it == c.subscribes.end() || suback->reasons.size() != it->second.count) {
      fail(link, "a SUBACK that answers no SUBSCRIBE, or not all of it");
      return;
    }
    for (std::size_t i = 0; i < it->second.intervals.size(); ++i) {
      Interval& interval = intervals_[it->second.intervals[i]];
      const mqtt::ReasonCode reason = suback->reasons[i];
      if (mqtt::is_failure(reason)) {
        interval.dropped = interval.gone = interval.asked;
        continue;
      }
      if (static_cast<std::uint8_t>(reason) > static_cast<std::uint8_t>(interval.qos))
        fail(link, "more QoS granted than asked for");
      interval.qos = static_cast<QoS>(reason);
      interval.granted = now_;
      // It takes the place of an earlier one with the same filter.
      for (const std::size_t other : intervals_of_[c.client]) {
        Interval& old = intervals_[other];
        if (other >= it->second.intervals[i] || old.session != interval.session || old.filter != interval.filter ||
            old.group != interval.group)
          continue;
        old.dropped = std::min(old.dropped, interval.asked);
        old.gone = std::min(old.gone, now_);
      }
    }
    c.subscribes.erase(it);
  }
  if (const auto* unsuback = std::get_if<mqtt::UnsubAck>(&packet)) {
    const auto it = c.unsubscribes.find(unsuback->packet_id);
    if (it == c.unsubscribes.end()) {
      fail(link, "an UNSUBACK that answers no UNSUBSCRIBE");
      return;
    }
    for (const std::size_t i : it->second) intervals_[i].gone = std::min(intervals_[i].gone, now_);
    c.unsubscribes.erase(it);
  }
}

// The core has decided on a CONNECT when it has an answer, whatever the socket takes of it.
void Oracle::on_offer(LinkId link, base::Bytes bytes, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (c.connected || !c.version) return;
  Framer framer;
  framer.add(bytes);
  const auto frame = framer.next();
  if (!frame || frame->header.type != mqtt::PacketType::ConnAck) return;
  const auto packet = mqtt::decode_connack(frame->header, frame->body(), *c.version);
  if (packet) connack_offered(link, c, *packet);
}

// What the model knows of a session must agree with Session Present.
void Oracle::session_check(LinkId link, Conn& c, Session& s, bool present) {
  if (c.clean && present) fail(link, "Session Present although Clean Start was 1  [MQTT-3.2.2-2]");
  if (present && !s.exists) fail(link, "Session Present although there was no session  [MQTT-3.2.2-2]");
  if (c.clean || !s.exists) return;
  const bool taken_over = s.link.has_value();
  if (taken_over) {
    const Conn& old = conn(*s.link);
    // A session that ends with its connection may be said to have ended before it is taken over, or not.
    if (!present && old.expiry.count() > 0) fail(link, "a take-over lost the session");
    return;
  }
  if (s.for_ever) {
    if (!present) fail(link, "a session was lost that has no expiry");
    return;
  }
  const Instant expires = s.ended + s.expiry;
  if (present && now_ > expires + kBlur && world_->stalled(world_->shard_of(link), expires, now_).count() == 0 &&
      s.expiry.count() == 0) {
    fail(link, "a session lived on although its expiry was 0");
  }
  if (present && now_ - world_->stalled(world_->shard_of(link), expires, now_) > expires + kBlur)
    fail(link, "a session outlived its expiry");
  if (!present && now_ + kBlur < expires && s.expiry > kBlur) fail(link, "a session ended before its expiry");
}

void Oracle::end_intervals(const std::string& client, std::uint64_t generation, Instant when) {
  for (const std::size_t i : intervals_of_[client]) {
    Interval& interval = intervals_[i];
    if (interval.session != generation) continue;
    interval.dropped = std::min(interval.dropped, when);
    interval.gone = std::min(interval.gone, now_);
  }
}

void Oracle::connack_offered(LinkId link, Conn& c, const mqtt::ConnAck& packet) {
  if (mqtt::is_failure(packet.reason)) return;
  if (packet.properties.has(Property::AssignedClientIdentifier))
    c.client = packet.properties.text_or(Property::AssignedClientIdentifier);
  c.connected = true;
  // The keep alive begins here, where the connection may have waited for its home shard.
  c.last_read = now_;
  ++counts_.connects;
  if (const auto k = packet.properties.number(Property::ServerKeepAlive)) {
    if (*k == c.keep_alive_s) fail(link, "Server Keep Alive says what the client asked for");
    c.keep_alive_s = *k;
  } else if (c.version != mqtt::Version::V5) {
    const auto& policy = world_->options().keep_alive;
    const bool over = policy.max_s > 0 && (c.keep_alive_s == 0 || c.keep_alive_s > policy.max_s);
    if (over && policy.over_max_v3 == broker::OverMaxV3::Enforce) c.keep_alive_s = policy.max_s;
  }
  for (LinkId other = 0; other < conns_.size(); ++other) {
    const Conn& o = conns_[other];
    if (other != link && o.connected && !o.over && o.client == c.client) {
      fail(link, fmt::format("CONNACK while link {} is still connected with the same client id", other));
    }
  }
  Session& s = sessions_[c.client];
  session_check(link, c, s, packet.session_present);
  if (!packet.session_present) {
    end_intervals(c.client, s.generation, s.link ? now_ : std::min(now_, s.ended + s.expiry));
    s = {};
    s.generation = next_generation_++;
  }
  for (WillState& will : wills_) {
    if (will.client == c.client && !will.ended.is_never() && will.next_connack.is_never()) {
      will.next_connack = now_;
      will.resumed = packet.session_present;
    }
  }
  s.exists = true;
  s.link = link;
  if (c.max_packet > 0) {
    for (auto& [id, out] : s.outflight) out.perhaps_too_large = true;
  }
  c.generation = s.generation;
  if (c.will) {
    wills_[*c.will].armed = true;
    wills_[*c.will].shard = world_->shard_of(link);
  }
  // A client that pipelines has been read before its CONNACK was written.
  for (const auto& [id, pending] : c.subscribes) {
    for (const std::size_t i : pending.intervals) {
      intervals_[i].session = s.generation;
      intervals_[i].client = c.client;
    }
  }
}

void Oracle::ack_written(LinkId link, Conn& c, const mqtt::Ack& packet) {
  using mqtt::PacketType;
  auto accepted = [&](const std::string& key) {
    if (key.empty() || mqtt::is_failure(packet.reason)) return;
    Publication& publication = publications_[key];
    publication.acknowledged = std::min(publication.acknowledged, now_);
  };
  switch (packet.type) {
    case PacketType::PubAck: {
      const auto it = c.publishes1.find(packet.packet_id);
      if (it == c.publishes1.end()) {
        fail(link, "a PUBACK that answers no PUBLISH");
        return;
      }
      accepted(it->second);
      c.publishes1.erase(it);
      return;
    }
    case PacketType::PubRec: {
      const auto it = c.publishes2.find(packet.packet_id);
      if (it == c.publishes2.end()) {
        fail(link, "a PUBREC that answers no PUBLISH");
        return;
      }
      accepted(it->second);
      if (mqtt::is_failure(packet.reason)) sessions_[c.client].unreleased.erase(packet.packet_id);
      c.publishes2.erase(it);
      return;
    }
    case PacketType::PubComp: {
      const auto it = c.pubrels.find(packet.packet_id);
      if (it == c.pubrels.end()) {
        fail(link, "a PUBCOMP that answers no PUBREL");
        return;
      }
      if (--it->second == 0) c.pubrels.erase(it);
      return;
    }
    case PacketType::PubRel: {
      const Session& s = sessions_[c.client];
      const auto it = s.outflight.find(packet.packet_id);
      if (it == s.outflight.end() || !it->second.released) fail(link, "a PUBREL before PUBREC");
      c.outstanding.insert(packet.packet_id);
      return;
    }
    default: return;
  }
}

void Oracle::publish_written(LinkId link, Conn& c, const mqtt::Publish& packet) {
  if (!c.connack_written) fail(link, "a PUBLISH before CONNACK");
  std::string topic(packet.topic);
  if (const auto alias = packet.properties.number(Property::TopicAlias)) {
    if (*alias > c.alias_maximum) fail(link, "a topic alias above the client's maximum");
    if (topic.empty()) topic = c.aliases_out[*alias];
    c.aliases_out[*alias] = topic;
  }
  const std::string key = key_of(packet.payload);
  const auto found = publications_.find(key);
  if (found == publications_.end()) {
    fail(link, fmt::format("delivery of '{}', which nobody published", key));
    return;
  }
  if (found->second.topic != topic)
    fail(link, fmt::format("'{}' was published to {} and delivered as {}", key, found->second.topic, topic));
  Session& s = sessions_[c.client];
  bool again = false;
  if (packet.qos != QoS::AtMostOnce) {
    c.outstanding.insert(packet.packet_id);
    if (c.outstanding.size() > c.receive_maximum)
      fail(link, "more in flight than the client's Receive Maximum  [MQTT-3.3.4-9]");
    auto it = s.outflight.find(packet.packet_id);
    // What a member of a group had not acknowledged when it left may have gone to another, and its identifier is free.
    if (it != s.outflight.end() && !packet.dup && it->second.link != link && given_away(it->second)) {
      s.outflight.erase(it);
      it = s.outflight.end();
    }
    if (it == s.outflight.end()) {
      s.outflight[packet.packet_id] = {key, packet.qos, false, link, next_order_++, false};
    } else {
      again = true;
      Outflight& out = it->second;
      if (out.released) fail(link, "a PUBLISH again after its PUBREC");
      if (out.key != key || !packet.dup) fail(link, "a packet identifier that is still in use");
      if (out.link == link) fail(link, "a PUBLISH again on the same connection");
      if (out.order < c.resend_order) fail(link, "messages again, but not in their order  [MQTT-4.6.0-1]");
      c.resend_order = out.order;
      out.link = link;
    }
  } else if (packet.dup) {
    fail(link, "DUP at QoS 0  [MQTT-3.3.1-2]");
  }
  if (again) {
    ++counts_.redeliveries;
    return;
  }
  first_delivery(link, c, s, packet, key);
}

bool Oracle::given_away(const Outflight& out) const {
  return out.perhaps_too_large || (out.qos == QoS::AtLeastOnce && publications_.at(out.key).topic.starts_with("s/"));
}

void Oracle::first_delivery(LinkId link, Conn& c, Session& s, const mqtt::Publish& packet, const std::string& key) {
  ++counts_.deliveries;
  const Publication& publication = publications_[key];
  if (static_cast<int>(packet.qos) > static_cast<int>(publication.qos)) fail(link, "a QoS above the publisher's");

  bool subscribed = false;
  bool foreign = false;  // there is a subscription that is not No Local, or the publisher is another
  QoS most = QoS::AtMostOnce;
  for (const std::size_t i : intervals_of_[c.client]) {
    const Interval& interval = intervals_[i];
    if (interval.session != c.generation || interval.asked > now_) continue;
    if (!packet.retain && interval.gone < publication.first_read) continue;
    if (!mqtt::matches(interval.filter, publication.topic)) continue;
    subscribed = true;
    foreign = foreign || !interval.no_local || publication.publisher != c.client;
    most = std::max(most, interval.qos);
  }
  if (!subscribed) {
    fail(link, fmt::format("'{}' was delivered without a subscription", key));
    return;
  }
  // (Of a retained message the broker need not know any more who published it.)
  if (!foreign && !packet.retain)
    fail(link, fmt::format("'{}' came back to its publisher although No Local was set  [MQTT-3.8.3-3]", key));
  if (packet.qos > most) fail(link, "a QoS above the subscription's");

  if (publication.will && c.client == kWatcher) wills_[will_by_key_[key]].seen.push_back(now_);
  if (packet.retain) {
    if (!publication.retain) fail(link, fmt::format("'{}' came as a retained message and is none", key));
    return;
  }
  if (publication.topic.starts_with("s/")) {
    shared_delivery(link, publication, key, c, packet);
  } else {
    std::size_t times = 1;
    for (const Delivery& delivery : deliveries_[key]) {
      if (delivery.client == c.client && delivery.session == c.generation) ++times;
    }
    if (times > publication.reads.size()) {
      fail(link,
           fmt::format("'{}' was delivered {} times and published {} times (QoS {} as {})", key, times,
                       publication.reads.size(), static_cast<int>(publication.qos), static_cast<int>(packet.qos)));
    }
    if (publication.reads.size() == 1) {
      const std::string stream = fmt::format("{} {} {} {}", publication.publisher, publication.topic,
                                             static_cast<int>(publication.qos), static_cast<int>(packet.qos));
      std::uint64_t& last = s.last_order[stream];
      if (!publication.will) {
        if (publication.reads[0] < last)
          fail(link, fmt::format("'{}' came after a later message of its publisher and topic  [MQTT-4.6.0-5]", key));
        last = std::max(last, publication.reads[0]);
      }
    }
  }
  deliveries_[key].push_back({c.client, c.generation, now_, packet.qos, Instant::never()});
}

// One member of a group gets it; another only if the first has left without acknowledging, and never what was begun at
// QoS 2 [MQTT-4.8.2-4, -5].
void Oracle::shared_delivery(LinkId link, const Publication& publication, const std::string& key, const Conn& c,
                             const mqtt::Publish& packet) {
  auto groups_of = [&](const std::string& client, std::uint64_t session) {
    std::set<std::string> groups;
    for (const std::size_t i : intervals_of_[client]) {
      const Interval& interval = intervals_[i];
      if (interval.session == session && mqtt::matches(interval.filter, publication.topic))
        groups.insert(interval.group + " " + interval.filter);
    }
    return groups;
  };
  const auto mine = groups_of(c.client, c.generation);
  if (mine.size() != 1 || publication.reads.size() != 1) return;  // of several groups: which one it was cannot be told
  for (const Delivery& delivery : deliveries_[key]) {
    if (groups_of(delivery.client, delivery.session) != mine) continue;
    if (delivery.qos == QoS::AtMostOnce || !delivery.acknowledged.is_never()) {
      fail(link, fmt::format("'{}' was given to two members of one group, the first of which had it", key));
    } else if (delivery.qos == QoS::ExactlyOnce && packet.qos == QoS::ExactlyOnce) {
      fail(link, fmt::format("'{}' was begun with one member at QoS 2 and given to another  [MQTT-4.8.2-5]", key));
    }
  }
}

// --- ends
// --------------------------------------------------------------------------------------------------------------------------

void Oracle::on_close(LinkId link, broker::DisconnectReason reason, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (verbose_)
    std::printf("%12.6f link %-3u %-8s X closed by the broker: %s\n", in_seconds(now), link, c.client.c_str(),
                std::string(broker::name(reason)).c_str());
  if (reason == broker::DisconnectReason::KeepAliveTimeout) {
    ++counts_.timeouts;
    const Duration silent = c.silent_when_judged;
    if (c.keep_alive_s == 0) fail(link, "closed for keep alive, which is off");
    if (silent < one_and_a_half(c.keep_alive_s)) {
      fail(link, fmt::format("judged dead {:.6f} s after its last packet reached the socket; K is {}",
                             in_seconds(silent), c.keep_alive_s));
    }
    keep_alive_check(link, c);
  }
  if (reason == broker::DisconnectReason::SessionTakenOver) ++counts_.takeovers;
  connection_over(link, c, reason);
}

void Oracle::on_end(LinkId link, broker::SocketEnd, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (verbose_) std::printf("%12.6f link %-3u %-8s X ended by the client\n", in_seconds(now), link, c.client.c_str());
  connection_over(link, c, broker::DisconnectReason::ConnectionClosed);
}

void Oracle::connection_over(LinkId link, Conn& c, broker::DisconnectReason reason) {
  if (c.over) fail(link, "closed twice");
  c.over = true;
  if (!c.connected) return;
  const bool said_goodbye = reason == broker::DisconnectReason::ClientDisconnect;
  if (said_goodbye && !c.goodbye) fail(link, "recorded as a goodbye, and there was none");
  Session& s = sessions_[c.client];
  if (s.link == link) {
    s.link.reset();
    s.ended = now_;
    s.expiry = c.expiry;
    s.for_ever = c.for_ever;
    if (c.expiry.count() == 0) end_intervals(c.client, s.generation, now_);
  }
  if (c.will) {
    WillState& will = wills_[*c.will];
    will.ended = now_;
    will.cancelled = said_goodbye;
    will.expiry = c.expiry;
    will.for_ever = c.for_ever;
  }
}

// Nobody lives on after 1.5 x K and a tick.
void Oracle::keep_alive_check(LinkId link, const Conn& c) {
  const broker::KeepAlivePolicy& policy = world_->options().keep_alive;
  const Instant deadline = c.last_read + one_and_a_half(c.keep_alive_s);
  const unsigned shard = world_->shard_of(link);
  if (c.in.pending() > 0) {
    // While a packet really arrives, the deadline moves. A client that drips is not really sending.
    const Instant generous = c.last_read + one_and_a_half(c.keep_alive_s) * 3 + policy.tick * 2;
    if (now_ <= generous + world_->stalled(shard, c.last_read, now_)) return;
    const double rate = static_cast<double>(c.part_bytes) / in_seconds(now_ - c.last_read);
    if (rate < world_->options().limits.min_receive_rate / 4.0)
      fail(link, "alive long after 1.5 x K, on a packet that drips");
    return;
  }
  const Instant latest = deadline + policy.tick + kSlack;
  if (now_ - world_->stalled(shard, deadline, now_) > latest) {
    fail(link, fmt::format("alive {:.6f} s after 1.5 x K; K is {}, the tick {:.3f} s", in_seconds(now_ - deadline),
                           c.keep_alive_s, in_seconds(policy.tick)));
  }
}

void Oracle::on_turn(unsigned shard, Instant now) {
  now_ = now;
  if (world_->core(shard).next_deadline() <= now) return;  // it is not through with what is due
  for (LinkId link = 0; link < conns_.size(); ++link) {
    const Conn& c = conns_[link];
    if (c.over || !c.connected || c.keep_alive_s == 0 || world_->shard_of(link) != shard) continue;
    keep_alive_check(link, c);
  }
}

// --- at the end
// ----------------------------------------------------------------------------------------------------------------------

void Oracle::check_will(const WillState& will) {
  const std::size_t seen = will.seen.size();
  if (seen > 1) fail(will.link, fmt::format("will '{}' was published {} times", will.key, seen));
  if (!will.armed) {
    if (seen > 0) fail(will.link, fmt::format("will '{}' was published, and its CONNECT was never accepted", will.key));
    return;
  }
  if (will.ended.is_never()) {
    if (seen > 0) fail(will.link, fmt::format("will '{}' of a living connection was published", will.key));
    return;
  }
  const Duration wait = will.for_ever ? will.delay : std::min(will.delay, will.expiry);
  Instant due = will.ended + wait;
  const Duration stall_at_due =
      world_->stalled(will.shard, due, will.next_connack.is_never() ? now_ : will.next_connack);
  bool may_be_published = true;
  bool must_be_published = true;
  const char* why = "";
  Instant latest = due;
  if (will.cancelled) {
    may_be_published = must_be_published = false;
    why = "the client said goodbye";
  } else if (will.next_connack <= due + kBlur + stall_at_due && wait.count() > 0) {
    // The client came back before it was due, or about then.
    const bool clearly_before = will.next_connack + kBlur < due || will.next_connack <= will.ended;
    if (!will.resumed) {
      // The old session ended when CONNECT was read, a little before the CONNACK.
      latest = std::min(due, will.next_connack);
      due = will.ended;
      why = "the session ended before the delay";
    } else if (clearly_before) {
      may_be_published = must_be_published = false;
      why = "the session was resumed before the delay";
    } else {
      must_be_published = false;
    }
  }
  const bool dropped = world_->stats().publish_dropped > 0;
  if (seen > 0 && !may_be_published) fail(will.link, fmt::format("will '{}' was published, and {}", will.key, why));
  if (seen == 0 && must_be_published && !dropped) {
    fail(will.link, fmt::format("will '{}' was not published: its connection ended at {:.6f}, it was due at {:.6f} {}",
                                will.key, in_seconds(will.ended), in_seconds(due), why));
  }
  if (seen != 1 || !violation_.empty()) return;
  if (will.seen[0] + kSlack < due)
    fail(will.link, fmt::format("will '{}' came at {:.6f}, before it was due at {:.6f}", will.key,
                                in_seconds(will.seen[0]), in_seconds(due)));
  Duration stalls(0);
  for (unsigned shard = 0; shard < world_->shards(); ++shard) stalls += world_->stalled(shard, latest, will.seen[0]);
  if (will.seen[0] - stalls > latest + kWillTravel) {
    fail(will.link, fmt::format("will '{}' came at {:.6f}, late: it was due at {:.6f}", will.key,
                                in_seconds(will.seen[0]), in_seconds(latest)));
  }
}

void Oracle::check_wills() {
  for (const WillState& will : wills_) {
    check_will(will);
    if (will.ended.is_never()) continue;
    ++(will.seen.empty() ? counts_.wills_cancelled : counts_.wills_published);
  }
}

void Oracle::check_obligations() {
  std::uint64_t missing = 0;
  std::string first;
  for (const auto& [key, publication] : publications_) {
    if (publication.will || publication.qos == QoS::AtMostOnce || publication.acknowledged.is_never() ||
        publication.expires)
      continue;
    if (!publication.topic.starts_with("t/")) continue;
    std::set<std::string> owed;  // once a client, however many of its subscriptions match
    for (const Interval& interval : intervals_) {
      if (!interval.group.empty() || interval.qos == QoS::AtMostOnce || interval.session == 0) continue;
      if (interval.no_local && interval.client == publication.publisher) continue;
      // (What was read in the same turn came before the SUBACK went out.)
      if (interval.granted >= publication.first_read || interval.dropped <= publication.acknowledged) continue;
      // Only sessions that are still there have been able to get all.
      const auto session = sessions_.find(interval.client);
      if (session == sessions_.end() || session->second.generation != interval.session || !session->second.link)
        continue;
      if (!mqtt::matches(interval.filter, publication.topic) || !owed.insert(interval.client).second) continue;
      ++counts_.obligations;
      const auto& got = deliveries_[key];
      if (std::ranges::any_of(
              got, [&](const Delivery& d) { return d.client == interval.client && d.session == interval.session; }))
        continue;
      ++missing;
      if (first.empty()) {
        first = fmt::format("'{}' (QoS {}, acknowledged at {:.6f}) never reached {} (subscribed to {} at {:.6f})", key,
                            static_cast<int>(publication.qos), in_seconds(publication.acknowledged), interval.client,
                            interval.filter, in_seconds(interval.granted));
      }
    }
  }
  check_shared_obligations(missing, first);
  const broker::Stats stats = world_->stats();
  if (missing > stats.publish_dropped + stats.publish_expired) {
    fail(0, fmt::format("{} owed deliveries are missing ({} counted as dropped): {}", missing, stats.publish_dropped,
                        first));
  }
}

// A message for a group whose members all stayed reaches one of them.
void Oracle::check_shared_obligations(std::uint64_t& missing, std::string& first) {
  std::map<std::string, std::vector<const Interval*>> groups;
  for (const Interval& interval : intervals_) {
    if (!interval.group.empty() && interval.session != 0)
      groups[interval.group + " " + interval.filter].push_back(&interval);
  }
  for (const auto& [name, members] : groups) {
    for (const auto& [key, publication] : publications_) {
      if (publication.qos == QoS::AtMostOnce || publication.acknowledged.is_never() || publication.expires ||
          publication.will)
        continue;
      if (!mqtt::matches(members[0]->filter, publication.topic)) continue;
      const bool all_stayed = std::ranges::all_of(members, [&](const Interval* m) {
        const auto session = sessions_.find(m->client);
        return m->qos != QoS::AtMostOnce && m->dropped.is_never() && session != sessions_.end() &&
               session->second.generation == m->session && session->second.link;
      });
      const bool there =
          std::ranges::any_of(members, [&](const Interval* m) { return m->granted < publication.first_read; });
      if (!all_stayed || !there) continue;
      ++counts_.obligations;
      const bool got = std::ranges::any_of(deliveries_[key], [&](const Delivery& d) {
        return std::ranges::any_of(members, [&](const Interval* m) { return m->client == d.client; });
      });
      if (got) continue;
      ++missing;
      if (first.empty()) first = fmt::format("'{}' reached nobody of the group {}", key, name);
    }
  }
}

void Oracle::settled(Instant now) {
  now_ = now;
  if (!violation_.empty()) return;
  for (LinkId link = 0; link < conns_.size(); ++link) {
    const Conn& c = conns_[link];
    if (c.over || !c.connected) continue;
    const Session& s = sessions_[c.client];
    if (c.pings > 0) fail(link, "a PINGREQ was never answered");
    if (!c.subscribes.empty()) fail(link, "a SUBSCRIBE was never answered");
    if (!c.unsubscribes.empty()) fail(link, "an UNSUBSCRIBE was never answered");
    if (!c.publishes1.empty()) fail(link, "a PUBLISH at QoS 1 was never acknowledged");
    if (!c.publishes2.empty()) fail(link, "a PUBLISH at QoS 2 was never acknowledged");
    if (!c.pubrels.empty()) fail(link, "a PUBREL was never answered");
    for (const auto& [id, out] : s.outflight) {
      if (!given_away(out))
        fail(link, fmt::format("'{}' was sent once, and its unfinished delivery never taken up again", out.key));
    }
  }
  check_obligations();
  check_wills();
}

void Oracle::empty(Instant now) {
  now_ = now;
  if (!violation_.empty()) return;
  const broker::Stats stats = world_->stats();
  auto zero = [&](const char* what, std::uint64_t value) {
    if (value != 0) fail(0, fmt::format("leaked: {} {} after everybody has left", value, what));
  };
  zero("connections", world_->connections());
  for (const auto& [client, session] : sessions_) {
    const auto view = world_->core(broker::ShardCore::home_of(client, world_->shards())).client(client);
    if (view.exists) fail(0, fmt::format("leaked: the session of {} after everybody has left", client));
  }
  zero("sessions", world_->sessions());
  zero("clients connected", stats.clients_connected);
  zero("clients disconnected", stats.clients_disconnected);
  zero("subscriptions", stats.subscriptions);
  zero("shared subscriptions", stats.shared_subscriptions);
  zero("queued messages", stats.queued_messages);
  zero("queued bytes", stats.queued_bytes);
  zero("messages in flight", stats.inflight_messages);
  zero("clients at risk", stats.at_risk);
}

}  // namespace vigil::sim
