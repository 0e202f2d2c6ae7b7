// Messages to clients and their acknowledgements (4.3, 4.4, 4.9).
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "broker/printable.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

using mqtt::PacketType;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Version;

// Payloads from here on are not copied into the outbox but shared.
constexpr std::size_t kSharedPayload = 2048;

// Identifiers of the properties that are written here by hand.
constexpr std::uint8_t kMessageExpiryInterval = 0x02;
constexpr std::uint8_t kSubscriptionIdentifier = 0x0B;
constexpr std::uint8_t kTopicAlias = 0x23;

// Fills room that is as large as what is written.
struct Pen {
  std::uint8_t* at;

  void u8(unsigned value) { *at++ = static_cast<std::uint8_t>(value); }
  void u16(std::size_t value) {
    u8(value >> 8U & 0xFFU);
    u8(value & 0xFFU);
  }
  void u32(std::uint32_t value) {
    u16(value >> 16U);
    u16(value & 0xFFFFU);
  }
  void varint(std::uint32_t value) {
    if (value < 0x80) return u8(value);
    at += mqtt::write_varint(at, value);
  }
  void bytes(base::Bytes bytes) {
    if (bytes.empty()) return;
    std::memcpy(at, bytes.data(), bytes.size());
    at += bytes.size();
  }
};

std::uint32_t seconds_left(const Message& message, base::Instant now) {
  if (message.expires() <= now) return 0;
  const std::int64_t ns = (message.expires() - now).count();
  return static_cast<std::uint32_t>((ns + 999'999'999) / 1'000'000'000);
}

}  // namespace

DeliveryState& Shard::delivery_of(Session& s) {
  if (!s.delivery) s.delivery = std::make_unique<DeliveryState>();
  return *s.delivery;
}

bool Shard::window_open(const Connection& c, const DeliveryState& d) const {
  const std::size_t window = std::min(c.receive_maximum, limits().max_inflight);
  return d.inflight.in_window() < window && d.inflight.resent() == d.inflight.size();
}

Outcome Shard::deliver(SessionId sid, Session& s, const MessagePtr& message, const Terms& terms, base::Instant now) {
  if (!s.connected()) {
    if (terms.qos == QoS::AtMostOnce && !limits().queue_qos0_offline) return Outcome::Taken;
    return enqueue(sid, s, message, terms, now);
  }
  Connection& c = connections_.at(s.connection);
  const bool has_room = room(c);
  if (!has_room) c.blocked = true;
  if (terms.qos == QoS::AtMostOnce) {
    const bool wait =
        s.delivery && (terms.retained_at_subscribe ? !s.delivery->queue.empty() : s.delivery->holds_back_qos0());
    if (wait || (!has_room && terms.retained_at_subscribe)) {
      enqueue(sid, s, message, terms, now);
    } else if (!has_room) {
      ++stats_.publish_dropped;
    } else {
      send_publish(s.connection, c, message, terms, 0, false, now);
    }
    return Outcome::Taken;
  }
  DeliveryState& d = delivery_of(s);
  // What must be stored before it is sent waits in the queue for that.
  const bool stored_first = s.durable && (sink_ != nullptr || message->qos() == QoS::ExactlyOnce);
  const bool goes = has_room && s.queued() == 0 && !stored_first && window_open(c, d);
  if (!goes || !d.inflight.has_free_id(d.next_number)) {
    const Outcome outcome = enqueue(sid, s, message, terms, now);
    if (goes) pump(sid, s, now);  // under another identifier
    return outcome;
  }
  Delivery delivery{message, terms};
  if (s.durable) {
    delivery.number = d.next_number++;
    delivery.stored = true;
    emit(Enqueue{s.key, delivery.number, message, terms});
  }
  launch(sid, s, c, std::move(delivery), now);
  return Outcome::Taken;
}

