// SUBSCRIBE and UNSUBSCRIBE (3.8, 3.10), and what the other shards are told of them.
#include <fmt/format.h>

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

// SUBACKs of one connection that wait for other shards.
constexpr std::uint32_t kMostPendingSubAcks = 1024;

// Retained messages looked at for one SUBSCRIBE before further filters in it are refused.
constexpr std::uint64_t kMostRetainedAPacket = 1'000'000;

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
  const std::uint64_t delivered_before = retained_work_;
  for (const auto& entry : packet.entries) {
    // A filter named again replaces itself; so many of them, or so much to deliver, is no subscriber's need.
    const bool too_much = handled++ >= most || retained_work_ - delivered_before > kMostRetainedAPacket;
    pending.reasons.push_back(too_much ? ReasonCode::QuotaExceeded
                                       : subscribe_one(c.session, s, c, entry, subscription_id, now));
    const ReasonCode result = pending.reasons.back();
    if (logs(LogLevel::Debug) || mqtt::is_failure(result)) log_subscribed(c, entry.filter, result, now);
  }
  // The answer leaves when every shard knows what to send here: a message published after the SUBACK is not missed.
  // That holds for a filter that another subscription here has asked for already, too: the others may not have heard of
  // it yet.
  pending.needs = interest_told_;
  pending.needs_batch = emitted_ != emitted_before ? last_batch_ : 0;
  if (interest_applied() >= pending.needs && pending.needs_batch <= stored_) {
    if (!send_suback(pending)) return std::unexpected(answer_too_large());
  } else if (++c.pending_subacks > kMostPendingSubAcks) {
    return std::unexpected(Departure{.cause = DisconnectReason::QuotaExceeded,
                                     .detail = "too many SUBSCRIBE packets without waiting for an answer"});
  } else {
    subacks_.push_back(std::move(pending));
  }
  if (s.has_feeds()) continue_feeds(c.session, s);
  return {};
}

ReasonCode Shard::subscribe_one(SessionId sid, Session& s, const Connection& c, const mqtt::Subscribe::Entry& entry,
                                std::uint32_t subscription_id, base::Instant now) {
  const auto filter = mqtt::TopicFilter::parse(entry.filter);
  if (!filter || mqtt::topic_levels(filter->filter) > limits().max_topic_levels) return ReasonCode::TopicFilterInvalid;
  if (filter->shared() && !limits().shared_available) return ReasonCode::SharedSubscriptionsNotSupported;
  if (!limits().wildcard_available && mqtt::has_wildcard(filter->filter))
    return ReasonCode::WildcardSubscriptionsNotSupported;
  if (!may_subscribe({s.client_id, s.user_name(), c.loopback}, filter->filter, limits()))
    return ReasonCode::NotAuthorized;

  topics::Subscription subscription{};
  subscription.subscriber = sid.value();
  subscription.subscription_id = subscription_id;
  subscription.options = entry.options;
  subscription.options.qos = std::min(entry.options.qos, static_cast<mqtt::QoS>(limits().maximum_qos));
  const bool is_new = subscriptions_.find(*filter, sid.value()) == nullptr;
  if (is_new && (s.subscriptions.size() >= limits().max_subscriptions_per_session ||
                 subscriptions_.size() >= share_of(limits().max_subscriptions))) {
    return ReasonCode::QuotaExceeded;
  }
  const auto added = subscriptions_.add(*filter, subscription);
  if (is_new) {
    s.subscriptions.push_back({base::Text(entry.filter), s.next_subscription++, filter->shared()});
    if (s.next_subscription == 0) s.next_subscription = 1;
  }
  if (s.durable) {
    const auto held = std::find_if(s.subscriptions.rbegin(), s.subscriptions.rend(),
                                   [&entry](const HeldSubscription& h) { return h.text == entry.filter; });
    CHECK(held != s.subscriptions.rend());
    emit(PutSubscription{s.key, held->number, subscription_id, subscription.options, held->text.str()});
  }
  if (filter->shared()) {
    if (is_new) {
      ++s.shared_subscriptions;
      ++stats_.shared_subscriptions;
      group_changed(*filter, {.members = 1, .connected = 1});
    }
    return granted(subscription.options.qos);
  }
  if (added.first_of_filter) interest_gained(*filter);
  const RetainHandling handling = entry.options.retain_handling;
  if (handling == RetainHandling::SendAtSubscribe || (handling == RetainHandling::SendIfNew && is_new)) {
    retained_at_subscribe(sid, s, filter->filter, subscription, now);
    if (s.may_read_clients && may_match_clients(filter->filter)) start_feed(sid, s, filter->filter, subscription, now);
  }
  return granted(subscription.options.qos);
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
  const std::uint64_t applied = interest_applied();
  while (!subacks_.empty() && subacks_.front().needs <= applied && subacks_.front().needs_batch <= stored_) {
    const PendingSubAck pending = std::move(subacks_.front());
    subacks_.pop_front();
    if (Connection* c = connections_.find(pending.connection); c != nullptr) --c->pending_subacks;
    if (!send_suback(pending)) leave(pending.connection, answer_too_large(), now);
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
  for (const std::string_view text : packet.filters) {
    const auto filter = mqtt::TopicFilter::parse(text);
    if (!filter) {
      answer.reasons.push_back(ReasonCode::TopicFilterInvalid);
    } else {
      answer.reasons.push_back(drop_subscription(c.session, s, *filter, text) ? ReasonCode::Success
                                                                              : ReasonCode::NoSubscriptionExisted);
    }
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
  const auto removed = subscriptions_.remove(filter, sid.value());
  if (!removed.removed) return false;
  const auto held = std::find_if(s.subscriptions.begin(), s.subscriptions.end(),
                                 [text](const HeldSubscription& h) { return h.text == text; });
  CHECK(held != s.subscriptions.end());
  if (s.durable) emit(DropSubscription{s.key, held->number});
  s.subscriptions.erase(held);
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
  for (const HeldSubscription& held : s.subscriptions) {
    if (!held.shared) continue;
    group_changed(*mqtt::TopicFilter::parse(held.text), {.connected = s.connected() ? 1 : -1});
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
  effects_.mail_to |= std::uint64_t{1} << from;
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
  retained_.for_each_match(filter, [&](std::string_view, Retained& retained) {
    ++retained_work_;
    if (!retained.message || retained.message->expired(now)) return;
    if (subscription.options.no_local && retained.message->publisher() == s.self) return;
    terms.qos = std::min(retained.message->qos(), subscription.options.qos);
    deliver(sid, s, retained.message, terms, now);
  });
}

}  // namespace vigil::broker
