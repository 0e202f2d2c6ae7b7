// Bytes into packets, and the packets that need no file of their own.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "broker/control_characters.h"
#include "broker/foreign_protocol.h"
#include "broker/shard.h"
#include "mqtt/describe.h"

namespace vigil::broker {
namespace {

using mqtt::PacketType;
using mqtt::Property;
using mqtt::ReasonCode;

// Hands a packet on that is legal, without moving it.
template <class T, class Handle>
base::Result<void, Departure> if_legal(mqtt::Decoded<T>&& decoded, Departure (*to_departure)(const mqtt::DecodeError&),
                                       Handle&& handle) {
  if (!decoded) return std::unexpected(to_departure(decoded.error()));
  return handle(*decoded);
}

// Of a packet in whose names there are control characters. Out of line: hardly any packet has some.
template <class T, class Handle>
[[gnu::noinline]] base::Result<void, Departure> if_allowed(T& packet, const Limits& limits, Handle& handle) {
  if (auto refused = refused_control_characters(packet, limits)) return std::unexpected(std::move(*refused));
  return handle(packet);
}

// The same for a packet with names in it.
template <class T, class Handle>
base::Result<void, Departure> if_legal(mqtt::Decoded<T>&& decoded, Departure (*to_departure)(const mqtt::DecodeError&),
                                       const Limits& limits, Handle&& handle) {
  if (!decoded) return std::unexpected(to_departure(decoded.error()));
  if (decoded->control_characters) [[unlikely]]
    return if_allowed(*decoded, limits, handle);
  return handle(*decoded);
}

// Answers that a connection is owed: not read by it, or waiting for other shards or for the store. They are never
// dropped. A client that is owed more than this is not served further until it is owed half as much: it may have said
// much at once, which is no fault, or it does not read.
constexpr std::size_t kMostControlBytes = std::size_t{256} << 10U;
constexpr std::size_t kMostPendingAnswers = 1'024;
constexpr std::size_t kMostPendingAcks = 16'384;

// The version whose rules hold for a frame: before CONNECT has said one, the strictest.
mqtt::Version framing_of(const Connection& c) {
  return c.state == Connection::State::AwaitingConnect ? mqtt::Version::V5 : c.version;
}

Departure protocol_error(std::string_view field, std::string_view detail) {
  return {.cause = DisconnectReason::ProtocolError, .field = field, .detail = detail};
}

}  // namespace

Departure Shard::malformed(const mqtt::DecodeError& error) {
  return {.cause = DisconnectReason::ProtocolError,
          .code = error.code,
          .field = error.field,
          .detail = error.detail,
          .name = error.text};
}

// What begins at `bytes` is no packet, or one that is too large. Of the first packet of a connection: perhaps somebody
// speaks another protocol.
Departure Shard::bad_header(Connection& c, base::Bytes bytes, const mqtt::DecodeError& error) const {
  const bool connecting = c.state == Connection::State::AwaitingConnect;
  Departure departure = malformed(error);
  if (error.code != ReasonCode::PacketTooLarge) {
    if (connecting) departure.text = foreign_protocol(bytes);
    return departure;
  }
  if (connecting) {
    if (departure.text = foreign_protocol(bytes); !departure.text.empty()) return departure;
  }
  const auto header = mqtt::decode_header(bytes, UINT32_MAX, framing_of(c));
  if (!header || !*header) return departure;
  if (connecting && (*header)->type == PacketType::Connect) {
    // Its beginning tells how to answer.
    if (const auto version = mqtt::peek_version(bytes.subspan((*header)->header_size))) {
      c.version = *version;
      departure.cause = DisconnectReason::ConnectionRefused;
    }
  }
  departure.text = fmt::format(
      "{}: a {} of {} bytes is too large: {} is {}", error.field, mqtt::packet_name((*header)->type), (*header)->size(),
      connecting && limits().max_connect_size < limits().max_packet_size ? "limits.max_connect_size"
                                                                         : "limits.max_packet_size",
      max_packet_size(connecting));
  return departure;
}

Departure Shard::not_a_connect(base::Bytes bytes) {
  Departure departure = protocol_error("packet type", "the first packet is not a CONNECT");
  departure.text = foreign_protocol(bytes);
  return departure;
}

void Shard::heard(Connection& c, base::Instant now) {
  c.keep_alive.heard(now);
  count(c, &Connection::packets_received, 1);
  ++stats_.messages_received;
}

void Shard::received(ConnectionId id, base::Bytes bytes, base::Instant now) {
  Connection* c = connections_.find(id);
  if (c == nullptr || bytes.empty()) return;
  count(*c, &Connection::bytes_received, bytes.size());
  stats_.bytes_received += bytes.size();
  const std::uint64_t erased = connections_.erased();
  const base::Instant heard_before = c->keep_alive.last_heard();
  const bool was_connected = c->state == Connection::State::Connected;
  if (c->state == Connection::State::TakingOver) {
    c->add_unfinished(bytes);
    return;
  }
  if (c->behind) {
    c->add_unfinished(bytes);
    c->keep_alive.heard(now);
    return;
  }
  if (c->unfinished().empty()) {
    process(id, bytes, now);
  } else {
    c->add_unfinished(bytes);
    // The whole packet may still be missing: then there is nothing to do but to note that it grows.
    const bool connecting = c->state == Connection::State::AwaitingConnect;
    const auto header = mqtt::decode_header(c->unfinished(), max_packet_size(connecting), framing_of(*c));
    const bool legal_so_far = header && (!*header || !connecting || (*header)->type == PacketType::Connect);
    if (legal_so_far && (!*header || (*header)->size() > c->unfinished().size())) {
      c->keep_alive.heard_part(bytes.size(), now);
      return;
    }
    const auto all = c->take_unfinished();
    process(id, base::Bytes(all.data(), all.size()), now);
  }
  if (connections_.erased() != erased) c = connections_.find(id);
  if (c == nullptr) return;
  if (c->outbox && c->outbox->control_size() >= kMostControlBytes) c->owed_much = true;
  if (!was_connected || c->keep_alive.last_heard() == heard_before) return;
  c->keep_alive.rhythm().beat(now - heard_before);
  if (c->at_risk) {
    c->at_risk = false;
    --stats_.at_risk;
    PresenceRecord& record = presence_of(*c);
    note(record,
         {.kind = PresenceEventKind::Recovered, .unix_ms = moment(now).unix_ms, .incarnation = record.incarnation},
         now);
  }
}

void Shard::process(ConnectionId id, base::Bytes bytes, base::Instant now) {
  Connection* c = connections_.find(id);
  for (std::uint64_t erased = connections_.erased(); !bytes.empty();) {
    if (connections_.erased() != erased) {
      erased = connections_.erased();
      c = connections_.find(id);
    }
    if (c == nullptr) return;
    if (c->state == Connection::State::TakingOver) {
      c->set_unfinished(bytes);
      return;
    }
    const bool connecting = c->state == Connection::State::AwaitingConnect;
    const auto header = mqtt::decode_header(bytes, max_packet_size(connecting), framing_of(*c));
    if (!header) {
      leave(id, bad_header(*c, bytes, header.error()), now);
      return;
    }
    if (connecting && (*header) && (*header)->type != PacketType::Connect) {
      leave(id, not_a_connect(bytes), now);
      return;
    }
    if (!*header || (*header)->size() > bytes.size()) {
      c->set_unfinished(bytes);
      c->keep_alive.heard_part(bytes.size(), now);
      if (!connecting) watch_unfinished(id, *c, now);
      return;
    }
    const mqtt::FrameHeader& frame = **header;
    Step step;
    if (connecting) {
      bool moved = false;
      step = first_packet(id, frame, bytes.first(frame.size()), bytes.subspan(frame.size()), moved, now);
      if (moved) return;
    } else if ((c->owed_much && !finishing_) || !room_for(frame.type)) {
      put_off(id, *c, bytes, now);
      return;
    } else {
      heard(*c, now);
      step = packet(id, *c, frame, bytes.subspan(frame.header_size, frame.remaining), now);
    }
    if (!step) {
      leave(id, step.error(), now);
      return;
    }
    bytes = bytes.subspan(frame.size());
  }
}

// --- more than there is room for

void Shard::allow(const Intake& intake) {
  intake_ = intake;
  intake_from_ = emitted_;
}

// What asks for more work of the store than it hands over. An acknowledgement or a ping never waits.
bool Shard::room_for(PacketType type) const {
  if (type != PacketType::Publish && type != PacketType::Subscribe && type != PacketType::Unsubscribe) return true;
  return emitted_ - intake_from_ < intake_.changes;
}

[[gnu::always_inline]] inline void Shard::send_pingresp(ConnectionId id, Connection& c) {
  if (logs(LogLevel::Trace)) trace(c, "to", mqtt::PingResp{});
  auto& out = control_lane(id, c);
  out.push_back(0xD0);
  out.push_back(0x00);
}

// To be asked where the answers that a connection is owed have become more.
void Shard::look_at_owed(Connection& c) {
  if (is_owed(c, 1)) c.owed_much = true;
}

// As many answers as 1/part of what a connection may be owed.
bool Shard::is_owed(const Connection& c, std::size_t part) {
  return c.pending_answers >= kMostPendingAnswers / part || c.acks.size() >= kMostPendingAcks / part ||
         (c.outbox && c.outbox->control_size() >= kMostControlBytes / part);
}

// An answer that waited is on its way.
void Shard::answered(ConnectionId id) {
  Connection* c = connections_.find(id);
  if (c == nullptr) return;
  --c->pending_answers;
  if (c->owed_much) resume_if_owed_less(id, *c);
}

// Behind the SUBACKs and UNSUBACKs that the client was owed before, which wait for other shards or the store. But not
// for long: neither a shard nor a disk that stands still makes the broker look dead.
void Shard::hold_ping(ConnectionId id, Connection& c, base::Instant now) {
  constexpr base::Duration kLongest = base::milliseconds(50);
  if (c.with_extras().held_pings++ == 0) arm(now + kLongest, TimerKind::Pings, id.value());
}

void Shard::release_pings(ConnectionId id) {
  Connection* c = connections_.find(id);
  if (c == nullptr || !c->extras) return;
  for (std::uint32_t left = std::exchange(c->extras->held_pings, 0); left > 0; --left) send_pingresp(id, *c);
}

void Shard::resume_if_owed_less(ConnectionId id, Connection& c) {
  if (is_owed(c, 2)) return;
  c.owed_much = false;
  if (c.behind) behind_.push_back(id);
}

// The packet is complete: it counts as heard although it is acted upon later.
void Shard::put_off(ConnectionId id, Connection& c, base::Bytes bytes, base::Instant now) {
  c.set_unfinished(bytes);
  c.keep_alive.heard(now);
  c.behind = true;
  if (!c.owed_much) behind_.push_back(id);
}

bool Shard::behind(ConnectionId id) const {
  const Connection* c = connections_.find(id);
  return c != nullptr && c->behind;
}

void Shard::catch_up(base::Instant now) {
  for (std::size_t left = behind_.size(); left > 0 && room_for(PacketType::Publish); --left) {
    const ConnectionId id = behind_.front();
    behind_.pop_front();
    go_on(id, now);
  }
}

void Shard::go_on(ConnectionId id, base::Instant now) {
  Connection* c = connections_.find(id);
  if (c == nullptr || !c->behind) return;
  c->behind = false;
  const base::Instant last_heard = c->keep_alive.last_heard();
  const auto waiting = c->take_unfinished();
  process(id, base::Bytes(waiting.data(), waiting.size()), now);
  c = connections_.find(id);
  // It was heard when it was read, not now.
  if (c != nullptr) c->keep_alive.heard_until(last_heard);
}

// Before its end everything that it has said is acted upon, room or not.
void Shard::finish_input(ConnectionId id, base::Instant now) {
  if (!behind(id)) return;
  const Intake intake = std::exchange(intake_, {});
  finishing_ = true;
  go_on(id, now);
  finishing_ = false;
  intake_ = intake;
}

// A CONNECT is complete: it is ours, or the shard's that the client id belongs to.
Shard::Step Shard::first_packet(ConnectionId id, const mqtt::FrameHeader& header, base::Bytes frame, base::Bytes rest,
                                bool& moved, base::Instant now) {
  Connection& c = connections_.at(id);
  const base::Bytes body = frame.subspan(header.header_size);
  if (setup_.shards > 1) {
    const auto client_id = mqtt::peek_client_id(body);
    // Without a client id it stays here: the one it gets is ours. What cannot be read is refused here, too.
    if (client_id && !client_id->empty()) {
      const ShardId home = ShardCore::home_of(*client_id, setup_.shards);
      if (home != setup_.id) {
        std::vector<std::uint8_t> unread(frame.begin(), frame.end());
        unread.insert(unread.end(), rest.begin(), rest.end());
        Connection::Opening& opening = c.opening();
        effects_.handovers.push_back(
            {id, c.socket, home, std::move(opening.peer), opening.opened_at, now, std::move(unread)});
        stop(c.timer);
        connections_.erase(id);
        moved = true;
        return {};
      }
    }
  }
  if (c.connect_read_at == base::Instant()) c.connect_read_at = now;
  heard(c, c.connect_read_at);
  const auto packet = mqtt::decode_connect(header, body);
  if (!packet) {
    Departure departure = malformed(packet.error());
    // (The first bytes of TLS look like the header of a CONNECT.)
    departure.text = foreign_protocol({frame.data(), frame.size() + rest.size()});
    if (!departure.text.empty()) return std::unexpected(std::move(departure));
    departure.cause = DisconnectReason::ConnectionRefused;
    c.version = mqtt::peek_version(body).value_or(mqtt::Version::V311);
    return std::unexpected(std::move(departure));
  }
  c.version = packet->version;
  c.bridge = packet->bridge;
  if (logs(LogLevel::Trace)) trace(c, "from", *packet);
  c.maximum_packet_size = packet->properties.number_or(Property::MaximumPacketSize, 0);
  Step step = check_connect(c, *packet, now);
  if (step && packet->properties.has(Property::AuthenticationMethod)) {
    c.opening().connect_packet.assign(frame.begin(), frame.end());
    step = begin_authentication(id, c, *packet);
  } else if (step) {
    step = welcome(id, c, *packet, frame, {}, {}, now);
  }
  if (!step) step.error().client_id = packet->client_id;
  return step;
}

Shard::Step Shard::packet(ConnectionId id, Connection& c, const mqtt::FrameHeader& header, base::Bytes body,
                          base::Instant now) {
  using enum PacketType;
  const mqtt::Sender from = mqtt::Sender::Client;
  if (logs(LogLevel::Trace)) trace_received(c, header, body);
  if (c.state == Connection::State::Authenticating && header.type != Auth && header.type != Disconnect) {
    return std::unexpected(protocol_error("packet type", "authentication has not finished"));
  }
  switch (header.type) {
    case Publish:
      return if_legal(mqtt::decode_publish(header, body, c.version, from), malformed, limits(),
                      [&](mqtt::Publish& packet) { return publish(id, c, packet, now); });
    case PubRel:
      return if_legal(mqtt::decode_ack(header, body, c.version, from), malformed,
                      [&](const mqtt::Ack& packet) { return pubrel(id, c, packet); });
    case PubAck:
    case PubRec:
    case PubComp:
      return if_legal(mqtt::decode_ack(header, body, c.version, from), malformed,
                      [&](const mqtt::Ack& packet) { return client_ack(id, c, packet, now); });
    case Subscribe:
      return if_legal(mqtt::decode_subscribe(header, body, c.version), malformed, limits(),
                      [&](const mqtt::Subscribe& packet) { return subscribe(id, c, packet, now); });
    case Unsubscribe:
      return if_legal(mqtt::decode_unsubscribe(header, body, c.version), malformed, limits(),
                      [&](const mqtt::Unsubscribe& packet) { return unsubscribe(id, c, packet, now); });
    // decode_header() has seen that it has no body.
    case PingReq:
      if (c.pending_answers == 0) {
        send_pingresp(id, c);
      } else {
        hold_ping(id, c, now);
      }
      return {};
    case Disconnect:
      return if_legal(mqtt::decode_disconnect(header, body, c.version, from), malformed,
                      [&](const mqtt::Disconnect& packet) { return disconnect_packet(id, c, packet, now); });
    case Auth: {
      // Not a packet of 3.x: decode says so.
      if (c.version != mqtt::Version::V5) {
        return if_legal(mqtt::decode(header, body, c.version, from), malformed, [](const mqtt::Packet&) -> Step {
          return std::unexpected(protocol_error("packet type", "not a packet of this version"));
        });
      }
      return if_legal(mqtt::decode_auth(header, body, c.version, from), malformed,
                      [&](const mqtt::Auth& packet) { return auth_packet(id, c, packet); });
    }
    case Connect: return std::unexpected(protocol_error("packet type", "a second CONNECT"));
    case ConnAck:
    case SubAck:
    case UnsubAck:
    case PingResp: break;
  }
  return std::unexpected(protocol_error("packet type", "not a packet that a client sends"));
}

Shard::Step Shard::disconnect_packet(ConnectionId id, Connection& c, const mqtt::Disconnect& packet,
                                     base::Instant now) {
  if (const auto expiry = packet.properties.number(Property::SessionExpiryInterval)) {
    Session* s = sessions_.find(c.session);
    // A session that was to end with its connection cannot be kept after all (3.14.2.2.2).
    if (s != nullptr && !c.asked_for_expiry && *expiry != 0) {
      return std::unexpected(protocol_error("Session Expiry Interval", "was 0 in CONNECT and cannot be raised"));
    }
    // One that session.max_expiry_s ends with its connection was never stored, and the client was told so in CONNACK.
    if (s != nullptr && s->expiry_s != 0) {
      s->expiry_s = std::min(*expiry, limits().max_session_expiry_s);
      if (PresenceRecord* record = presence_.find(s->presence); record != nullptr)
        record->session_expiry_s = s->expiry_s;
    }
  }
  Departure departure;
  departure.cause = packet.reason == ReasonCode::Success              ? DisconnectReason::ClientDisconnect
                    : packet.reason == ReasonCode::DisconnectWithWill ? DisconnectReason::ClientDisconnectWithWill
                                                                      : DisconnectReason::ClientError;
  if (departure.cause == DisconnectReason::ClientError) departure.detail = mqtt::reason_name(packet.reason);
  leave(id, departure, now);
  return {};
}

Shard::Step Shard::auth_packet(ConnectionId id, Connection& c, const mqtt::Auth& packet) {
  if (!c.has_auth_method())
    return std::unexpected(protocol_error("packet type", "AUTH without an Authentication Method in CONNECT"));
  if (packet.properties.text_or(Property::AuthenticationMethod) != c.extras->auth_method) {
    return std::unexpected(protocol_error("Authentication Method", "differs from CONNECT's"));
  }
  const bool again = packet.reason == ReasonCode::ReAuthenticate;
  const bool connecting = c.state == Connection::State::Authenticating;
  if (again ? connecting : !(connecting || c.reauthenticating)) {
    return std::unexpected(protocol_error("Reason Code", "not what this moment of the authentication allows"));
  }
  c.reauthenticating = c.state == Connection::State::Connected;
  const std::string_view data = packet.properties.text_or(Property::AuthenticationData);
  const Session* s = sessions_.find(c.session);
  effects_.auth_requests.push_back({.connection = id,
                                    .client_id = s != nullptr ? s->client_id.str() : std::string(),
                                    .method = c.extras->auth_method,
                                    .data = {data.begin(), data.end()},
                                    .first = again});
  return {};
}

void Shard::authenticated(ConnectionId id, AuthVerdict verdict, base::Instant now) {
  Connection* c = connections_.find(id);
  const bool connecting = c != nullptr && c->state == Connection::State::Authenticating;
  if (c == nullptr || !c->has_auth_method() || !(connecting || c->reauthenticating)) return;
  const std::string_view data = base::as_text(verdict.data);
  if (verdict.kind == AuthVerdict::Kind::Failure) {
    leave(id,
          {.cause = connecting ? DisconnectReason::ConnectionRefused : DisconnectReason::NotAuthorized,
           .code = verdict.reason,
           .detail = "authentication failed"},
          now);
    return;
  }
  const bool done = verdict.kind == AuthVerdict::Kind::Success;
  if (done && connecting) {
    const auto bytes = std::exchange(c->opening().connect_packet, {});
    const auto header = mqtt::decode_header(bytes, mqtt::kMaxRemainingLength);
    CHECK(header.has_value() && header->has_value());
    const auto packet = mqtt::decode_connect(**header, base::Bytes(bytes).subspan((*header)->header_size));
    CHECK(packet.has_value());
    // Much may have happened since: the broker may be stopping.
    auto step = check_connect(*c, *packet, now);
    if (step) step = welcome(id, *c, *packet, bytes, data, {}, now);
    if (!step) {
      step.error().client_id = packet->client_id;
      leave(id, step.error(), now);
    }
    return;
  }
  mqtt::Auth answer;
  answer.reason = done ? ReasonCode::Success : ReasonCode::ContinueAuthentication;
  answer.properties.set_text(Property::AuthenticationMethod, c->extras->auth_method);
  if (!data.empty()) answer.properties.set_text(Property::AuthenticationData, data);
  if (!fits(*c, answer)) {
    Departure departure = answer_too_large();
    if (connecting) departure.cause = DisconnectReason::ConnectionRefused;
    leave(id, departure, now);
    return;
  }
  if (logs(LogLevel::Trace)) trace(*c, "to", answer);
  mqtt::encode_auth(control_lane(id, *c), c->version, answer);
  if (done) c->reauthenticating = false;
}

}  // namespace vigil::broker