bool Shard::launch(SessionId /*sid*/, Session& s, Connection& c, Delivery&& delivery, base::Instant now) {
  DeliveryState& d = *s.delivery;
  if (delivery.number == 0) delivery.number = d.next_number++;
  Inflight::Entry& entry = d.inflight.add(std::move(delivery));
  d.inflight.set_resent(d.inflight.size());
  ++stats_.inflight_messages;
  const bool dup = entry.delivery.number < d.sent_below;
  d.sent_below = std::max(d.sent_below, entry.delivery.number + 1);
  d.inflight.sent(entry);
  const mqtt::PacketId packet_id = entry.packet_id;
  if (entry.delivery.released) {
    entry.state = Inflight::State::Released;
    send_pubrel(s.connection, c, packet_id, entry.delivery.needs);
    return true;
  }
  const Delivery& sent = entry.delivery;
  if (send_publish(s.connection, c, sent.message, sent.terms, packet_id, dup, now) == Sent::Yes) return true;
  dequeued(s, sent, false);
  d.inflight.erase(entry);
  --stats_.inflight_messages;
  return false;
}

// Only when the store knows that the client has the message: after a restart it must not be sent again.
void Shard::send_pubrel(ConnectionId id, Connection& c, mqtt::PacketId packet_id, std::uint64_t needs) {
  if (needs <= stored_) {
    send_ack(id, c, PacketType::PubRel, packet_id, ReasonCode::Success);
    return;
  }
  const std::array<std::uint8_t, 4> packet = {0x62, 0x02, static_cast<std::uint8_t>(packet_id >> 8U),
                                              static_cast<std::uint8_t>(packet_id & 0xFFU)};
  answer_when_stored(id, c, needs, packet);
}

// Removes expired messages. Not more often than sweep_every: it costs the length of the queue.
void Shard::drop_expired(SessionId sid, Session& s, base::Instant now) {
  DeliveryState& d = *s.delivery;
  if (now < d.next_sweep || d.tail.sweeping) return;
  const bool on_disk = d.tail.messages > 0 && !d.tail.loading && d.expiring.expired(now).messages > 0;
  if (on_disk) {
    d.tail.sweeping = true;
    batch().sweeps.push_back({sid, s.key, d.tail.from, d.sent_below});
  }
  d.next_sweep = now + d.sweep_every;
  const std::size_t before = d.queue.size();
  drop_queued(s, [&](const Delivery& waiting) {
    if (waiting.needs == kPending || !d.expired(waiting, now)) return false;
    ++stats_.publish_expired;
    return true;
  });
  // If part of the queue is on disk, the store's answer decides: swept().
  if (!on_disk) swept_some(d, d.queue.size() < before, now);
}

// A message that may have been sent at QoS 2 stays although it has expired. A sweep that found nothing else is repeated
// more rarely.
void Shard::swept_some(DeliveryState& d, bool found, base::Instant now) {
  constexpr base::Duration kMostRarely = base::seconds(64);
  d.sweep_every = found ? base::seconds(1) : std::min(2 * d.sweep_every, kMostRarely);
  d.next_sweep = now + d.sweep_every;
}

// While the client is away nobody else would look for what has expired.
void Shard::arm_sweep(SessionId sid, Session& s) {
  if (!s.delivery || s.connected()) return;
  DeliveryState& d = *s.delivery;
  if (d.expiring.empty() || d.tail.sweeping) return;
  const base::Instant due = std::max(d.expiring.earliest(), d.next_sweep);
  if (d.sweep_timer && d.sweep_due <= due) return;
  stop(d.sweep_timer);
  d.sweep_timer = arm(due, TimerKind::Sweep, sid.value());
  d.sweep_due = due;
}

void Shard::sweep_timer(SessionId sid, base::Instant now) {
  Session* s = sessions_.find(sid);
  if (s == nullptr || !s->delivery) return;
  s->delivery->sweep_timer = {};
  if (s->connected()) return;
  drop_expired(sid, *s, now);
  arm_sweep(sid, *s);
}

