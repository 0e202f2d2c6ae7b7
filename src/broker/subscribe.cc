// SUBSCRIBE and UNSUBSCRIBE (3.8, 3.10), and what the other shards are told of them.
#include <fmt/format.h>

#include "broker/printable.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

using mqtt::ReasonCode;
using mqtt::RetainHandling;

ReasonCode granted(mqtt::QoS qos) { return static_cast<ReasonCode>(qos); }

// Whether a filter may match a topic under $SYS/clients.
bool may_match_clients(std::string_view filter) {
  return filter.starts_with("$SYS") && !filter.starts_with("$SYS/broker");
}

// Retained messages that are looked at in one turn for new subscriptions, except within one SUBSCRIBE. Further answers
// wait for the next turn.
constexpr std::uint64_t kRetainedATurn = 100'000;

// Kinds of subscriptions can be switched off.
std::optional<ReasonCode> kind_refused(const mqtt::TopicFilter& filter, const Limits& limits) {
  if (filter.shared() && !limits.shared_available) return ReasonCode::SharedSubscriptionsNotSupported;
  if (!limits.wildcard_available && mqtt::has_wildcard(filter.filter))
    return ReasonCode::WildcardSubscriptionsNotSupported;
  return std::nullopt;
}

// The end of a client that has no other way to learn that a filter was refused: the log names the setting.
Departure cannot_be_told(ReasonCode reason, std::string_view quota) {
  std::string_view detail = "refused";
  switch (reason) {
    case ReasonCode::TopicFilterInvalid: detail = "more levels than limits.max_topic_levels"; break;
    case ReasonCode::SharedSubscriptionsNotSupported: detail = "shared, but mqtt.shared_available is false"; break;
    case ReasonCode::WildcardSubscriptionsNotSupported:
      detail = "wildcard, but mqtt.wildcard_available is false";
      break;
    case ReasonCode::QuotaExceeded: detail = quota; break;
    default: break;
  }
  return {
      .cause = reason == ReasonCode::QuotaExceeded ? DisconnectReason::QuotaExceeded : DisconnectReason::ProtocolError,
      .code = reason,
      .field = "Topic Filter",
      .detail = detail};
}

}  // namespace

Shard::Step Shard::subscribe(ConnectionId id, Connection& c, const mqtt::Subscribe& packet, base::Instant now) {
  Session& s = sessions_.at(c.session);
  const std::uint32_t subscription_id =
      packet.properties.subscription_ids.empty() ? 0 : packet.properties.subscription_ids.front();
  if (subscription_id != 0 && !limits().subscription_ids_available) {
    return std::unexpected(Departure{.cause = DisconnectReason::ProtocolError,
                                     .code = ReasonCode::SubscriptionIdentifiersNotSupported,
                                     .field = "Subscription Identifier",
                                     .detail = "switched off on this broker"});
  }
  PendingSubAck pending{.connection = id, .session = c.session, .packet_id = packet.packet_id};
  const std::uint64_t emitted_before = emitted_;
  const std::size_t most = limits().max_subscriptions_per_session;
  std::size_t handled = 0;
  for (const auto& entry : packet.entries) {
    // A filter named again replaces itself. More filters in one packet than a session may hold are no subscriber's
    // need.
    ReasonCode reason = handled++ >= most ? too_many_subscriptions(c, s, "limits.max_subscriptions_per_session")
                                          : subscribe_one(c, s, entry, subscription_id, pending.wishes);
    // (Too many are said once a connection.)
    if (logs(LogLevel::Debug) || (mqtt::is_failure(reason) && reason != ReasonCode::QuotaExceeded)) {
      log_subscribed(c, entry.filter, reason, now);
    }
    if (c.version == mqtt::Version::V31 && is_failure(reason)) {
      // 3.1 has no failure in SUBACK. What is not authorised is acknowledged (3.8 of 3.1) and nothing comes of it; any
      // other refusal would be taken for a subscription that works.
      if (reason != ReasonCode::NotAuthorized) {
        const bool many = s.subscriptions.size() >= most || handled > most;
        Departure departure = cannot_be_told(
            reason, many ? "more than limits.max_subscriptions_per_session" : "limits.max_subscriptions is reached");
        departure.name = entry.filter;
        return std::unexpected(departure);
      }
      reason = granted(std::min(entry.options.qos, static_cast<mqtt::QoS>(limits().maximum_qos)));
    }
    pending.reasons.push_back(reason);
  }
  // The answer leaves when every shard knows what to send here: a message published after the SUBACK is not missed.
  // That holds for a filter that another subscription here has asked for already, too: the others may not have heard of
  // it yet.
  pending.needs = interest_told_;
  pending.needs_batch = emitted_ != emitted_before ? last_batch_ : 0;
  line_up(c, std::move(pending), now);
  return {};
}

