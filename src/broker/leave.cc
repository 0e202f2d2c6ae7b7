// Connections and sessions end. What each cause means stands in one table (ending.cc); here it is carried out.
#include <fmt/format.h>

#include "base/tcp_verdict.h"
#include "broker/printable.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

using mqtt::Property;
using mqtt::ReasonCode;
using mqtt::Version;

std::string what_happened(const Departure& departure) {
  if (!departure.text.empty()) return ": " + departure.text;
  if (departure.field.empty() && departure.detail.empty()) return {};
  if (departure.field.empty()) return ": " + std::string(departure.detail);
  if (departure.name.empty()) return fmt::format(": {}: {}", departure.field, departure.detail);
  return fmt::format(": {}: {}: \"{}\"", departure.field, departure.detail, printable(departure.name));
}

}  // namespace

void Shard::leave(ConnectionId id, const Departure& departure, base::Instant now) {
  // What was read of it before counts, whatever ends it: an acknowledgement may stand behind a message that was put
  // off.
  finish_input(id, now);
  Connection* found = connections_.find(id);
  if (found == nullptr) return;
  Connection& c = *found;
  stop(c.timer);
  if (c.outbox) stop(c.outbox->stall_timer);
  if (c.state != Connection::State::Connected) {
    refuse(id, c, departure, now);
    return;
  }
  const Ending& ending = ending_of(departure.cause);
  const std::optional<ReasonCode> code = departure.code ? departure.code : ending.disconnect;
  if (c.outbox) c.outbox->drop_messages();
  if (code && c.version == Version::V5) {
    mqtt::Disconnect packet;
    packet.reason = *code;
    const std::string reason_string =
        !departure.reason_string.empty() ? departure.reason_string : std::string(what_happened(departure).erase(0, 2));
    if (c.problem_information && !reason_string.empty() && departure.cause != DisconnectReason::KeepAliveTimeout) {
      packet.properties.set_text(Property::ReasonString, reason_string);
      if (c.maximum_packet_size > 0 && mqtt::encoded_size(c.version, packet) > c.maximum_packet_size)
        packet.properties = {};
    }
    if (logs(LogLevel::Trace)) trace(c, "to", packet);
    mqtt::encode_disconnect(control_lane(id, c), c.version, packet);
  }

  const SessionId sid = c.session;
  Session& s = sessions_.at(sid);
  PresenceRecord& record = presence_of(c);
  const Moment at = moment(now);
  const base::Duration silent = now - c.keep_alive.last_heard();
  record.connected = false;
  if (c.at_risk) --stats_.at_risk;
  record.reason = departure.cause;
  PresencePast& past = record.change_past();
  past.disconnected_at_ms = at.unix_ms;
  past.last_seen_ms = moment(c.keep_alive.last_heard()).unix_ms;
  past.detail = departure.detail;
  past.evidence = departure.evidence;
  past.verdict = departure.evidence ? std::optional(base::judge(departure.evidence, silent)) : std::nullopt;
  past.rhythm = c.keep_alive.rhythm();
  past.disconnects.add(at.unix_ms);
  past.packets_received += c.packets_received;
  past.packets_sent += c.packets_sent;
  past.bytes_received += c.bytes_received;
  past.bytes_sent += c.bytes_sent;
  if (departure.cause == DisconnectReason::KeepAliveTimeout) {
    ++past.keep_alive_timeouts;
    ++stats_.keep_alive_timeouts;
  }
  if (departure.cause == DisconnectReason::ProtocolError) ++stats_.protocol_errors;
  if (departure.cause == DisconnectReason::WriteStalled) ++stats_.write_stalls;
  --stats_.clients_connected;
  ++stats_.clients_disconnected;

  if (const LogLevel level = ending.client_fault ? LogLevel::Warn : LogLevel::Info; logs(level)) {
    // Where silence is the reason, or may be a part of it.
    std::string silence;
    if (departure.cause == DisconnectReason::KeepAliveTimeout || now >= c.keep_alive.at_risk_from()) {
      silence = fmt::format(" (silent for {} ms)", std::chrono::duration_cast<base::milliseconds>(silent).count());
    }
    log(level, "client_disconnected",
        fmt::format("Client {} at {} disconnected: {}{}{}.", printable(s.client_id), record.address.view(),
                    name(departure.cause), what_happened(departure), silence),
        {{"clientId", s.client_id.str()},
         {"clientIpAdr", record.address.str()},
         {"disconnectReason", std::string(name(departure.cause))}});
  }

  // The socket may have ended by itself: the effect then only clears up.
  close_effect(id, c, departure.cause);
  s.connection = {};
  note(record,
       {.kind = PresenceEventKind::Disconnected,
        .reason = departure.cause,
        .unix_ms = at.unix_ms,
        .incarnation = record.incarnation,
        .address = record.address},
       now);
  client_away(sid, s, departure, now);
}

