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

// Retained messages that are looked at in one go for new subscriptions, except within one filter. The rest follows in
// the next turn.
constexpr std::uint64_t kRetainedAStep = 100'000;

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
  PendingSubAck pending{.connection = id, .packet_id = packet.packet_id};
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
  if (interest_applied() >= pending.needs && pending.needs_batch <= stored_) {
    if (!send_suback(pending)) return std::unexpected(answer_too_large());
    serve_wishes(pending.wishes, now);
  } else {
    ++c.pending_answers;
    look_at_owed(c);
    subacks_.push_back(std::move(pending));
  }
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
    wishes.push_back({own->text, subscription});
  }
  return granted(subscription.options.qos);
}

// --- retained messages for new subscriptions: behind their SUBACK, in the order of the subscriptions

void Shard::serve_wishes(RetainedWishes& wishes, base::Instant now) {
  const std::uint64_t from = retained_work_;
  for (RetainedWish& wish : wishes) {
    if (retained_wishes_.empty() && retained_work_ - from <= kRetainedAStep) {
      serve_wish(wish, now);
      continue;
    }
    retained_wishes_.push_back(std::move(wish));
    if (!wishes_timer_) wishes_timer_ = arm(now, TimerKind::RetainedWishes, 0);
  }
}

void Shard::serve_waiting_wishes(base::Instant now) {
  const std::uint64_t from = retained_work_;
  while (!retained_wishes_.empty() && retained_work_ - from <= kRetainedAStep) {
    const RetainedWish wish = std::move(retained_wishes_.front());
    retained_wishes_.pop_front();
    serve_wish(wish, now);
  }
  if (!retained_wishes_.empty()) wishes_timer_ = arm(now, TimerKind::RetainedWishes, 0);
}

// What is retained is looked up now and not when the subscription was made: it is never older than what the client has
// been sent meanwhile.
void Shard::serve_wish(const RetainedWish& wish, base::Instant now) {
  const SessionId sid = SessionId::from_value(wish.subscription.subscriber);
  Session* s = sessions_.find(sid);
  // It may be gone by now, or its client may have taken the subscription back.
  if (s == nullptr || s->find_subscription(wish.filter.view()) == nullptr) return;
  if (retained_.size() > 0) retained_at_subscribe(sid, *s, wish.filter, wish.subscription, now);
  if (!s->may_read_clients || !s->connected() || !may_match_clients(wish.filter)) return;
  start_feed(sid, *s, wish.filter, wish.subscription, now);
  continue_feeds(sid, *s);
}

bool Shard::send_suback(const PendingSubAck& pending) {
  Connection* c = connections_.find(pending.connection);
  if (c == nullptr) return true;
  mqtt::SubAck answer;
  answer.packet_id = pending.packet_id;
  answer.reasons = pending.reasons;
  if (!fits(*c, answer)) return false;
  if (logs(LogLevel::Trace)) trace(*c, "to", answer);
  mqtt::encode_suback(control_lane(pending.connection, *c), c->version, answer);
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

void Shard::settle_subacks(base::Instant now) {
  if (subacks_.empty()) return;
  const std::uint64_t applied = interest_applied();
  while (!subacks_.empty() && subacks_.front().needs <= applied && subacks_.front().needs_batch <= stored_) {
    PendingSubAck pending = std::move(subacks_.front());
    subacks_.pop_front();
    answered(pending.connection);
    if (!send_suback(pending)) leave(pending.connection, answer_too_large(), now);
    serve_wishes(pending.wishes, now);
  }
}

void Shard::tell_interest(InterestMail mail) {
  mail.told = ++interest_told_;
  post_to_others(mail);
}

Shard::Step Shard::unsubscribe(ConnectionId id, Connection& c, const mqtt::Unsubscribe& packet, base::Instant /*now*/) {
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
  answer_when_stored(id, c, s.durable ? last_batch_ : 0, bytes);
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

void Shard::retained_at_subscribe(SessionId sid, Session& s, std::string_view filter,
                                  const topics::Subscription& subscription, base::Instant now) {
  Terms terms;
  terms.retain = true;
  terms.retained_at_subscribe = true;
  if (subscription.subscription_id != 0) terms.subscription_ids.push_back(subscription.subscription_id);
  retained_.for_each_match(filter, [&](std::string_view topic, Retained& retained) {
    ++retained_work_;
    if (!retained.message || retained.message->expired(now)) return;
    // While retained messages are switched off, those of earlier are kept back. They are sent when it is on again.
    if (!limits().retain_available && !is_brokers_own(topic)) return;
    if (subscription.options.no_local && retained.message->publisher() == s.self) return;
    terms.qos = std::min(retained.message->qos(), subscription.options.qos);
    deliver(sid, s, retained.message, terms, now);
  });
}

}  // namespace vigil::broker