// A limit is reached: said in the log once a connection.
ReasonCode Shard::too_many_subscriptions(Connection& c, const Session& s, std::string_view key) {
  if (!c.subscription_limit_logged) {
    c.subscription_limit_logged = true;
    log(LogLevel::Warn, "subscription_limit",
        fmt::format("Client {}: subscriptions are refused: {} is reached (it has {}).", printable(s.client_id), key,
                    s.subscriptions.size()),
        {{"clientId", s.client_id.str()}, {"limit", std::string(key)}});
  }
  return ReasonCode::QuotaExceeded;
}

ReasonCode Shard::subscribe_one(Connection& c, Session& s, const mqtt::Subscribe::Entry& entry,
                                std::uint32_t subscription_id, RetainedWishes& wishes) {
  const SessionId sid = c.session;
  const mqtt::TopicFilter& filter = entry.parsed;
  if (mqtt::topic_levels(filter.filter) > limits().max_topic_levels) return ReasonCode::TopicFilterInvalid;
  if (const auto refusal = kind_refused(filter, limits())) {
    // A subscription that was made before its kind was switched off goes on until its client is told. This tells it.
    drop_subscription(sid, s, filter, entry.filter);
    return *refusal;
  }
  if (!may_subscribe({s.client_id, s.user_name(), c.loopback}, filter.filter, limits()))
    return ReasonCode::NotAuthorized;

  topics::Subscription subscription{};
  subscription.subscriber = sid.value();
  subscription.subscription_id = subscription_id;
  subscription.options = entry.options;
  subscription.options.qos = std::min(entry.options.qos, static_cast<mqtt::QoS>(limits().maximum_qos));
  // A bridge of 3.x says with a bit of CONNECT what one of 5.0 says in its options. (Not for share groups, where No
  // Local is a protocol error [MQTT-3.8.3-4].)
  if (c.bridge) {
    subscription.options.no_local = !filter.shared();
    subscription.options.retain_as_published = true;
  }
  const OwnSubscription* own = s.find_subscription(entry.filter);
  const bool is_new = own == nullptr;
  if (is_new && s.subscriptions.size() >= limits().max_subscriptions_per_session) {
    return too_many_subscriptions(c, s, "limits.max_subscriptions_per_session");
  }
  if (is_new && subscriptions_.size() >= share_of(limits().max_subscriptions)) {
    return too_many_subscriptions(c, s, "limits.max_subscriptions");
  }
  const auto added = subscriptions_.add(filter, subscription);
  if (is_new) {
    own = &s.add_subscription(entry.filter, s.next_subscription++, filter.shared());
    if (s.next_subscription == 0) s.next_subscription = 1;
  }
  if (s.durable) emit(PutSubscription{s.key, own->number, subscription_id, subscription.options, own->text.str()});
  if (filter.shared()) {
    if (is_new) {
      ++s.shared_subscriptions;
      ++stats_.shared_subscriptions;
      group_changed(filter, {.members = 1, .connected = 1});
    }
    return granted(subscription.options.qos);
  }
  if (added.first_of_filter) interest_gained(filter);
  const RetainHandling handling = entry.options.retain_handling;
  if (handling == RetainHandling::SendAtSubscribe || (handling == RetainHandling::SendIfNew && is_new)) {
    wishes.push_back({own->text, own->number, subscription});
  }
  return granted(subscription.options.qos);
}

// --- answers to SUBSCRIBE and UNSUBSCRIBE
//
// An answer waits for what it needs of other shards and of the store, then for its turn: retained messages of the new
// subscriptions are looked up just before it, connection by connection, as many as a turn has room for. Each connection
// gets its answers in order.
//
//   subacks_ ── interests applied, subscriptions stored ──► Connection::ready ── its turn ──► the client
//                                                                 └── retained messages to be stored ──► retained_acks_
//                                                                 ──┘