bool Shard::queue_has_room(const DeliveryState& d, std::size_t size, bool retained_at_subscribe,
                           base::Instant now) const {
  // What a new subscription is owed at once is bounded by how much is retained, however often it is asked for.
  if (retained_at_subscribe)
    return d.retained_waiting < std::max<std::size_t>(limits().max_queued_messages, retained_.count());
  const std::size_t messages = d.queue.size() - d.retained_waiting + d.tail.messages;
  const std::uint64_t bytes = d.queued_bytes + d.tail.bytes + size;
  if (messages < limits().max_queued_messages && bytes <= limits().max_queued_bytes) return true;
  // Expired messages do not count; until they are removed there may be as many of them as of others.
  const ExpiryCounts::Sum expired = d.expiring.expired(now);
  return messages < 2 * std::size_t{limits().max_queued_messages} && bytes <= 2 * limits().max_queued_bytes &&
         messages - std::min<std::uint64_t>(messages, expired.messages) < limits().max_queued_messages &&
         bytes - std::min(bytes, expired.bytes) <= limits().max_queued_bytes;
}

Outcome Shard::enqueue(SessionId sid, Session& s, const MessagePtr& message, const Terms& terms, base::Instant now) {
  DeliveryState& d = delivery_of(s);
  const std::size_t messages = d.queue.size() - d.retained_waiting + d.tail.messages;
  const bool full = messages >= limits().max_queued_messages ||
                    d.queued_bytes + d.tail.bytes + message->size() > limits().max_queued_bytes;
  if (full) drop_expired(sid, s, now);
  if (!queue_has_room(d, message->size(), terms.retained_at_subscribe, now)) {
    ++stats_.publish_dropped;
    if (!s.overflow_logged) {
      s.overflow_logged = true;
      log(LogLevel::Warn, "queue_full",
          fmt::format("Queue of client {} is full ({} messages, {} bytes): further messages for it are dropped "
                      "(session.max_queued_messages, session.max_queued_bytes).",
                      printable(s.client_id), s.queued(), d.queued_bytes + d.tail.bytes),
          {{"clientId", s.client_id.str()}});
    }
    return Outcome::Dropped;
  }
  ++stats_.queued_messages;
  Delivery delivery{message, terms};
  if (s.durable && terms.qos != QoS::AtMostOnce) {
    delivery.number = d.next_number++;
    delivery.stored = true;
    emit(Enqueue{s.key, delivery.number, message, terms});
    if (sink_ != nullptr || message->qos() == QoS::ExactlyOnce || terms.retained_at_subscribe) delivery.needs = needs();
    wait_for_store(sid, delivery);
    if (belongs_on_disk(s, delivery)) {
      stats_.queued_bytes += message->size();
      append_to_tail(d.tail, delivery);
      d.expiring.add(message->expires(), message->size());
      arm_sweep(sid, s);
      return Outcome::Taken;
    }
  }
  if (!terms.retained_at_subscribe) {
    d.queued_bytes += message->size();
    stats_.queued_bytes += message->size();
    d.expiring.add(message->expires(), message->size());
    arm_sweep(sid, s);
  } else {
    ++d.retained_waiting;
  }
  if (terms.qos == QoS::AtMostOnce) {
    ++d.unnumbered_waiting;
    // Behind the SUBACK, which waits for the store.
    if (s.durable && terms.retained_at_subscribe) delivery.needs = last_batch_;
    wait_for_store(sid, delivery);
  }
  d.queue.push_back(std::move(delivery));
  return Outcome::Taken;
}

void Shard::unqueue(Session& s, const Delivery& delivery) {
  --stats_.queued_messages;
  if (delivery.terms.qos == QoS::AtMostOnce) --s.delivery->unnumbered_waiting;
  if (delivery.terms.retained_at_subscribe) {
    --s.delivery->retained_waiting;
    return;
  }
  if (!delivery.message) return;
  s.delivery->queued_bytes -= delivery.message->size();
  stats_.queued_bytes -= delivery.message->size();
  s.delivery->expiring.remove(delivery.message->expires(), delivery.message->size());
}

