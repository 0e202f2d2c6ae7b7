// $SYS/clients: the presence of clients. (The figures in $SYS/broker: system_topics.h.)
//
// $SYS/clients/<id>/state answers like a retained message, but is made when somebody subscribes: a million states cost
// nothing until they are read. Live changes are published only while anybody listens.
#include <algorithm>

#include <fmt/format.h>

#include "broker/printable.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

// Of one answer to a SystemQueryMail.
constexpr std::size_t kStatesAPage = 64;
constexpr std::uint32_t kSlotsAPage = 4096;

constexpr std::string_view kPrefix = "$SYS/clients/";
constexpr std::string_view kState = "/state";

std::string state_topic(std::string_view client_id) {
  return fmt::format("{}{}{}", kPrefix, topic_level(client_id), kState);
}

}  // namespace

// Records an event, and tells those who listen.
void Shard::note(PresenceRecord& record, const PresenceEvent& event, base::Instant now) {
  presence_.note(record, event);
  const bool passing = event.kind == PresenceEventKind::AtRisk || event.kind == PresenceEventKind::Recovered;
  if (setup_.durable && !record.unstored && !passing && outlives_a_restart(record)) {
    record.unstored = true;
    unstored_presence_.push_back(record.client_id.str());
  }
  tell(record, event, now);
}

// A client that was given its id cannot come back with it where nothing of its session is stored.
bool Shard::outlives_a_restart(const PresenceRecord& record) const {
  if (!record.assigned) return true;
  const Session* s = sessions_.find(record.session);
  return s != nullptr && s->key.sequence != 0;
}

// To those who listen. The state of a client that is forgotten is empty, as that of one that is not known.
void Shard::tell(const PresenceRecord& record, const PresenceEvent& event, base::Instant now) {
  if (system_filters_ == 0 || !limits().sys_clients_enabled) return;
  const std::string topic = fmt::format("{}{}", kPrefix, topic_level(record.client_id));
  if (topic.size() + kState.size() > UINT16_MAX) return;  // no topic can be so long
  // Most who watch want the events or the states, not both.
  if (const std::string to = topic + "/event"; has_readers(to)) {
    route(broker_message(to, event_json(record, event, setup_.node_id, setup_.wall), false), {}, now);
  }
  if (const std::string to = topic + std::string(kState); has_readers(to)) {
    const bool forgotten = event.kind == PresenceEventKind::Forgotten;
    const std::string state =
        forgotten ? std::string() : state_json(record, live_view(record), setup_.node_id, moment(now), setup_.wall);
    route(broker_message(to, state, false), {}, now);
  }
}

Presence::Bounds Shard::presence_bounds() const {
  return {.records = share_of(limits().presence_max_records),
          .bytes = share_of(limits().presence_max_bytes),
          .history = limits().presence_history,
          .keep = limits().presence_keep};
}

// Has presence_timer() called when there is somebody to forget. To be called when somebody has left or come.
void Shard::mind_presence(base::Instant now) {
  const base::Instant due = presence_.due(now);
  if (due >= presence_due_) return;
  stop(presence_timer_);
  presence_due_ = due;
  presence_timer_ = arm(due, TimerKind::Presence, 0);
}

void Shard::presence_timer(base::Instant now) {
  constexpr std::size_t kMostATurn = 512;
  presence_.forget(now, kMostATurn, [&](PresenceRecord& record) {
    if (!end_is_stored(record)) return false;
    tell_forgotten(record, now);
    return true;
  });
  presence_timer_ = {};
  presence_due_ = base::Instant::never();
  // Not in the same millisecond again: those whose end is not stored yet would be looked at over and over.
  const base::Instant due = std::max(presence_.due(now), now + base::milliseconds(1));
  if (due.is_never()) return;
  presence_due_ = due;
  presence_timer_ = arm(due, TimerKind::Presence, 0);
}

// Until then its record says what a new session of this client has to wait for.
bool Shard::end_is_stored(const PresenceRecord& record) const {
  return record.past().ended_in <= stored_ && !joints_.contains(record.past().ended_with);
}

void Shard::tell_forgotten(PresenceRecord& record, base::Instant now) {
  ++record.sequence;
  tell(record,
       {.kind = PresenceEventKind::Forgotten, .unix_ms = moment(now).unix_ms, .incarnation = record.incarnation}, now);
}

// An administrator wants a client to be forgotten that lives here.
mqtt::ReasonCode Shard::forget(std::string_view client_id, std::string_view asked_by, base::Instant now) {
  const PresenceId id = presence_.id_of(client_id);
  PresenceRecord* record = presence_.find(id);
  std::string_view why;
  if (record == nullptr) {
    why = "it is not known";
  } else if (record->connected) {
    why = "it is connected";
  } else if (record->has_session) {
    why = "its session is still there";
  } else if (!end_is_stored(*record)) {
    why = "the end of its session is still being stored";
  }
  const std::string client = printable(client_id);
  std::vector<std::pair<std::string_view, std::string>> fields = {{"clientId", std::string(client_id)},
                                                                  {"askedBy", std::string(asked_by)}};
  if (!why.empty()) {
    log(LogLevel::Warn, "client_not_forgotten",
        fmt::format("Client {} is not forgotten, as {} asked: {}.", client, printable(asked_by), why),
        std::move(fields));
    return record == nullptr ? mqtt::ReasonCode::NoMatchingSubscribers : mqtt::ReasonCode::ImplementationSpecificError;
  }
  tell_forgotten(*record, now);
  // Now, so that the answer can wait for it.
  if (record->stored) emit(DropPresence{std::string(client_id)});
  record->stored = false;
  presence_.forget(id);
  log(LogLevel::Info, "client_forgotten",
      fmt::format("Client {} is forgotten: {} asked for it.", client, printable(asked_by)), std::move(fields));
  return mqtt::ReasonCode::Success;
}