void Shard::line_up(Connection& c, PendingSubAck&& pending, base::Instant now) {
  const bool first = c.pending_answers == 0;
  ++c.pending_answers;
  look_at_owed(c);
  if (!first || interest_applied() < pending.needs || pending.needs_batch > stored_) {
    subacks_.push_back(std::move(pending));
  } else if (has_turn()) {
    give_answer(pending, now);
  } else {
    wait_for_turn(c, std::move(pending), now);
  }
}

void Shard::settle_subacks(base::Instant now) {
  if (!subacks_.empty()) {
    const std::uint64_t applied = interest_applied();
    while (!subacks_.empty() && subacks_.front().needs <= applied && subacks_.front().needs_batch <= stored_) {
      PendingSubAck pending = std::move(subacks_.front());
      subacks_.pop_front();
      // (A client that went before its SUBACK does not know of its subscription, and asks again.)
      Connection* c = connections_.find(pending.connection);
      if (c == nullptr) continue;
      if (!has_turn() || (c->extras && !c->extras->ready.empty())) {
        wait_for_turn(*c, std::move(pending), now);
      } else {
        give_answer(pending, now);
      }
    }
  }
  while (!retained_acks_.empty() && retained_acks_.front().needs_batch <= stored_) {
    const PendingSubAck pending = std::move(retained_acks_.front());
    retained_acks_.pop_front();
    const bool told = finish_answer(pending, now);
    Session* s = sessions_.find(pending.session);
    if (s == nullptr) continue;
    pump(pending.session, *s, now);
    if (!told) continue;
    for (const RetainedWish& wish : pending.wishes) follow_clients(pending.session, *s, wish);
  }
}

bool Shard::has_turn() const { return retained_work_ - retained_work_from_ <= kRetainedATurn; }

void Shard::wait_for_turn(Connection& c, PendingSubAck&& pending, base::Instant now) {
  auto& ready = c.with_extras().ready;
  if (ready.empty()) answer_ring_.push_back(pending.connection);
  ready.push_back(std::move(pending));
  if (!answers_timer_) answers_timer_ = arm(now, TimerKind::Answers, 0);
}

// The next turn: one answer of each connection after the other.
void Shard::serve_ring(base::Instant now) {
  retained_work_from_ = retained_work_;
  while (!answer_ring_.empty() && has_turn()) {
    const ConnectionId id = answer_ring_.front();
    answer_ring_.pop_front();
    Connection* c = connections_.find(id);
    if (c == nullptr) continue;
    auto& ready = c->extras->ready;
    PendingSubAck pending = std::move(ready.front());
    ready.pop_front();
    if (!ready.empty()) answer_ring_.push_back(id);
    give_answer(pending, now);
  }
  if (!answer_ring_.empty() && !answers_timer_) answers_timer_ = arm(now, TimerKind::Answers, 0);
  settle_subacks(now);
}

// Everything that the answer needs is there, and it is its turn.
void Shard::give_answer(PendingSubAck& pending, base::Instant now) {
  const SessionId sid = pending.session;
  Session& s = sessions_.at(sid);
  if (!s.durable || pending.wishes.empty()) {
    const RetainedWishes wishes = std::move(pending.wishes);
    if (!finish_answer(pending, now)) return;
    for (const RetainedWish& wish : wishes) grant_wish(sid, s, wish, now);
    return;
  }
  // A client that has seen SUBACK need not subscribe again: what it is to get then must outlive the broker, too.
  for (const RetainedWish& wish : pending.wishes) queue_wish(sid, s, wish, now);
  pending.needs_batch = last_batch_;
  if (pending.needs_batch > stored_) {
    retained_acks_.push_back(std::move(pending));
    return;
  }
  if (!finish_answer(pending, now)) return;
  for (const RetainedWish& wish : pending.wishes) follow_clients(sid, s, wish);
  pump(sid, s, now);
}

// Sends it. False if the connection is gone, or ends because the answer is larger than the client takes.
bool Shard::finish_answer(const PendingSubAck& pending, base::Instant now) {
  const ConnectionId id = pending.connection;
  Connection* c = connections_.find(id);
  if (c == nullptr) return false;
  answered(id);
  if (!pending.unsuback.empty()) {
    if (logs(LogLevel::Trace)) trace_sent(*c, pending.unsuback);
    auto& out = control_lane(id, *c);
    out.insert(out.end(), pending.unsuback.begin(), pending.unsuback.end());
  } else if (!send_suback(*c, pending)) {
    leave(id, answer_too_large(), now);
    return false;
  }
  if (c->pending_answers == 0) release_pings(id);
  return true;
}