// Chooses a packet identifier for the message that goes next, where an unacknowledged one still uses that of its
// number. False if the message has to wait: after a restart it must go under the same identifier, so the store has to
// know it.
bool Shard::identify(SessionId sid, Session& s, Delivery& next) {
  DeliveryState& d = *s.delivery;
  const bool known = next.packet_id != 0;
  if (known ? d.inflight.is_free(next.packet_id)
            : d.inflight.has_free_id(next.number != 0 ? next.number : d.next_number)) {
    return true;
  }
  next.packet_id = d.inflight.free_id();
  if (!next.stored) return true;
  emit(PutPacketId{s.key, next.number, next.packet_id});
  next.needs = needs();
  wait_for_store(sid, next);
  return next.needs <= stored_;
}

void Shard::pump(SessionId sid, Session& s, base::Instant now) {
  if (!s.connected() || !s.delivery) return;
  Connection& c = connections_.at(s.connection);
  DeliveryState& d = *s.delivery;
  // What an earlier connection left unacknowledged comes first, in its order and with its identifiers
  // [MQTT-4.4.0-1, 4.6.0-1].
  const std::size_t window = std::min(c.receive_maximum, limits().max_inflight);
  while (d.inflight.resent() < d.inflight.size()) {
    const std::size_t i = d.inflight.resent();
    Inflight::Entry& entry = d.inflight[i];
    // A released one has been told so by resume().
    if (entry.state == Inflight::State::Published) {
      if (d.inflight.in_window() >= window) return;
      if (!room(c)) {
        c.blocked = true;
        return;
      }
      const bool dup = entry.sent_before;
      d.inflight.sent(entry);
      if (send_publish(s.connection, c, entry.delivery.message, entry.delivery.terms, entry.packet_id, dup, now) ==
          Sent::TooLarge) {
        dequeued(s, entry.delivery, false);
        d.inflight.erase_at(i);
        --stats_.inflight_messages;
        continue;
      }
    }
    d.inflight.set_resent(i + 1);
  }
  while (!d.queue.empty()) {
    Delivery& front = d.queue.front();
    if (front.needs > stored_) return;
    const bool numbered = front.terms.qos != QoS::AtMostOnce;
    const bool expired = d.expired(front, now);
    if (!expired) {
      if (!room(c)) {
        c.blocked = true;
        return;
      }
      if (numbered && (!window_open(c, d) || !identify(sid, s, front))) return;
    }
    unqueue(s, front);
    Delivery delivery = std::move(front);
    d.queue.pop_front();
    if (expired) {
      dequeued(s, delivery, false);
      ++stats_.publish_expired;
    } else if (!numbered) {
      send_publish(s.connection, c, delivery.message, delivery.terms, 0, false, now);
    } else {
      launch(sid, s, c, std::move(delivery), now);
    }
  }
  load_more(sid, s);
}

// A new connection: everything unacknowledged is to be sent again. PUBREL needs no room in the window and goes at once.
void Shard::resume(Session& s) {
  if (!s.delivery) return;
  Inflight& inflight = s.delivery->inflight;
  inflight.new_connection();
  Connection& c = connections_.at(s.connection);
  for (std::size_t i = 0; i < inflight.size(); ++i) {
    if (inflight[i].state == Inflight::State::Released) {
      send_pubrel(s.connection, c, inflight[i].packet_id, inflight[i].delivery.needs);
    }
  }
}