bool Shard::has_readers(std::string_view topic) {
  const auto here = subscriptions_.match(topic);
  if (!here.plain.empty() || !here.groups.empty()) return true;
  const auto elsewhere = interest_.match(topic);
  return elsewhere.targets != 0 || !elsewhere.groups.empty();
}

LiveView Shard::live_view(const PresenceRecord& record) const {
  LiveView view;
  const Session* found = sessions_.find(record.session);
  if (found == nullptr) return view;
  const Session& s = *found;
  view.subscriptions = s.subscriptions.size();
  view.queued = s.queued();
  view.inflight = s.inflight();
  if (const Connection* c = connections_.find(s.connection); c != nullptr && record.connected) {
    view.connected = true;
    view.at_risk = c->at_risk;
    view.rhythm = c->keep_alive.rhythm();
    view.last_heard = c->keep_alive.last_heard();
    view.deadline = c->keep_alive.deadline();
    view.packets_received = c->packets_received;
    view.packets_sent = c->packets_sent;
    view.bytes_received = c->bytes_received;
    view.bytes_sent = c->bytes_sent;
  }
  return view;
}

void Shard::drop_feed(Session& s, std::string_view filter) {
  if (!s.has_feeds()) return;
  const auto gone = std::ranges::remove(s.extras->feeds, filter, &SystemFeed::filter);
  s.extras->feeds.erase(gone.begin(), gone.end());
}

void Shard::start_feed(Session& s, std::string_view filter, const topics::Subscription& subscription) {
  // One walk for a filter, so at most one for each subscription: subscribing again starts it anew.
  drop_feed(s, filter);
  SystemFeed feed;
  feed.id = next_feed_++;
  feed.filter = filter;
  feed.options = subscription.options;
  feed.subscription_id = subscription.subscription_id;
  s.with_extras().feeds.push_back(std::move(feed));
}

// Asks for the next page of each walk, as far as the client's output has room.
void Shard::continue_feeds(SessionId sid, Session& s) {
  if (!s.connected()) return;
  Connection& c = connections_.at(s.connection);
  for (SystemFeed& feed : s.extras->feeds) {
    if (feed.waiting) continue;
    if (!room(c)) {
      c.blocked = true;
      continue;
    }
    feed.waiting = true;
    SystemQueryMail query{.session = sid, .feed = feed.id, .filter = feed.filter, .cursor = feed.cursor};
    // To this shard by mail as well: so a walk takes a page a turn.
    post(static_cast<ShardId>(feed.shard), std::move(query));
  }
}

SystemReplyMail Shard::system_page(const SystemQueryMail& query, base::Instant now) {
  SystemReplyMail reply{.session = query.session, .feed = query.feed, .states = {}, .next = 0};
  const auto add = [&](const PresenceRecord& record) {
    reply.states.push_back(
        broker_message(state_topic(record.client_id),
                       state_json(record, live_view(record), setup_.node_id, moment(now), setup_.wall), true));
  };
  if (!mqtt::has_wildcard(query.filter)) {
    if (query.filter.starts_with(kPrefix) && query.filter.ends_with(kState) &&
        query.filter.size() > kPrefix.size() + kState.size()) {
      const std::string_view level =
          std::string_view(query.filter).substr(kPrefix.size(), query.filter.size() - kPrefix.size() - kState.size());
      if (const PresenceRecord* record = presence_.find(client_id_of(level)); record != nullptr) add(*record);
    }
    return reply;
  }
  const std::uint32_t count = presence_.slot_count();
  std::uint32_t at = query.cursor;
  for (std::uint32_t looked = 0; at < count && looked < kSlotsAPage && reply.states.size() < kStatesAPage;
       ++at, ++looked) {
    const auto [id, record] = presence_.at_index(at);
    if (record != nullptr && mqtt::matches(query.filter, state_topic(record->client_id))) add(*record);
  }
  reply.next = at < count ? at : 0;
  return reply;
}

void Shard::system_reply(SystemReplyMail& reply, base::Instant now) {
  Session* s = sessions_.find(reply.session);
  if (s == nullptr || !s->connected() || !s->has_feeds()) return;
  auto& feeds = s->extras->feeds;
  const auto feed = std::ranges::find(feeds, reply.feed, &SystemFeed::id);
  if (feed == feeds.end() || !feed->waiting) return;
  feed->waiting = false;
  feed->cursor = reply.next;
  if (reply.next == 0) ++feed->shard;
  Terms terms;
  terms.retain = true;
  terms.retained_at_subscribe = true;
  if (feed->subscription_id != 0) terms.subscription_ids.push_back(feed->subscription_id);
  if (feed->shard >= setup_.shards) feeds.erase(feed);
  for (const MessagePtr& state : reply.states) deliver(reply.session, *s, state, terms, now);
  if (s->has_feeds()) continue_feeds(reply.session, *s);
}

}  // namespace vigil::broker