// A connection that never got as far as CONNACK.
void Shard::refuse(ConnectionId id, Connection& c, const Departure& departure, base::Instant now) {
  if (departure.cause == DisconnectReason::ConnectionRefused && departure.code) {
    mqtt::ConnAck answer;
    answer.reason = *departure.code;
    const bool can_be_told = c.version == Version::V5 || mqtt::connack_return_code_v3(*departure.code).has_value();
    if (can_be_told) {
      const std::string reason_string = what_happened(departure).erase(0, 2);
      if (!reason_string.empty()) answer.properties.set_text(Property::ReasonString, reason_string);
      if (!fits(c, answer)) answer.properties = {};
      if (fits(c, answer)) {
        if (logs(LogLevel::Trace)) trace(c, "to", answer);
        mqtt::encode_connack(control_lane(id, c), c.version, answer);
      }
    }
  }
  ++stats_.connects_refused;
  const bool quiet =
      departure.cause == DisconnectReason::ConnectionClosed || departure.cause == DisconnectReason::ServerShutdown;
  if (may_log_refusal(now)) {
    std::vector<std::pair<std::string_view, std::string>> fields = {
        {"clientIpAdr", c.opening().peer.address}, {"disconnectReason", std::string(name(departure.cause))}};
    std::string as;
    if (!departure.client_id.empty()) {
      as = " as " + printable(departure.client_id);
      fields.emplace_back("clientId", departure.client_id);
    }
    log(quiet ? LogLevel::Debug : LogLevel::Warn, "connection_refused",
        fmt::format("Connection from {}{} ended before it was accepted: {}{}.", c.opening().peer.address, as,
                    name(departure.cause), what_happened(departure)),
        std::move(fields));
  }
  close_effect(id, c, departure.cause);
}

void Shard::close_effect(ConnectionId id, Connection& c, DisconnectReason reason) {
  Close close{.connection = id, .socket = c.socket, .reason = reason, .last_bytes = {}};
  if (c.outbox) {
    // A client that has not had its CONNACK yet hears nothing else.
    if (!c.held(stored_)) close.last_bytes = c.outbox->take_all();
    c.outbox.reset();
  }
  effects_.closes.push_back(std::move(close));
  connections_.erase(id);
}

// The connection is gone; the session's fate and the will's.
void Shard::client_away(SessionId sid, Session& s, const Departure& departure, base::Instant now) {
  if (s.will && ending_of(departure.cause).will == WillFate::Cancelled) cancel_will(s, now);
  // What waited only because the client was slow is not kept for one that is away.
  if (s.delivery) {
    drop_queued(s, [this](const Delivery& waiting) {
      return waiting.terms.qos == mqtt::QoS::AtMostOnce && !limits().queue_qos0_offline;
    });
  }
  if (s.has_feeds()) s.extras->feeds.clear();
  members_came_or_went(s);
  if (s.expiry_s == 0 || departure.session_ends) {
    end_session(sid, now);
    return;
  }
  // What it leaves behind, and the record of it, are stored as one.
  const JointScope joint(*this, s.key.sequence != 0 && (s.will || s.shared_subscriptions > 0), s.joint());
  // Whoever takes its own session over goes on with what it has not acknowledged.
  if (departure.cause != DisconnectReason::SessionTakenOver) {
    redistribute(s, false, now);
    page_out(s);
    arm_sweep(sid, s);
  }
  s.expires = s.expiry_s == mqtt::kNoSessionExpiry ? base::Instant::never() : now + base::seconds(s.expiry_s);
  if (s.will) {
    s.will->due = now + base::seconds(s.will->delay_s);
    if (s.will->delay_s == 0) publish_will(s, now);
  }
  put_session(sid, s);
  arm_session(sid, s);
}