// A packet larger than the client takes is not sent, and counts as delivered [MQTT-3.1.2-25].
Shard::Sent Shard::send_publish(ConnectionId id, Connection& c, const MessagePtr& message, const Terms& terms,
                                mqtt::PacketId packet_id, bool dup, base::Instant now) {
  const Message& m = *message;
  const bool v5 = c.version == Version::V5;
  std::string_view topic = m.topic();
  std::size_t properties = 0;
  if (v5) {
    for (const std::uint32_t sid : terms.subscription_ids) properties += 1 + mqtt::varint_size(sid);
    if (!m.expires().is_never()) properties += 5;
    properties += m.properties().size();
  }
  const auto remaining_with = [&](std::size_t topic_size, std::size_t properties_size) {
    return 2 + topic_size + (packet_id != 0 ? 2 : 0) +
           (v5 ? mqtt::varint_size(static_cast<std::uint32_t>(properties_size)) + properties_size : 0) +
           m.payload().size();
  };
  const auto fits = [&](std::size_t remaining_size) {
    const std::size_t size = 1 + mqtt::varint_size(static_cast<std::uint32_t>(remaining_size)) + remaining_size;
    return remaining_size <= mqtt::kMaxRemainingLength && (c.maximum_packet_size == 0 || size <= c.maximum_packet_size);
  };
  std::optional<OutboundAliases::Use> alias;
  if (c.topic_alias_maximum > 0) {
    alias = c.with_extras().aliases_out.find(topic, c.topic_alias_maximum);
    constexpr std::size_t kAliasSize = 3;
    // Not where it would make the packet too large for the client.
    if (alias && !fits(remaining_with(alias->known ? 0 : topic.size(), properties + kAliasSize))) alias.reset();
    if (alias) properties += kAliasSize;
    if (alias && alias->known) topic = {};
  }
  const std::size_t remaining = remaining_with(topic.size(), properties);
  if (!fits(remaining)) {
    ++stats_.publish_dropped;
    return Sent::TooLarge;
  }
  const bool shared = m.payload().size() >= kSharedPayload;
  const std::size_t copied =
      1 + mqtt::varint_size(static_cast<std::uint32_t>(remaining)) + remaining - (shared ? m.payload().size() : 0);
  Outbox& outbox = outbox_of(id, c);
  std::uint8_t* const room = shared ? outbox.add_frame(copied, message, m.payload()) : outbox.add_frame(copied);
  Pen out{room};
  out.u8(0x30U | (dup ? 0x08U : 0U) | static_cast<unsigned>(terms.qos) << 1U | (terms.retain ? 1U : 0U));
  out.varint(static_cast<std::uint32_t>(remaining));
  out.u16(topic.size());
  out.bytes(base::as_bytes(topic));
  if (packet_id != 0) out.u16(packet_id);
  if (v5) {
    out.varint(static_cast<std::uint32_t>(properties));
    if (!m.expires().is_never()) {
      out.u8(kMessageExpiryInterval);
      out.u32(seconds_left(m, now));
    }
    if (alias) {
      out.u8(kTopicAlias);
      out.u16(alias->alias);
      if (!alias->known) c.extras->aliases_out.set(m.topic(), alias->alias);
    }
    for (const std::uint32_t sid : terms.subscription_ids) {
      out.u8(kSubscriptionIdentifier);
      out.varint(sid);
    }
    out.bytes(m.properties());
  }
  if (!shared) out.bytes(m.payload());
  CHECK(out.at == room + copied);
  if (logs(LogLevel::Trace)) {
    std::vector<std::uint8_t> packet(room, room + copied);
    if (shared) packet.insert(packet.end(), m.payload().begin(), m.payload().end());
    trace_sent(c, packet, m.topic());
  }
  count(c, &Connection::packets_sent, 1);
  ++stats_.messages_sent;
  ++stats_.publish_sent;
  stats_.publish_bytes_sent += m.payload().size();
  return Sent::Yes;
}