// --- retained messages of a new subscription

bool Shard::still_wished(const Session& s, const RetainedWish& wish) {
  const OwnSubscription* own = s.find_subscription(wish.filter.view());
  return own != nullptr && own->number == wish.number;
}

// What is retained is looked up now and not when the subscription was made: it is never older than what the client has
// been sent meanwhile.
void Shard::grant_wish(SessionId sid, Session& s, const RetainedWish& wish, base::Instant now) {
  if (!still_wished(s, wish)) return;
  for_each_retained(s, wish, now,
                    [&](const MessagePtr& message, const Terms& terms) { deliver(sid, s, message, terms, now); });
  follow_clients(sid, s, wish);
}

// The same behind what waits for the session, to be sent when it is stored.
void Shard::queue_wish(SessionId sid, Session& s, const RetainedWish& wish, base::Instant now) {
  if (!still_wished(s, wish)) return;
  for_each_retained(s, wish, now,
                    [&](const MessagePtr& message, const Terms& terms) { enqueue(sid, s, message, terms, now); });
}

void Shard::follow_clients(SessionId sid, Session& s, const RetainedWish& wish) {
  if (!s.may_read_clients || !s.connected() || !may_match_clients(wish.filter) || !still_wished(s, wish)) return;
  start_feed(s, wish.filter, wish.subscription);
  continue_feeds(sid, s);
}

template <class F>
void Shard::for_each_retained(const Session& s, const RetainedWish& wish, base::Instant now, F&& give) {
  if (retained_.empty()) return;
  Terms terms;
  terms.retain = true;
  terms.retained_at_subscribe = true;
  if (wish.subscription.subscription_id != 0) terms.subscription_ids.push_back(wish.subscription.subscription_id);
  retained_work_ += retained_.for_each_match(wish.filter, now, [&](const MessagePtr& message) {
    // While retained messages are switched off, those of earlier are kept back. They are sent when it is on again.
    if (!limits().retain_available && !is_brokers_own(message->topic())) return;
    if (wish.subscription.options.no_local && message->publisher() == s.self) return;
    terms.qos = std::min(message->qos(), wish.subscription.options.qos);
    give(message, terms);
  });
}

bool Shard::send_suback(Connection& c, const PendingSubAck& pending) {
  mqtt::SubAck answer;
  answer.packet_id = pending.packet_id;
  answer.reasons = pending.reasons;
  if (!fits(c, answer)) return false;
  if (logs(LogLevel::Trace)) trace(c, "to", answer);
  mqtt::encode_suback(control_lane(pending.connection, c), c.version, answer);
  return true;
}

// A server must not send what the client said that it cannot take [MQTT-3.1.2-24].
bool Shard::fits(const Connection& c, const mqtt::Packet& packet) {
  return c.maximum_packet_size == 0 || mqtt::encoded_size(c.version, packet) <= c.maximum_packet_size;
}

Departure Shard::answer_too_large() {
  return {.cause = DisconnectReason::ProtocolError,
          .code = ReasonCode::PacketTooLarge,
          .field = "Maximum Packet Size",
          .detail = "the answer to the client's packet is larger"};
}

// What the slowest of the other shards has applied of what it was told.
std::uint64_t Shard::interest_applied() const {
  std::uint64_t least = interest_told_;
  for (unsigned other = 0; other < setup_.shards; ++other) {
    if (other != setup_.id) least = std::min(least, interest_applied_[other]);
  }
  return least;
}

void Shard::interest_applied_by(ShardId other, std::uint64_t told, base::Instant now) {
  interest_applied_[other] = told;
  settle_subacks(now);
}

void Shard::tell_interest(InterestMail mail) {
  mail.told = ++interest_told_;
  post_to_others(mail);
}