void Shard::arm_session(SessionId sid, Session& s) {
  stop(s.timer);
  const base::Instant due = std::min(s.expires, s.will ? s.will->due : base::Instant::never());
  if (!due.is_never()) s.timer = arm(due, TimerKind::Session, sid.value());
}

// The session and all that belongs to it. A will still owed is published now: the session ends before its delay has
// passed [MQTT-3.1.2-8].
void Shard::end_session(SessionId sid, base::Instant now) {
  Session& s = sessions_.at(sid);
  CHECK(!s.connected());
  stop(s.timer);
  JointScope joint(*this, s.key.sequence != 0 && (s.will || s.shared_subscriptions > 0), s.joint());
  if (s.will) publish_will(s, now);
  // Its own subscriptions first: what is given to others must not come back to it.
  auto held = std::move(s.subscriptions);
  s.subscriptions.clear();
  for (const OwnSubscription& subscription : held) {
    const auto filter = mqtt::TopicFilter::parse(subscription.text);
    const auto removed = subscriptions_.remove(*filter, sid.value());
    if (filter->shared()) {
      --stats_.shared_subscriptions;
      group_changed(*filter, {.members = -1});
    } else if (removed.last_of_filter) {
      interest_lost(*filter);
    }
  }
  s.subscriptions = std::move(held);
  redistribute(s, true, now);
  JointId ended_with = s.joint();
  if (s.key.sequence != 0) {
    const auto owed = joints_.find(s.joint());
    if (owed != joints_.end() && owed->second.waiting > 0) {
      owed->second.ended.push_back(s.key);
    } else if (sink_ != nullptr) {
      sink_->ended.push_back(s.key);
      ended_with = sink_->id;
    } else {
      emit_end(s.key, s.stored_alone());
    }
  }
  if (s.delivery) {
    stop(s.delivery->sweep_timer);
    stats_.queued_messages -= s.queued();
    stats_.queued_bytes -= s.delivery->queued_bytes + s.delivery->tail.bytes;
    stats_.inflight_messages -= s.delivery->inflight.size();
  }
  --stats_.clients_disconnected;
  // After a crash a later session of the same client may be there already.
  if (PresenceRecord* record = presence_.find(s.presence); record != nullptr && record->session == sid) {
    record->has_session = false;
    if (ended_with != 0) record->change_past().ended_with = ended_with;
    note(*record,
         {.kind = PresenceEventKind::SessionEnded, .unix_ms = moment(now).unix_ms, .incarnation = record->incarnation},
         now);
    record->session = {};
  }
  const PresenceId presence = s.presence;
  const bool was_stored = s.key.sequence != 0;
  sessions_.erase(sid);
  joint.close();
  PresenceRecord* record = presence_.find(presence);
  if (record == nullptr) return;
  if (was_stored) record->change_past().ended_in = last_batch_;
  if (record->has_session) return;
  presence_.may_forget(presence, now);
  mind_presence(now);
}

void Shard::publish_will(Session& s, base::Instant now) {
  const std::unique_ptr<SessionWill> will = std::move(s.will);
  Message::Spec spec = will_message(*will, now);
  spec.publisher = s.self;
  spec.position = next_position(now);
  route(Message::make(spec), {}, now);
  ++stats_.wills_published;
  if (PresenceRecord* record = presence_.find(s.presence); record != nullptr) {
    ++record->change_past().wills_published;
    note(*record,
         {.kind = PresenceEventKind::WillPublished, .unix_ms = moment(now).unix_ms, .incarnation = record->incarnation},
         now);
  }
}

void Shard::cancel_will(Session& s, base::Instant now) {
  s.will.reset();
  ++stats_.wills_cancelled;
  if (PresenceRecord* record = presence_.find(s.presence); record != nullptr) {
    ++record->change_past().wills_cancelled;
    note(*record,
         {.kind = PresenceEventKind::WillCancelled, .unix_ms = moment(now).unix_ms, .incarnation = record->incarnation},
         now);
  }
}

}  // namespace vigil::broker