Shard::Step Shard::client_ack(ConnectionId id, Connection& c, const mqtt::Ack& packet, base::Instant now) {
  Session& s = sessions_.at(c.session);
  Inflight::Entry* entry = s.delivery ? s.delivery->inflight.find(packet.packet_id) : nullptr;
  const auto illegal = [](std::string_view detail) {
    return std::unexpected(
        Departure{.cause = DisconnectReason::ProtocolError, .field = "Packet Identifier", .detail = detail});
  };
  bool done = false;
  switch (packet.type) {
    case PacketType::PubAck:
      if (entry == nullptr) return {};
      if (entry->delivery.terms.qos != QoS::AtLeastOnce) return illegal("PUBACK for a QoS 2 message");
      done = true;
      break;
    case PacketType::PubRec:
      if (entry == nullptr) {
        if (!mqtt::is_failure(packet.reason))
          send_ack(id, c, PacketType::PubRel, packet.packet_id, ReasonCode::PacketIdentifierNotFound);
        return {};
      }
      if (entry->delivery.terms.qos != QoS::ExactlyOnce) return illegal("PUBREC for a QoS 1 message");
      if (mqtt::is_failure(packet.reason)) {
        done = true;
        break;
      }
      if (entry->state != Inflight::State::Released && entry->delivery.stored) {
        emit(Release{s.key, entry->delivery.number, entry->delivery.message->position(), entry->delivery.kept});
        entry->delivery.needs = last_batch_;
      }
      entry->state = Inflight::State::Released;
      entry->delivery.message = {};
      send_pubrel(id, c, packet.packet_id, entry->delivery.needs);
      return {};
    case PacketType::PubComp:
      if (entry == nullptr) return {};
      if (entry->state != Inflight::State::Released) return illegal("PUBCOMP before PUBREC");
      done = true;
      break;
    default: break;
  }
  if (done) {
    dequeued(s, entry->delivery, entry->state == Inflight::State::Released);
    s.delivery->inflight.erase(*entry);
    --stats_.inflight_messages;
    pump(c.session, s, now);
  }
  return {};
}

// Messages of a share group that a member holds unacknowledged go to another: those of QoS 1, and what was not sent
// yet. QoS 2 under way stays with its session [MQTT-4.8.2-4], and dies with it [MQTT-4.8.2-5].
void Shard::redistribute(Session& s, bool session_gone, base::Instant now) {
  if (!s.delivery) return;
  DeliveryState& d = *s.delivery;
  const auto group_of = [&](std::uint32_t number) -> topics::InterestIndex::Group* {
    const OwnSubscription* own = s.find_subscription(number);
    if (own == nullptr) return nullptr;
    const auto filter = mqtt::TopicFilter::parse(own->text);
    return interest_.find_group(filter->group, filter->filter);
  };
  const auto somebody_else = [&](const topics::InterestIndex::Group& group) {
    for (unsigned target = 0; target < setup_.shards; ++target) {
      const auto members = group.at(target);
      if (members.connected > 0 || (session_gone && members.members > 0)) return true;
    }
    return false;
  };
  std::vector<std::pair<topics::InterestIndex::Group*, MessagePtr>> moved;
  const auto taken_away = [&](const Delivery& delivery) {
    topics::InterestIndex::Group* group = delivery.terms.share != 0 ? group_of(delivery.terms.share) : nullptr;
    if (group == nullptr || !delivery.message || delivery.needs == kPending || !somebody_else(*group)) return false;
    // (In the queue after a crash: perhaps sent before.)
    if (delivery.terms.qos == QoS::ExactlyOnce && delivery.number != 0 && delivery.number < d.sent_below) return false;
    if (!delivery.message->expired(now)) moved.emplace_back(group, delivery.message);
    return true;
  };
  stats_.inflight_messages -= d.inflight.erase_if([&](const Inflight::Entry& entry) {
    if (entry.delivery.terms.qos != QoS::AtLeastOnce || !taken_away(entry.delivery)) return false;
    dequeued(s, entry.delivery, false);
    return true;
  });
  drop_queued(s, taken_away);
  for (auto& [group, message] : moved) {
    if (const SharePlace place = share_out(*group, {}, message, now); place.elsewhere) {
      PublishMail mail;
      mail.message = message;
      if (sink_ != nullptr) {
        mail.receipt.joint = sink_->id;
        ++sink_->waiting;
      }
      mail.shares.push_back({std::string(group->group()), std::string(group->filter())});
      post(*place.elsewhere, std::move(mail));
    }
  }
}

}  // namespace vigil::broker