Shard::Step Shard::unsubscribe(ConnectionId id, Connection& c, const mqtt::Unsubscribe& packet, base::Instant now) {
  Session& s = sessions_.at(c.session);
  mqtt::UnsubAck answer;
  answer.packet_id = packet.packet_id;
  for (const auto& [text, filter] : packet.entries) {
    answer.reasons.push_back(drop_subscription(c.session, s, filter, text) ? ReasonCode::Success
                                                                           : ReasonCode::NoSubscriptionExisted);
    if (logs(LogLevel::Debug)) log_unsubscribed(c, text, answer.reasons.back());
  }
  if (!fits(c, answer)) return std::unexpected(answer_too_large());
  std::vector<std::uint8_t> bytes;
  mqtt::encode_unsuback(bytes, c.version, answer);
  // Also where nothing was to be done: that a subscription is not there may be what an earlier packet has done.
  const std::uint64_t batch = s.durable ? last_batch_ : 0;
  if (c.pending_answers == 0) {
    answer_when_stored(id, c, batch, bytes);
    return {};
  }
  // Behind the answers to earlier packets.
  line_up(c,
          {.connection = id,
           .session = c.session,
           .packet_id = packet.packet_id,
           .unsuback = std::move(bytes),
           .needs = interest_told_,
           .needs_batch = batch},
          now);
  return {};
}

bool Shard::drop_subscription(SessionId sid, Session& s, const mqtt::TopicFilter& filter, std::string_view text) {
  const OwnSubscription* own = s.find_subscription(text);
  if (own == nullptr) return false;
  const auto removed = subscriptions_.remove(filter, sid.value());
  CHECK(removed.removed);
  if (s.durable) emit(DropSubscription{s.key, own->number});
  s.remove_subscription(text);
  drop_feed(s, filter.filter);
  if (filter.shared()) {
    --s.shared_subscriptions;
    --stats_.shared_subscriptions;
    group_changed(filter, {.members = -1, .connected = s.connected() ? -1 : 0});
  } else if (removed.last_of_filter) {
    interest_lost(filter);
  }
  return true;
}

void Shard::interest_gained(const mqtt::TopicFilter& filter) {
  watch_system_filter(filter.filter, 1);
  InterestMail mail;
  mail.filter = filter.filter;
  mail.interested = true;
  tell_interest(std::move(mail));
}

void Shard::interest_lost(const mqtt::TopicFilter& filter) {
  watch_system_filter(filter.filter, -1);
  InterestMail mail;
  mail.filter = filter.filter;
  tell_interest(std::move(mail));
}

void Shard::group_changed(const mqtt::TopicFilter& filter, MembersChange change) {
  const topics::InterestIndex::Group* group = interest_.find_group(filter.group, filter.filter);
  topics::InterestIndex::GroupMembers members =
      group != nullptr ? group->at(setup_.id) : topics::InterestIndex::GroupMembers{};
  const bool was_there = members.members > 0;
  members.members = static_cast<std::uint32_t>(static_cast<int>(members.members) + change.members);
  members.connected = static_cast<std::uint32_t>(static_cast<int>(members.connected) + change.connected);
  CHECK(members.connected <= members.members);
  interest_.set_group(filter.group, filter.filter, setup_.id, members);
  const bool is_there = members.members > 0;
  if (was_there != is_there) watch_system_filter(filter.filter, is_there ? 1 : -1);
  InterestMail mail;
  mail.filter = filter.filter;
  mail.group = filter.group;
  mail.interested = is_there;
  mail.members = members;
  tell_interest(std::move(mail));
}

// A session's client connected or went away: its share groups count it among those that can be served, or no longer.
void Shard::members_came_or_went(const Session& s) {
  for (const OwnSubscription& own : s.subscriptions) {
    if (!own.shared) continue;
    group_changed(*mqtt::TopicFilter::parse(own.text), {.connected = s.connected() ? 1 : -1});
  }
}

void Shard::interest_of_others(ShardId from, const InterestMail& mail) {
  if (mail.group.empty()) {
    if (mail.interested) {
      interest_.add(mail.filter, from);
    } else {
      interest_.remove(mail.filter, from);
    }
    watch_system_filter(mail.filter, mail.interested ? 1 : -1);
  } else {
    const topics::InterestIndex::Group* group = interest_.find_group(mail.group, mail.filter);
    const bool was_there = group != nullptr && group->at(from).members > 0;
    interest_.set_group(mail.group, mail.filter, from, mail.members);
    if (was_there != mail.interested) watch_system_filter(mail.filter, mail.interested ? 1 : -1);
  }
  effects_.mail_to.add(from);
  effects_.late_mail[from].push_back({setup_.id, InterestAppliedMail{mail.told}});
}

void Shard::watch_system_filter(std::string_view filter, int change) {
  if (!may_match_clients(filter)) return;
  CHECK(change > 0 || system_filters_ > 0);
  system_filters_ = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(system_filters_) + change);
}

}  // namespace vigil::broker
