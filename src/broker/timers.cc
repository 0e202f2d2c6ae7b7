// What time brings. A timer that fires asks its question anew: most find that something was heard meanwhile and are set
// again.
#include <fmt/format.h>

#include "broker/shard.h"

namespace vigil::broker {
namespace {

// Timers fired in one call of advance(); the rest stays due.
constexpr std::size_t kMostTimersATurn = 4096;

}  // namespace

void Shard::advance(base::Instant now) {
  fired_.clear();
  wheel_.advance(now, fired_, kMostTimersATurn);
  // Sessions may end and connections may go while the list is walked: stale ids find nothing.
  for (const base::TimerOwner& owner : fired_) {
    switch (static_cast<TimerKind>(owner.kind)) {
      case TimerKind::Connection: connection_timer(ConnectionId::from_value(owner.id), now); break;
      case TimerKind::WriteStall: {
        const ConnectionId id = ConnectionId::from_value(owner.id);
        if (Connection* c = connections_.find(id); c != nullptr) {
          if (c->outbox) c->outbox->stall_timer = {};
          if (c->outbox && !c->outbox->empty()) {
            leave(id,
                  {.cause = DisconnectReason::WriteStalled,
                   .detail = "the peer does not read",
                   .text = "the peer does not read: limits.write_stall_timeout_s is over"},
                  now);
          }
        }
        break;
      }
      case TimerKind::Session: session_timer(SessionId::from_value(owner.id), now); break;
      case TimerKind::Sweep: sweep_timer(SessionId::from_value(owner.id), now); break;
      case TimerKind::Reload: reload_timer(SessionId::from_value(owner.id)); break;
      case TimerKind::Retained: retained_timer(owner.id, now); break;
      case TimerKind::Answers:
        answers_timer_ = {};
        serve_ring(now);
        break;
      case TimerKind::Pings: release_pings(ConnectionId::from_value(owner.id)); break;
      case TimerKind::Presence: presence_timer(now); break;
      case TimerKind::System: system_timer(now); break;
    }
  }
}

// Keep alive is looked at when it may be at risk, then at the end of one and a half periods.
void Shard::arm_keep_alive(ConnectionId id, Connection& c) {
  if (!c.keep_alive.enabled()) return;
  const base::Instant due = c.at_risk ? c.keep_alive.deadline() : c.keep_alive.at_risk_from();
  c.timer = arm(on_tick(due, start_, setup_.keep_alive.tick), TimerKind::Connection, id.value());
}

// Without a keep alive nothing else would find a peer that leaves a packet unfinished.
void Shard::watch_unfinished(ConnectionId id, Connection& c, base::Instant since) {
  if (c.keep_alive.enabled() || c.timer || c.unfinished().empty()) return;
  c.timer = arm(since + limits().write_stall_timeout, TimerKind::Connection, id.value());
}

void Shard::connection_timer(ConnectionId id, base::Instant now) {
  Connection* found = connections_.find(id);
  if (found == nullptr) return;
  Connection& c = *found;
  c.timer = {};
  if (c.state != Connection::State::Connected) {
    leave(id,
          {.cause = DisconnectReason::ConnectTimeout,
           .detail = "no complete CONNECT, or authentication not finished, in time",
           .text = "no complete CONNECT, or authentication not finished, within limits.connect_timeout_s"},
          now);
    return;
  }
  // Its CONNACK waits for the store: it may wait for that, too.
  if (c.held(stored_)) c.keep_alive.waited(now);
  if (!c.keep_alive.enabled()) {
    if (c.unfinished().empty()) return;
    // It is complete, and waits for us.
    if (c.behind) {
      c.keep_alive.waited(now);
      watch_unfinished(id, c, now);
      return;
    }
    // It may be another packet's beginning than the one the timer was set for.
    if (now - c.keep_alive.unfinished_since() < limits().write_stall_timeout) {
      watch_unfinished(id, c, c.keep_alive.unfinished_since());
      return;
    }
    if (!c.keep_alive.credit_progress(limits().min_receive_rate, limits().write_stall_timeout, now)) {
      leave(id,
            {.cause = DisconnectReason::ProtocolError,
             .field = "packet",
             .detail = "arrives more slowly than limits.min_receive_rate"},
            now);
      return;
    }
    watch_unfinished(id, c, now);
    return;
  }
  if (c.keep_alive.expired(now) && !c.keep_alive.credit_progress(limits().min_receive_rate, now)) {
    // Its socket is read once more before it is judged.
    effects_.suspects.push_back(id);
    return;
  }
  if (!c.at_risk && now >= c.keep_alive.at_risk_from()) {
    c.at_risk = true;
    ++stats_.at_risk;
    PresenceRecord& record = presence_of(c);
    note(record, {.kind = PresenceEventKind::AtRisk, .unix_ms = moment(now).unix_ms, .incarnation = record.incarnation},
         now);
  }
  arm_keep_alive(id, c);
}

void Shard::judge(ConnectionId id, const std::optional<base::TcpEvidence>& evidence, base::Instant now) {
  Connection* found = connections_.find(id);
  if (found == nullptr || found->state != Connection::State::Connected || found->timer) return;
  Connection& c = *found;
  if (!c.keep_alive.expired(now) || c.keep_alive.credit_progress(limits().min_receive_rate, now)) {
    arm_keep_alive(id, c);
    return;
  }
  finish_input(id, now);
  if (connections_.find(id) == nullptr) return;
  Departure departure;
  departure.cause = DisconnectReason::KeepAliveTimeout;
  departure.evidence = evidence;
  leave(id, departure, now);
}

void Shard::waits_to_be_read(ConnectionId id, base::Instant now) {
  Connection* c = connections_.find(id);
  if (c == nullptr || c->state != Connection::State::Connected || c->timer) return;
  c->keep_alive.waited(now);
  arm_keep_alive(id, *c);
}

void Shard::session_timer(SessionId sid, base::Instant now) {
  Session* s = sessions_.find(sid);
  if (s == nullptr || s->connected()) return;
  s->timer = {};
  if (s->expires <= now) {
    ++stats_.clients_expired;
    end_session(sid, now);
    return;
  }
  if (s->will && s->will->due <= now) {
    const JointScope joint(*this, s->key.sequence != 0, s->joint());
    publish_will(*s, now);
    put_session(sid, *s);
  }
  arm_session(sid, *s);
}

void Shard::retained_timer(std::uint64_t timer_id, base::Instant now) {
  const auto topic = retained_.expired(timer_id, now);
  if (topic && stores_retained(*topic)) emit(DropRetained{*topic});
}

// Time for $SYS/broker: shard 0 is told the counters of the others.
void Shard::system_timer(base::Instant now) {
  if (setup_.id != 0) {
    post(0, StatsMail{std::make_shared<const Stats>(stats()), system_topics_.switches()});
  } else {
    publish_figures(system_topics_.due({stats(), now - start_}), now);
  }
  system_timer_ = {};
  // On a grid, so that no shard drifts away from the others.
  if (limits().sys_enabled) {
    system_timer_ = arm(on_tick(now + base::milliseconds(1), start_ + base::milliseconds(1), limits().sys_interval),
                        TimerKind::System, 0);
  }
}

void Shard::publish_figures(const SystemTopics::Texts& figures, base::Instant now) {
  for (const FigureTexts::Text& figure : figures) {
    Message::Spec spec;
    spec.topic = figure.topic;
    spec.payload = base::as_bytes(figure.text);
    spec.retain = true;
    spec.position = next_position(now);
    route(Message::make(spec), {}, now);
  }
}

}  // namespace vigil::broker
