// PUBLISH and PUBREL from clients, and the way of a message to whoever wants it: where (interest), then who
// (subscriptions).
#include <fmt/format.h>

#include "broker/shard.h"

namespace vigil::broker {
namespace {

using mqtt::PacketType;
using mqtt::Property;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Version;

Departure illegal(ReasonCode code, std::string_view field, std::string_view detail) {
  return {.cause = DisconnectReason::ProtocolError, .code = code, .field = field, .detail = detail};
}

// Presence: only for those who may read it.
bool speaks_of_clients(const Message& message) {
  return message.publisher() == Publisher{} && message.topic().starts_with("$SYS/clients/");
}

constexpr std::string_view kClients = "$SYS/clients/";
constexpr std::string_view kState = "/state";

// The client id in `$SYS/clients/<id>/state`, as a topic level; empty if it is another topic.
std::string_view state_level(std::string_view topic) {
  if (!topic.starts_with(kClients) || !topic.ends_with(kState) || topic.size() <= kClients.size() + kState.size())
    return {};
  const std::string_view level = topic.substr(kClients.size(), topic.size() - kClients.size() - kState.size());
  return level.contains('/') ? std::string_view() : level;
}

// As the retained message that it looks like is cleared [MQTT-3.3.1-6].
bool clears_a_state(const mqtt::Publish& packet) {
  return packet.retain && packet.payload.empty() && !state_level(packet.topic).empty();
}

}  // namespace

Shard::Step Shard::publish(ConnectionId id, Connection& c, mqtt::Publish& packet, base::Instant now) {
  ++stats_.publish_received;
  stats_.publish_bytes_received += packet.payload.size();
  Session& s = sessions_.at(c.session);
  if (const auto alias = packet.properties.number(Property::TopicAlias)) {
    if (*alias == 0 || *alias > limits().topic_alias_maximum) {
      return std::unexpected(
          illegal(ReasonCode::TopicAliasInvalid, "Topic Alias", "above the Topic Alias Maximum of the broker"));
    }
    InboundAliases& aliases = c.with_extras().aliases_in;
    const auto number = static_cast<std::uint16_t>(*alias);
    if (packet.topic.empty()) {
      packet.topic = aliases.topic(number);
      if (packet.topic.empty())
        return std::unexpected(illegal(ReasonCode::ProtocolError, "Topic Alias", "was never set on this connection"));
    } else {
      aliases.set(number, packet.topic);
    }
  }
  if (static_cast<std::uint8_t>(packet.qos) > limits().maximum_qos) {
    return std::unexpected(
        illegal(ReasonCode::QoSNotSupported, "QoS", "above the Maximum QoS of the broker: mqtt.maximum_qos"));
  }
  if (packet.retain && !limits().retain_available) {
    return std::unexpected(
        illegal(ReasonCode::RetainNotSupported, "RETAIN", "retained messages are switched off: mqtt.retain_available"));
  }
  const bool acked = packet.qos != QoS::AtMostOnce;
  const bool exactly_once = packet.qos == QoS::ExactlyOnce;
  const bool duplicate = exactly_once && s.has_unreleased(packet.packet_id);
  if (acked && c.version == Version::V5 && !c.has_unreleased(packet.packet_id) &&
      c.acks.pubacks() + c.unreleased() >= limits().receive_maximum) {
    return std::unexpected(illegal(ReasonCode::ReceiveMaximumExceeded, "Packet Identifier",
                                   "more unacknowledged messages than the Receive Maximum"));
  }
  AckQueue::Entry answer{.type = exactly_once ? PacketType::PubRec : PacketType::PubAck, .packet_id = packet.packet_id};
  if (exactly_once) c.with_extras().unreleased.insert(packet.packet_id);
  if (duplicate) {
    // It has been passed on already; only the answer was lost, or waits for the store [MQTT-4.3.3-10].
    answer.outcome = Outcome::Taken;
    answer.needs = s.durable ? last_batch_ : 0;
    if (Joint* joint = joint_of(c.session, packet.packet_id); joint != nullptr) {
      answer.outcome = joint->outcome;
      answer.waiting = 1;
      joint->acks.emplace_back(id, c.acks.next_sequence());
    }
    acknowledge(id, c, answer);
    return {};
  }
  const bool allowed = may_publish({s.client_id, s.user_name(), c.loopback}, packet.topic);
  // (As many levels as it has bytes, and one.)
  const bool too_deep =
      packet.topic.size() >= limits().max_topic_levels && mqtt::topic_levels(packet.topic) > limits().max_topic_levels;
  if (!allowed && s.may_read_clients && limits().sys_clients_enabled && clears_a_state(packet))
    return forget_asked(id, c, packet, answer, now);
  if (!allowed || too_deep) {
    log_not_published(c, packet.topic, allowed ? ReasonCode::TopicNameInvalid : ReasonCode::NotAuthorized, now);
    ++stats_.publish_dropped;
    answer.outcome = Outcome::Taken;
    // A 3.x client cannot be told. It is not to believe that the message is on its way, so its connection ends, unless
    // the configuration has such messages acknowledged; the standard allows both [MQTT3-3.3.5-2].
    if (acked && c.version != Version::V5 && limits().v3_denied == V3Denied::Disconnect) {
      return std::unexpected(Departure{
          .cause = allowed ? DisconnectReason::ProtocolError : DisconnectReason::NotAuthorized,
          .field = "Topic Name",
          .detail = allowed ? "more levels than limits.max_topic_levels" : "this client may not publish there"});
    }
    if (c.version == Version::V5) answer.reason = allowed ? ReasonCode::TopicNameInvalid : ReasonCode::NotAuthorized;
    if (exactly_once && c.version != Version::V5) answer.needs = take_exactly_once(s, packet.packet_id);
    if (c.version == Version::V5) c.release(packet.packet_id);  // a PUBREC with a failure ends it
    if (acked) acknowledge(id, c, answer);
    return {};
  }

  Message::Spec spec;
  spec.topic = packet.topic;
  spec.payload = packet.payload;
  spec.qos = packet.qos;
  spec.retain = packet.retain;
  spec.publisher = s.self;
  spec.position = next_position(now);
  std::uint32_t expiry_s = limits().max_message_expiry_s;
  bool expires = expiry_s > 0;
  if (!packet.raw_properties.empty()) {
    if (const auto asked = packet.properties.number(Property::MessageExpiryInterval)) {
      expiry_s = expires ? std::min(expiry_s, *asked) : *asked;
      expires = true;
    }
    // The rest is passed on unaltered [MQTT-3.3.2-4, -15, -16, -17, -18, -20].
    packet.properties.clear(Property::MessageExpiryInterval);
    packet.properties.clear(Property::TopicAlias);
    scratch_.clear();
    mqtt::encode_properties(scratch_, packet.properties);
    spec.properties = scratch_;
  }
  if (expires) spec.expires = now + base::seconds(expiry_s);

  const ReceiptToken token =
      acked ? ReceiptToken{.connection = id, .sequence = c.acks.next_sequence()} : ReceiptToken{};
  const std::uint64_t emitted_before = emitted_;
  // That it was taken and where it went is stored as one: else the client's second try would be passed on again, or
  // the first be lost.
  JointScope scope(*this, exactly_once && s.durable && setup_.shards > 1);
  const Routed routed = route(Message::make(spec), token, now);
  if (routed.outcome == Outcome::NoSubscriber && logs(LogLevel::Debug)) log_nobody(c, packet.topic, packet.retain);
  if (!acked) return {};
  // A 5.0 client whose message nobody had room for is told at once, and may use the identifier for another.
  const bool refused = c.version == Version::V5 && routed.outcome == Outcome::Dropped && routed.waiting == 0 &&
                       (sink_ == nullptr || sink_->waiting == 0);
  if (exactly_once && refused) {
    c.release(packet.packet_id);
    answer.given_back = true;
  } else if (exactly_once) {
    take_exactly_once(s, packet.packet_id);
  }
  answer.outcome = routed.outcome;
  answer.waiting = routed.waiting;
  if (const JointId joint = scope.close(); joint != 0) {
    Joint& waits = joints_.at(joint);
    waits.publisher = c.session;
    waits.packet_id = packet.packet_id;
    waits.outcome = routed.outcome;
    waits.refusable = c.version == Version::V5;
    waits.acks.emplace_back(id, token.sequence);
    answer.waiting = 1;
  } else if (emitted_ != emitted_before) {
    answer.needs = last_batch_;
  }
  acknowledge(id, c, answer);
  return {};
}

// Clears the state of a client as one clears a retained message, to have the client forgotten.
Shard::Step Shard::forget_asked(ConnectionId id, Connection& c, const mqtt::Publish& packet, AckQueue::Entry answer,
                                base::Instant now) {
  Session& s = sessions_.at(c.session);
  const std::string client_id = client_id_of(state_level(packet.topic));
  const ShardId home = ShardCore::home_of(client_id, setup_.shards);
  const bool acked = packet.qos != QoS::AtMostOnce;
  answer.outcome = Outcome::Taken;
  // Asked twice is as good as asked once. But PUBREL will ask for the identifier.
  if (answer.type == PacketType::PubRec) answer.needs = take_exactly_once(s, packet.packet_id);
  if (home != setup_.id) {
    const ReceiptToken token =
        acked ? ReceiptToken{.connection = id, .sequence = c.acks.next_sequence()} : ReceiptToken{};
    post(home, ForgetMail{.client_id = base::Text(client_id), .asked_by = s.client_id, .receipt = token});
    answer.waiting = 1;
  } else {
    answer.reason = forget(client_id, s.client_id, now);
    if (answer.reason == ReasonCode::Success) answer.needs = setup_.durable ? last_batch_ : 0;
  }
  if (acked) acknowledge(id, c, answer);
  return {};
}

// The client will not send this message again under another identifier [MQTT-4.3.3-10]. What must be stored before it
// is told so.
std::uint64_t Shard::take_exactly_once(Session& s, mqtt::PacketId packet_id) {
  s.with_extras().unreleased.insert(packet_id);
  if (!s.durable) return 0;
  emit(PutUnreleased{s.key, packet_id});
  return needs();
}

Shard::Step Shard::pubrel(ConnectionId id, Connection& c, const mqtt::Ack& packet) {
  Session& s = sessions_.at(c.session);
  const bool known = s.extras && s.extras->unreleased.erase(packet.packet_id) > 0;
  c.release(packet.packet_id);
  AckQueue::Entry answer{.type = PacketType::PubComp, .packet_id = packet.packet_id, .outcome = Outcome::Taken};
  if (!known) answer.reason = ReasonCode::PacketIdentifierNotFound;
  if (s.durable) {
    // After PUBCOMP the client may use the identifier for another message, which must not be taken for this one.
    if (known) emit(DropUnreleased{s.key, packet.packet_id});
    answer.needs = last_batch_;
  }
  acknowledge(id, c, answer);
  return {};
}

// Sends an acknowledgement, or lines it up behind those that still wait.
void Shard::acknowledge(ConnectionId id, Connection& c, const AckQueue::Entry& entry) {
  const bool may_be_refused =
      entry.type == PacketType::PubRec && (entry.outcome == Outcome::Dropped || mqtt::is_failure(entry.reason));
  if (c.acks.empty() && entry.waiting == 0 && entry.needs <= stored_ && !may_be_refused) {
    c.acks.pass();
    send_answer(id, c, entry);
    return;
  }
  c.acks.push(entry);
  look_at_owed(c);
  if (entry.needs > stored_ &&
      (ack_waits_.empty() || ack_waits_.back().needs != entry.needs || ack_waits_.back().connection != id)) {
    ack_waits_.push_back({entry.needs, id});
  }
  settle_acks(id, c);
}

void Shard::settle_acks(ConnectionId id, Connection& c) {
  for (AckQueue::Entry* ready = c.acks.ready(stored_); ready != nullptr; ready = c.acks.ready(stored_)) {
    if (!give_back(id, c, *ready)) break;
    send_answer(id, c, c.acks.pop());
  }
  if (c.owed_much) resume_if_owed_less(id, c);
}

// A PUBREC that refuses a message ends its flow: the client may use the identifier for another one at once. So the
// store has to know first. False if the answer waits for that.
bool Shard::give_back(ConnectionId id, Connection& c, AckQueue::Entry& entry) {
  if (entry.type != PacketType::PubRec || c.version != Version::V5 || entry.given_back) return true;
  if (entry.outcome != Outcome::Dropped && !mqtt::is_failure(entry.reason)) return true;
  entry.given_back = true;
  Session& s = sessions_.at(c.session);
  c.release(entry.packet_id);
  const bool known = s.extras && s.extras->unreleased.erase(entry.packet_id) > 0;
  if (!known || !s.durable) return true;
  emit(DropUnreleased{s.key, entry.packet_id});
  entry.needs = last_batch_;
  ack_waits_.push_back({last_batch_, id});
  return false;
}

void Shard::send_answer(ConnectionId id, Connection& c, const AckQueue::Entry& entry) {
  ReasonCode reason = entry.reason;
  const bool answers_publish = entry.type == PacketType::PubAck || entry.type == PacketType::PubRec;
  if (answers_publish && reason == ReasonCode::Success) {
    if (entry.outcome == Outcome::NoSubscriber) reason = ReasonCode::NoMatchingSubscribers;
    if (entry.outcome == Outcome::Dropped) reason = ReasonCode::QuotaExceeded;
  }
  send_ack(id, c, entry.type, entry.packet_id, reason);
}

void Shard::send_ack(ConnectionId id, Connection& c, PacketType type, mqtt::PacketId packet_id, ReasonCode reason) {
  auto& out = control_lane(id, c);
  // The first byte is the type and PUBREL's fixed flags. A reason other than Success is said to 5.0 clients only.
  const bool with_reason = c.version == Version::V5 && reason != ReasonCode::Success;
  const std::uint8_t flags = type == PacketType::PubRel ? 0x02 : 0x00;
  out.push_back(static_cast<std::uint8_t>(static_cast<unsigned>(type) << 4U | flags));
  out.push_back(with_reason ? 3 : 2);
  out.push_back(static_cast<std::uint8_t>(packet_id >> 8U));
  out.push_back(static_cast<std::uint8_t>(packet_id & 0xFFU));
  if (with_reason) out.push_back(static_cast<std::uint8_t>(reason));
  if (logs(LogLevel::Trace))
    trace(c, "to",
          mqtt::Ack{.type = type, .packet_id = packet_id, .reason = with_reason ? reason : ReasonCode::Success});
}

Position Shard::next_position(base::Instant now) {
  // Time as well as order: what shards give out at the same time is about equal.
  const auto passed = static_cast<std::uint64_t>((now - start_).count());
  last_sequence_ = std::max(last_sequence_ + 1, setup_.first_position + passed);
  return {last_sequence_, setup_.id};
}

MessagePtr Shard::broker_message(std::string_view topic, std::string_view payload, bool retain) {
  Message::Spec spec;
  spec.topic = topic;
  spec.payload = base::as_bytes(payload);
  spec.retain = retain;
  return Message::make(spec);
}

Shard::Routed Shard::route(const MessagePtr& message, const ReceiptToken& token, base::Instant now) {
  Routed routed;
  if (message->retain()) retain(message, now);
  routed.outcome = route_here(message, now);

  ShardMask wanted;
  boost::container::small_vector<std::pair<ShardId, SharePick>, 2> picks;
  if (!interest_.empty()) {
    const auto interest = interest_.match(message->topic());
    wanted = ShardMask::from_bits(interest.targets);
    for (topics::InterestIndex::Group* group : interest.groups) {
      const SharePlace place = share_out(*group, {}, message, now);
      routed.outcome = best(routed.outcome, place.here);
      if (place.elsewhere) {
        picks.push_back({*place.elsewhere, {std::string(group->group()), std::string(group->filter())}});
      }
    }
  }
  if (setup_.shards == 1) return routed;
  ShardMask addressed = wanted;
  for (const auto& [target, pick] : picks) addressed.add(target);
  if (message->retain()) addressed = ShardMask::first(setup_.shards);
  addressed.remove(setup_.id);
  addressed.for_each([&](ShardId to) {
    PublishMail mail;
    mail.message = message;
    mail.at_once = message->expired(now);
    // A retained message goes to everybody: a subscription that we do not know of yet finds it there.
    mail.plain = message->retain() || wanted.has(to);
    for (auto& [target, pick] : picks) {
      if (target == to) mail.shares.push_back(std::move(pick));
    }
    // A retained message that is lost stays wrong, whatever its QoS: a will of QoS 0 says "offline" for good.
    if (sink_ != nullptr && (message->qos() != QoS::AtMostOnce || message->retain())) {
      mail.receipt.joint = sink_->id;
      ++sink_->waiting;
    } else if (token.wanted()) {
      mail.receipt = token;
      ++routed.waiting;
    }
    post(to, std::move(mail));
  });
  return routed;
}

Outcome Shard::route_here(const MessagePtr& message, base::Instant now) {
  const auto matches = subscriptions_.match(message->topic());
  if (matches.plain.empty()) return Outcome::NoSubscriber;
  Outcome outcome = Outcome::NoSubscriber;
  const bool restricted = speaks_of_clients(*message);
  const auto receives = [&](const topics::Subscription& subscription, const Session* s) {
    if (s == nullptr || (restricted && !s->may_read_clients)) return false;
    return !(subscription.options.no_local && message->publisher() == s->self);
  };
  if (matches.plain.size() == 1) {
    Terms terms;
    for (const topics::Subscription& subscription : matches.plain.front()) {
      const SessionId sid = SessionId::from_value(subscription.subscriber);
      Session* s = sessions_.find(sid);
      if (!receives(subscription, s)) continue;
      terms.qos = std::min(message->qos(), subscription.options.qos);
      terms.retain = message->retain() && subscription.options.retain_as_published;
      terms.subscription_ids.clear();
      if (subscription.subscription_id != 0) terms.subscription_ids.push_back(subscription.subscription_id);
      outcome = best(outcome, deliver(sid, *s, message, terms, now));
    }
    return outcome;
  }
  // Several filters: a session that holds more than one of them gets one copy, with the highest QoS and all identifiers
  // [MQTT-3.3.4-2, -4].
  receivers_.clear();
  for (const auto& subscriptions : matches.plain) {
    for (const topics::Subscription& subscription : subscriptions) {
      const SessionId sid = SessionId::from_value(subscription.subscriber);
      Session* s = sessions_.find(sid);
      if (!receives(subscription, s)) continue;
      if (s->match_index >= receivers_.size() || receivers_[s->match_index].session != sid) {
        s->match_index = static_cast<std::uint32_t>(receivers_.size());
        receivers_.push_back({sid, {}});
      }
      Terms& terms = receivers_[s->match_index].terms;
      terms.qos = std::max(terms.qos, std::min(message->qos(), subscription.options.qos));
      terms.retain |= message->retain() && subscription.options.retain_as_published;
      if (subscription.subscription_id != 0) terms.subscription_ids.push_back(subscription.subscription_id);
    }
  }
  for (const Receiver& receiver : receivers_) {
    outcome = best(outcome, deliver(receiver.session, sessions_.at(receiver.session), message, receiver.terms, now));
  }
  return outcome;
}

Shard::SharePlace Shard::share_out(topics::InterestIndex::Group& group, ShardMask exclude, const MessagePtr& message,
                                   base::Instant now) {
  while (const auto target = group.next(exclude.bits())) {
    if (*target != setup_.id) return {.elsewhere = static_cast<ShardId>(*target)};
    if (const auto here = share_here(group.group(), group.filter(), message, now)) return {.here = *here};
    exclude.add(*target);
  }
  return {};
}

// One member of a share group on this shard gets the message: one that can take it now before one that must wait,
// before one that is away.
std::optional<Outcome> Shard::share_here(std::string_view group_name, std::string_view filter,
                                         const MessagePtr& message, base::Instant now) {
  topics::ShareGroup* group = subscriptions_.find_group(group_name, filter);
  if (group == nullptr) return std::nullopt;
  const bool restricted = speaks_of_clients(*message);
  const auto session = [&](const topics::Subscription& member) -> Session* {
    Session* s = sessions_.find(SessionId::from_value(member.subscriber));
    return s != nullptr && restricted && !s->may_read_clients ? nullptr : s;
  };
  const topics::Subscription* chosen = group->next([&](const topics::Subscription& member) {
    Session* s = session(member);
    if (s == nullptr || !s->connected()) return false;
    const Connection& c = connections_.at(s->connection);
    return room(c) && s->queued() == 0 && (!s->delivery || window_open(c, *s->delivery));
  });
  if (chosen == nullptr) {
    chosen = group->next([&](const topics::Subscription& member) {
      const Session* s = session(member);
      return s != nullptr && s->connected();
    });
  }
  if (chosen == nullptr)
    chosen = group->next([&](const topics::Subscription& member) { return session(member) != nullptr; });
  if (chosen == nullptr) return std::nullopt;
  const SessionId sid = SessionId::from_value(chosen->subscriber);
  Session& s = sessions_.at(sid);
  Terms terms;
  terms.qos = std::min(message->qos(), chosen->options.qos);
  terms.retain = message->retain() && chosen->options.retain_as_published;
  if (chosen->subscription_id != 0) terms.subscription_ids.push_back(chosen->subscription_id);
  if (const OwnSubscription* own = s.find_shared(group_name, filter); own != nullptr) terms.share = own->number;
  return deliver(sid, s, message, terms, now);
}

// Each shard keeps its own index of all retained messages (retained_messages.h). The shard that the topic hashes to has
// them stored.
void Shard::retain(const MessagePtr& message, base::Instant now) {
  last_sequence_ = std::max(last_sequence_, message->position().sequence);
  const std::string_view topic = message->topic();
  // A figure that another shard sent just before the figures were switched off.
  if (is_brokers_own(topic) && !limits().sys_enabled) return;
  const RetainedMessages::Answer answer = retained_.keep(message, now);
  if (answer.what == RetainedMessages::What::DidNotFit) {
    ++stats_.publish_dropped;
    if (retained_.may_log_full(now)) {
      log(LogLevel::Warn, "retained_full",
          "Retained messages are not kept: retained.max_messages or retained.max_bytes is reached.");
    }
  }
  if (!stores_retained(topic)) return;
  if (answer.what == RetainedMessages::What::Older) {
    // Perhaps the newer one is not stored yet: who is told of this one waits for it.
    ++emitted_;
    return;
  }
  const bool kept = answer.what == RetainedMessages::What::Kept;
  if (!kept && !answer.was_there) return;
  // By itself, also where the message is part of a joint change: that is written later, perhaps over a newer one.
  Joint* const joint = std::exchange(sink_, nullptr);
  emit(kept ? Change(PutRetained{message}) : Change(DropRetained{std::string(topic)}));
  sink_ = joint;
}

bool Shard::stores_retained(std::string_view topic) const {
  return setup_.durable && !is_brokers_own(topic) && ShardCore::home_of(topic, setup_.shards) == setup_.id;
}

}  // namespace vigil::broker
