#include "broker/shard.h"

#include <algorithm>

#include <fmt/format.h>

namespace vigil::broker {
namespace {

// The grid of ticks begins at a whole millisecond, as the timer wheel's does: else its deadlines would be rounded up
// twice.
base::Instant whole_millisecond(base::Instant at) { return base::Instant::from_ns(at.ns() / 1'000'000 * 1'000'000); }

// Below this much waiting output, deliveries that were held back go on.
constexpr std::size_t kResumeDivisor = 2;

}  // namespace

bool Effects::empty() const {
  return mail_to.empty() && closes.empty() && handovers.empty() && tcp_timeouts.empty() && sends.empty() &&
         suspects.empty() && auth_requests.empty() && log.empty() && store.empty() && takeovers.empty();
}

void Effects::swap(Effects& other) noexcept {
  if (!store.empty() || !other.store.empty()) std::swap(store, other.store);
  mail.swap(other.mail);
  late_mail.swap(other.late_mail);
  std::swap(mail_to, other.mail_to);
  closes.swap(other.closes);
  handovers.swap(other.handovers);
  tcp_timeouts.swap(other.tcp_timeouts);
  sends.swap(other.sends);
  suspects.swap(other.suspects);
  auth_requests.swap(other.auth_requests);
  takeovers.swap(other.takeovers);
  log.swap(other.log);
}

void Effects::clear() {
  store.clear();
  // What a burst needed is not kept for the next one.
  constexpr std::size_t kMailsKept = 1'024;
  for_each_addressee([this](unsigned shard) {
    for (std::vector<Mail>* list : {&mail[shard], &late_mail[shard]}) {
      if (list->capacity() > kMailsKept) std::vector<Mail>().swap(*list);
      list->clear();
    }
  });
  mail_to.clear();
  closes.clear();
  handovers.clear();
  tcp_timeouts.clear();
  sends.clear();
  suspects.clear();
  auth_requests.clear();
  takeovers.clear();
  log.clear();
}

Shard::Shard(ShardSetup setup, base::Instant start)
    : setup_(std::move(setup)),
      start_(whole_millisecond(start)),
      random_(setup_.seed + setup_.id),
      wheel_(start),
      retained_({.wheel = wheel_,
                 .timer_kind = static_cast<std::uint32_t>(TimerKind::Retained),
                 .shards = setup_.shards,
                 .bounds = retained_bounds()}),
      presence_(presence_bounds()),
      system_topics_(setup_.id, setup_.shards, setup_.version),
      clock_(start),
      last_sequence_(setup_.first_position) {
  CHECK(setup_.shards >= 1 && setup_.shards <= kMaxShards && setup_.id < setup_.shards);
  effects_.mail.resize(setup_.shards);
  effects_.late_mail.resize(setup_.shards);
  interest_applied_.resize(setup_.shards);
  if (limits().sys_enabled) system_timer_ = arm(start_ + base::milliseconds(1), TimerKind::System, 0);
}

ConnectionId Shard::opened(PeerInfo peer, base::Instant now) {
  const ConnectionId id = connections_.emplace();
  Connection& c = connections_.at(id);
  c.socket = peer.socket;
  c.loopback = peer.loopback;
  c.with_extras().opening = std::make_unique<Connection::Opening>();
  c.opening().peer = std::move(peer);
  c.opening().opened_at = now;
  c.timer = arm(now + limits().connect_timeout, TimerKind::Connection, id.value());
  ++stats_.sockets_opened;
  return id;
}

ConnectionId Shard::adopted(HandOver handover, base::Instant now) {
  const ConnectionId id = connections_.emplace();
  Connection& c = connections_.at(id);
  c.socket = handover.peer.socket;
  c.loopback = handover.peer.loopback;
  c.connect_read_at = handover.read_at;
  c.with_extras().opening = std::make_unique<Connection::Opening>();
  c.opening().peer = std::move(handover.peer);
  c.opening().opened_at = handover.opened_at;
  c.timer = arm(handover.opened_at + limits().connect_timeout, TimerKind::Connection, id.value());
  const std::vector<std::uint8_t> unread = std::move(handover.unread);
  process(id, unread, now);
  // What came behind CONNECT was read with it, whenever this shard got round to it.
  if (Connection* in = connections_.find(id); in != nullptr && in->state == Connection::State::Connected) {
    in->keep_alive.heard_until(handover.read_at);
  }
  return id;
}

void Shard::closed(ConnectionId id, SocketEnd end, const std::optional<base::TcpEvidence>& evidence,
                   base::Instant now) {
  finish_input(id, now);
  if (connections_.find(id) == nullptr) return;
  Departure departure;
  departure.cause = end == SocketEnd::Closed ? DisconnectReason::ConnectionClosed : DisconnectReason::ConnectionError;
  switch (end) {
    case SocketEnd::Closed: departure.detail = "the peer closed the socket"; break;
    case SocketEnd::Reset: departure.detail = "the peer reset the connection"; break;
    case SocketEnd::TimedOut: departure.detail = "TCP gave up: nobody acknowledges"; break;
    case SocketEnd::Failed: departure.detail = "the socket failed"; break;
  }
  departure.evidence = evidence;
  leave(id, departure, now);
}

const Outbox* Shard::outbox(ConnectionId id) const {
  const Connection* c = connections_.find(id);
  return c == nullptr || c->held(stored_) ? nullptr : c->outbox.get();
}

// A counter is full.
void Shard::carry(Connection& c, std::uint32_t Connection::* counter) {
  if (c.state != Connection::State::Connected) return;
  PresencePast& past = presence_of(c).change_past();
  const std::uint64_t full = std::uint64_t{1} << 32U;
  if (counter == &Connection::packets_received) past.packets_received += full;
  if (counter == &Connection::packets_sent) past.packets_sent += full;
  if (counter == &Connection::bytes_received) past.bytes_received += full;
  if (counter == &Connection::bytes_sent) past.bytes_sent += full;
}

std::uint64_t Shard::socket(ConnectionId id) const {
  const Connection* c = connections_.find(id);
  return c == nullptr ? 0 : c->socket;
}

Connection::Output& Shard::with_outbox(Connection& c) {
  if (!c.outbox) c.outbox = spare_outboxes_.take();
  return *c.outbox;
}

Outbox& Shard::outbox_of(ConnectionId id, Connection& c) {
  Outbox& outbox = with_outbox(c);
  to_send(id, c);
  return outbox;
}

void Shard::to_send(ConnectionId id, Connection& c) {
  if (c.queued_to_send || c.held(stored_)) return;
  c.queued_to_send = true;
  effects_.sends.push_back(id);
}

std::vector<std::uint8_t>& Shard::control_lane(ConnectionId id, Connection& c) {
  count(c, &Connection::packets_sent, 1);
  ++stats_.messages_sent;
  return outbox_of(id, c).control();
}

const Outbox* Shard::wrote(ConnectionId id, std::size_t written, SocketRoom room, base::Instant now) {
  Connection* c = connections_.find(id);
  if (c == nullptr) return nullptr;
  c->queued_to_send = false;
  if (!c->outbox) return nullptr;
  c->outbox->consume(written);
  count(*c, &Connection::bytes_sent, written);
  stats_.bytes_sent += written;
  if (c->outbox->empty()) {
    stop(c->outbox->stall_timer);
    spare_outboxes_.give_back(std::move(c->outbox));
  } else if (room == SocketRoom::Left) {
    // It was not offered everything.
  } else if (!c->outbox->stall_timer) {
    c->outbox->congested();
    c->outbox->stall_timer = arm(now + limits().write_stall_timeout, TimerKind::WriteStall, id.value());
  } else if (written > 0) {
    wheel_.move(c->outbox->stall_timer, now + limits().write_stall_timeout);
  }
  if (c->owed_much || c->blocked) {
    if (c->owed_much) resume_if_owed_less(id, *c);
    if (c->blocked && (!c->outbox || c->outbox->data_size() <= limits().max_output_bytes / kResumeDivisor)) {
      c->blocked = false;
      output_drained(id, *c, now);
    }
  }
  return c->outbox.get();
}

void Shard::output_drained(ConnectionId /*id*/, Connection& c, base::Instant now) {
  if (Session* s = sessions_.find(c.session); s != nullptr) {
    pump(c.session, *s, now);
    if (s->has_feeds()) continue_feeds(c.session, *s);
  }
}

void Shard::log(LogLevel level, std::string_view event, std::string message,
                std::vector<std::pair<std::string_view, std::string>> fields) {
  effects_.log.push_back({level, event, std::move(message), std::move(fields)});
}

bool Shard::kick(std::string_view client_id, base::Instant now) {
  const Session* s = client_session(client_id);
  if (s == nullptr || !s->connected()) return false;
  leave(s->connection, {.cause = DisconnectReason::AdministrativeAction}, now);
  return true;
}

void Shard::reconfigure(const Limits& limits, const KeepAlivePolicy& keep_alive) {
  const bool sys_was_on = setup_.limits.sys_enabled;
  setup_.limits = limits;
  setup_.keep_alive = keep_alive;
  retained_.set_bounds(retained_bounds());
  presence_.set_bounds(presence_bounds());
  stop(presence_timer_);
  presence_due_ = start_;
  presence_timer_ = arm(start_, TimerKind::Presence, 0);
  if (limits.sys_enabled != sys_was_on) {
    system_topics_.switched(limits.sys_enabled);
    stop(system_timer_);
    if (limits.sys_enabled) {
      system_timer_ = arm(start_, TimerKind::System, 0);
    } else {
      // What is retained would become stale. Each shard clears its own index, so subscribers are sent nothing.
      retained_.forget_brokers_own();
    }
  }
}

bool Shard::shut_down(std::size_t limit, base::Instant now) {
  if (!shutting_down_) {
    // The wills first, while those who wait for them are still connected. What is only in memory does not outlive the
    // process: delays end with it. Those in the store go on after the next start [MQTT-3.1.2-8].
    shutting_down_ = true;
    sessions_.for_each([&](SessionId sid, Session& s) {
      const bool waits = s.connected() ? s.will && s.will->delay_s > 0 : true;
      if (!s.will || (s.key.sequence != 0 && waits)) return;
      const JointScope joint(*this, s.key.sequence != 0, s.joint());
      publish_will(s, now);
      put_session(sid, s);
    });
    return connections_.empty();
  }
  for (; limit > 0 && shutdown_cursor_ < connections_.slot_count(); ++shutdown_cursor_) {
    const auto [id, c] = connections_.at_index(shutdown_cursor_);
    if (c == nullptr) continue;
    leave(id, {.cause = DisconnectReason::ServerShutdown}, now);
    --limit;
  }
  if (shutdown_cursor_ >= connections_.slot_count() && !connections_.empty()) shutdown_cursor_ = 0;
  return connections_.empty();
}

const Session* Shard::client_session(std::string_view client_id) const {
  const PresenceRecord* record = presence_.find(client_id);
  return record == nullptr ? nullptr : sessions_.find(record->session);
}

const Stats& Shard::stats() const {
  stats_.subscriptions = subscriptions_.size();
  stats_.retained_messages = retained_.count();
  stats_.retained_bytes = retained_.bytes();
  stats_.presence_records = presence_.size();
  stats_.presence_bytes = presence_.memory();
  return stats_;
}

ShardCore::ClientView Shard::client(std::string_view client_id) const {
  ShardCore::ClientView view;
  const Session* s = client_session(client_id);
  if (s == nullptr) return view;
  view.exists = true;
  view.connected = s->connected();
  view.connection = s->connection;
  view.epoch = presence_.find(client_id)->incarnation;
  view.subscriptions = s->subscriptions.size();
  view.inflight = s->inflight();
  view.queued = s->queued();
  view.has_will = s->will != nullptr;
  if (const Connection* c = connections_.find(s->connection); c != nullptr) {
    view.last_heard = c->keep_alive.last_heard();
    view.deadline = c->keep_alive.deadline();
  }
  return view;
}

}  // namespace vigil::broker
