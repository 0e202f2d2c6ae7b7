#include "sim/oracle.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "mqtt/describe.h"
#include "mqtt/topic.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::Property;
using mqtt::QoS;

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
  c.connect_read = now_;
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
  c.connect_expiry = c.expiry;
  c.connect_for_ever = c.for_ever;
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
    Session& s = sessions_[c.client];
    const auto [it, fresh] = s.unreleased.try_emplace(packet.packet_id, key);
    // (A session that may be another than the one that took it may take it for new.)
    again = !fresh && it->second == key && !s.perhaps_another;
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
    publication.first_read = now_;
  }
  publication.expires = publication.expires || packet.properties.has(Property::MessageExpiryInterval);
  // A crash may have taken the last copy, which was not acknowledged: then this one counts in its place, for the order
  // as well; or that one was stored after all. (One before it may have been another session's, and live on.)
  const bool taken = !restarts_.empty() && publication.last_read < restarts_.back();
  publication.repeated = publication.repeated || (again && publication.acknowledged.is_never());
  if (!again) {
    publication.reads.push_back(next_order_++);
  } else if (taken && publication.acknowledged.is_never()) {
    publication.reads.back() = next_order_++;
    ++publication.retried;
  }
  if (publication.earliest == 0) publication.earliest = publication.reads.back();
  publication.last_read = now_;
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
    if (!it->second.released) it->second.recorded = now_;
    it->second.released = true;
  } else if ((packet.type == PacketType::PubAck && it->second.qos == QoS::AtLeastOnce) ||
             (packet.type == PacketType::PubRec && it->second.qos == QoS::ExactlyOnce) ||
             (packet.type == PacketType::PubComp && it->second.qos == QoS::ExactlyOnce && it->second.released)) {
    acknowledged();
    c.outstanding.erase(packet.packet_id);
    if (world_->options().durable) {
      // As far back as a crash may reach.
      while (!s.finished.empty() && now_ - s.finished.front().at > base::seconds(30)) s.finished.pop_front();
      s.finished.push_back({packet.packet_id, it->second, now_});
    }
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
  for (const auto& [filter, ignored] : packet.entries) {
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
      Session& s = sessions_[c.client];
      const auto it = s.outflight.find(packet.packet_id);
      if (it == s.outflight.end() || !it->second.released) {
        fail(link, "a PUBREL before PUBREC");
        return;
      }
      it->second.pubrel = true;
      it->second.perhaps_done = it->second.perhaps_unrecorded = false;
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
  if (packet.retain) c.retained[topic] = key;
  Session& s = sessions_[c.client];
  bool again = false;
  if (packet.qos != QoS::AtMostOnce) {
    c.outstanding.insert(packet.packet_id);
    if (c.outstanding.size() > c.receive_maximum)
      fail(link, "more in flight than the client's Receive Maximum  [MQTT-3.3.4-9]");
    auto it = s.outflight.find(packet.packet_id);
    if (it != s.outflight.end() && is_free(s, it->second, packet, key, link)) {
      s.outflight.erase(it);
      it = s.outflight.end();
    }
    if (it == s.outflight.end()) {
      s.outflight[packet.packet_id] = {
          .key = key, .qos = packet.qos, .link = link, .order = next_order_++, .retained = packet.retain, .sent = now_};
    } else {
      again = true;
      Outflight& out = it->second;
      if (out.released && !out.perhaps_unrecorded) fail(link, "a PUBLISH again after its PUBREC");
      if (out.key != key || !packet.dup) fail(link, "a packet identifier that is still in use");
      if (out.link == link) fail(link, "a PUBLISH again on the same connection");
      if (out.order < c.resend_order) fail(link, "messages again, but not in their order  [MQTT-4.6.0-1]");
      c.resend_order = out.order;
      out.link = link;
      out.released = out.perhaps_lost = out.perhaps_unrecorded = out.perhaps_done = false;
    }
    // (It may have been sent on an earlier connection and thrown away with it, or before a crash.)
    if (packet.dup && !again && s.connections <= 1)
      fail(link, "DUP on what cannot have been sent before  [MQTT-3.3.1-1]");
  } else if (packet.dup) {
    fail(link, "DUP at QoS 0  [MQTT-3.3.1-2]");
  }
  if (again) {
    ++counts_.redeliveries;
    return;
  }
  first_delivery(link, c, s, packet, key);
}

// Whether an identifier that was in use may be used for another message.
bool Oracle::is_free(const Session& s, const Outflight& out, const mqtt::Publish& packet, const std::string& key,
                     LinkId link) const {
  if (out.link == link) return false;
  // What a member of a group had not acknowledged when it left may have gone to another.
  if (!packet.dup && given_away(out)) return true;
  // It ended before the crash, or never reached the store, or was another session's. (What is sent then may have been
  // sent before as well, for all that the broker knows: DUP.)
  const bool same = out.key == key && out.qos == packet.qos && packet.dup;
  return !same && (out.perhaps_done || out.perhaps_lost || s.perhaps_another);
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
      if (delivery.client != c.client || delivery.session != c.generation || delivery.at < s.surely_since) continue;
      // (At QoS 0 what a crash took was passed on before it was stored: of a will that it was published, too.)
      const bool again = publication.retried > 0 || (publication.will && !restarts_.empty());
      if (delivery.qos != QoS::AtMostOnce || !again || delivery.at > restarts_.back()) ++times;
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
      // (That it expired and was not sent for that reason, a crash may have taken back.)
      const bool taken_back = packet.dup && publication.expires && !restarts_.empty();
      if (!publication.will && !taken_back) {
        if (publication.reads[0] < last)
          fail(link, fmt::format("'{}' came after a later message of its publisher and topic  [MQTT-4.6.0-5]", key));
        last = std::max(last, publication.earliest);
      }
    }
  }
  deliveries_[key].push_back({c.client, c.generation, now_, packet.qos, Instant::never(), !c.expiry_zero});
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
    // (What a crash took had been passed on before it was stored at QoS 0, and to a session that is not kept. So had
    // what a member left behind, if the crash undid its leaving.)
    const bool before_crash = !restarts_.empty() && delivery.at < restarts_.back();
    const bool forgotten = before_crash && (publication.retried > 0 || delivery.at >= stored_before_);
    if (forgotten && (delivery.qos == QoS::AtMostOnce || !delivery.kept)) continue;
    // (What is left of a connection that ends is written behind what its end brought others.)
    if (packet.qos == QoS::AtLeastOnce && now_ - delivery.at <= kBlur) continue;
    if (delivery.qos == QoS::AtMostOnce || !delivery.acknowledged.is_never()) {
      fail(link, fmt::format("'{}' was given to two members of one group, the first of which had it", key));
    } else if (delivery.qos == QoS::ExactlyOnce && packet.qos == QoS::ExactlyOnce) {
      fail(link, fmt::format("'{}' was begun with one member at QoS 2 and given to another  [MQTT-4.8.2-5]", key));
    }
  }
}

}  // namespace vigil::sim
