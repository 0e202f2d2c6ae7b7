// CONNECT (3.1): checks, admission, take-over, CONNACK. Admission comes before an old connection is touched.
#include <fmt/format.h>

#include "broker/control_characters.h"
#include "broker/printable.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

using mqtt::Property;
using mqtt::ReasonCode;
using mqtt::Version;

Departure refused(ReasonCode code, std::string_view field, std::string_view detail) {
  return {.cause = DisconnectReason::ConnectionRefused, .code = code, .field = field, .detail = detail};
}

// A refused will is named with its topic.
Departure refused_will(ReasonCode code, std::string_view field, std::string_view detail, const mqtt::Will& will) {
  Departure departure = refused(code, field, detail);
  departure.text = fmt::format("{}: {} (the will's topic is {})", field, detail, printable(will.topic));
  return departure;
}

// As mosquitto writes it in its log: p1, p2 and p5.
int protocol_number(Version version) {
  switch (version) {
    case Version::V31: return 1;
    case Version::V311: return 2;
    case Version::V5: return 5;
  }
  return 0;
}

std::uint32_t session_expiry(const mqtt::Connect& packet, const Limits& limits) {
  if (packet.version == Version::V5) {
    return std::min(packet.properties.number_or(Property::SessionExpiryInterval, 0), limits.max_session_expiry_s);
  }
  return packet.clean_start ? 0 : std::min(limits.v3_session_expiry_s, limits.max_session_expiry_s);
}

// The keep alive in force: what was asked for, or the server's cap where the client can be told of it or is to be held
// to it.
std::uint32_t keep_alive_in_force(const mqtt::Connect& packet, const KeepAlivePolicy& policy) {
  const std::uint32_t asked = packet.keep_alive_s;
  const bool over = policy.max_s > 0 && (asked == 0 || asked > policy.max_s);
  if (!over || (packet.version != Version::V5 && policy.over_max_v3 == OverMaxV3::Allow)) return asked;
  return policy.max_s;
}

// A topic of its own on which a client may have the answers to its requests.
std::string response_information(std::string_view client_id) { return "response/" + topic_level(client_id); }

}  // namespace

// What can be judged from the packet and the configuration alone.
Shard::Step Shard::check_connect(const Connection& c, const mqtt::Connect& packet, base::Instant now) {
  const bool v5 = packet.version == Version::V5;
  if (shutting_down_) return std::unexpected(refused(ReasonCode::ServerUnavailable, "", "the broker is shutting down"));
  if (setup_.fence != nullptr && !setup_.fence->may_serve(now)) {
    return std::unexpected(refused(ReasonCode::ServerUnavailable, "", "this node may not serve at the moment"));
  }
  if (!intake_.connects) {
    return std::unexpected(
        refused(ReasonCode::ServerUnavailable, "", "too much waits to be written to the disk: store.max_backlog"));
  }
  if (packet.client_id.empty() && (packet.version == Version::V31 || (!v5 && !packet.clean_start))) {
    return std::unexpected(
        refused(ReasonCode::ClientIdentifierNotValid, "Client Identifier", "empty, but the session is to be kept"));
  }
  if (packet.client_id.size() > limits().max_client_id_bytes) {
    return std::unexpected(
        refused(ReasonCode::ClientIdentifierNotValid, "Client Identifier", "longer than limits.max_client_id_bytes"));
  }
  if (packet.control_characters) {
    if (auto departure = refused_control_characters(packet, limits())) {
      departure->cause = DisconnectReason::ConnectionRefused;
      return std::unexpected(std::move(*departure));
    }
  }
  if (packet.will) {
    const mqtt::Will& will = *packet.will;
    if (static_cast<std::uint8_t>(will.qos) > limits().maximum_qos) {
      return std::unexpected(refused_will(ReasonCode::QoSNotSupported, "Will QoS", "above mqtt.maximum_qos", will));
    }
    if (will.retain && !limits().retain_available) {
      return std::unexpected(refused_will(ReasonCode::RetainNotSupported, "Will Retain",
                                          "retained messages are switched off: mqtt.retain_available", will));
    }
    if (mqtt::topic_levels(will.topic) > limits().max_topic_levels) {
      return std::unexpected(
          refused_will(ReasonCode::TopicNameInvalid, "Will Topic", "more levels than limits.max_topic_levels", will));
    }
    if (!may_publish({packet.client_id, packet.user_name.value_or(""), c.loopback}, will.topic)) {
      return std::unexpected(
          refused_will(ReasonCode::NotAuthorized, "Will Topic", "this client may not publish there", will));
    }
  }
  if (!v5 && setup_.keep_alive.max_s > 0 && setup_.keep_alive.over_max_v3 == OverMaxV3::Reject &&
      (packet.keep_alive_s == 0 || packet.keep_alive_s > setup_.keep_alive.max_s)) {
    return std::unexpected(refused(ReasonCode::NotAuthorized, "Keep Alive", "more than keep_alive.max_s"));
  }
  if (!c.opening().peer.allow_anonymous && !packet.properties.has(Property::AuthenticationMethod)) {
    return std::unexpected(
        refused(ReasonCode::NotAuthorized, "User Name",
                "anonymous access is not allowed on this listener: security.allow_anonymous_remote"));
  }
  return {};
}

Shard::Step Shard::begin_authentication(ConnectionId id, Connection& c, const mqtt::Connect& packet) {
  const std::string_view method = packet.properties.text_or(Property::AuthenticationMethod);
  if (std::find(setup_.auth_methods.begin(), setup_.auth_methods.end(), method) == setup_.auth_methods.end()) {
    return std::unexpected(
        refused(ReasonCode::BadAuthenticationMethod, "Authentication Method", "not a method of this broker"));
  }
  c.state = Connection::State::Authenticating;
  c.with_extras().auth_method = method;
  const std::string_view data = packet.properties.text_or(Property::AuthenticationData);
  effects_.auth_requests.push_back({.connection = id,
                                    .client_id = std::string(packet.client_id),
                                    .method = std::string(method),
                                    .data = {data.begin(), data.end()},
                                    .first = true});
  return {};
}

// Quota and policy: what depends on what is there already.
Shard::Step Shard::admit(const Connection& c, const Session* existing, base::Instant now) {
  // Who takes over its own old connection adds none.
  const PeerInfo& peer = c.opening().peer;
  if (peer.over_quota != OverQuota::No && (existing == nullptr || !existing->connected())) {
    Departure full = refused(ReasonCode::QuotaExceeded, "", "limits.max_connections is reached");
    if (peer.over_quota == OverQuota::Listener) {
      full.detail = "the listener's max_connections is reached";
      full.text = fmt::format("listener \"{}\": max_connections is reached", printable(peer.listener));
    }
    return std::unexpected(std::move(full));
  }
  // Two CONNECTs may reach their home shard in another order than they were read in: the later one stays.
  if (existing != nullptr && existing->connected() &&
      connections_.find(existing->connection)->connect_read_at > c.connect_read_at) {
    return std::unexpected(
        Departure{.cause = DisconnectReason::SessionTakenOver, .detail = "a later CONNECT came first"});
  }
  if (limits().max_connections_per_s > 0) {
    if (!connects_.admits(limits().max_connections_per_s, now)) {
      return std::unexpected(
          refused(ReasonCode::ConnectionRateExceeded, "", "more connects a second than limits.max_connections_per_s"));
    }
  }
  if (existing == nullptr && sessions_.size() >= share_of(limits().max_sessions)) {
    return std::unexpected(refused(ReasonCode::QuotaExceeded, "", "session.max_sessions is reached"));
  }
  if (existing != nullptr && existing->connected()) {
    const PresenceRecord* record = presence_.find(existing->presence);
    if (record != nullptr && record->past().flapping.held_until() > now) {
      return std::unexpected(refused(ReasonCode::ConnectionRateExceeded, "Client Identifier",
                                     "two clients fight over this id: held off for a while (flapping.hold_off)"));
    }
  }
  return {};
}

// In, unless the client has an old connection whose last bytes have not been read yet: `drained` is the one of which
// they have. What the newcomer sends meanwhile waits.
Shard::Step Shard::welcome(ConnectionId id, Connection& c, const mqtt::Connect& packet, base::Bytes frame,
                           std::string_view auth_data, ConnectionId drained, base::Instant now) {
  const Session* known = client_session(packet.client_id);
  const ConnectionId old = known == nullptr ? ConnectionId() : known->connection;
  if (!old || old == drained) return attach(id, c, packet, auth_data, now);
  c.state = Connection::State::TakingOver;
  c.opening().connect_packet.assign(frame.begin(), frame.end());
  c.opening().auth_data = auth_data;
  effects_.takeovers.push_back({old, id});
  return {};
}

void Shard::take_over(const TakeOver& takeover, base::Instant now) {
  finish_input(takeover.old, now);
  const ConnectionId id = takeover.newcomer;
  Connection* c = connections_.find(id);
  if (c == nullptr || c->state != Connection::State::TakingOver) return;
  const auto frame = std::exchange(c->opening().connect_packet, {});
  const auto auth_data = std::exchange(c->opening().auth_data, {});
  const auto header = mqtt::decode_header(frame, mqtt::kMaxRemainingLength);
  CHECK(header.has_value() && header->has_value());
  const auto packet = mqtt::decode_connect(**header, base::Bytes(frame).subspan((*header)->header_size));
  CHECK(packet.has_value());
  auto step = check_connect(*c, *packet, now);
  if (step) {
    step = welcome(id, *c, *packet, frame, auth_data, takeover.old, now);
  }
  if (!step) {
    step.error().client_id = packet->client_id;
    leave(id, step.error(), now);
    return;
  }
  if (c->state != Connection::State::Connected) return;
  const auto waiting = c->take_unfinished();
  process(id, base::Bytes(waiting.data(), waiting.size()), now);
}

Shard::Step Shard::attach(ConnectionId id, Connection& c, const mqtt::Connect& packet, std::string_view auth_data,
                          base::Instant now) {
  const std::string assigned = packet.client_id.empty() ? new_client_id() : std::string();
  const std::string_view client_id = assigned.empty() ? packet.client_id : std::string_view(assigned);

  const std::uint32_t keep_alive_s = keep_alive_in_force(packet, setup_.keep_alive);
  ConnAckTexts texts{
      .client_id = client_id, .assigned_id = assigned, .auth_data = auth_data, .response_information = {}};
  mqtt::ConnAck answer = make_connack(c, packet, keep_alive_s, texts);
  if (!fits(c, answer)) {
    return std::unexpected(refused(ReasonCode::PacketTooLarge, "Maximum Packet Size", "CONNACK is larger"));
  }
  TRY_VOID(admit(c, client_session(client_id), now));

  // From here on the newcomer is in.
  const std::uint64_t emitted_before = emitted_;
  const Moment at = moment(now);
  const PresenceId presence = presence_.open(client_id);
  PresenceRecord& record = *presence_.find(presence);
  const std::uint64_t incarnation = std::max(
      {record.incarnation + 1, setup_.incarnation, static_cast<std::uint64_t>(std::max<std::int64_t>(at.unix_ms, 0))});

  if (const SessionId old_id = record.session) {
    const Session& old = sessions_.at(old_id);
    if (old.connected()) {
      ++record.change_past().takeovers;
      ++stats_.takeovers;
      Departure departure{.cause = DisconnectReason::SessionTakenOver, .session_ends = packet.clean_start};
      departure.reason_string = "taken over by a connection from " + c.opening().peer.address;
      note(record,
           {.kind = PresenceEventKind::TakenOver,
            .unix_ms = at.unix_ms,
            .incarnation = record.incarnation,
            .address = base::Text(c.opening().peer.address)},
           now);
      const bool flapping = record.change_past().flapping.taken_over(now, limits());
      if (flapping) {
        note(record,
             {.kind = PresenceEventKind::Flapping,
              .unix_ms = at.unix_ms,
              .incarnation = record.incarnation,
              .address = base::Text(c.opening().peer.address)},
             now);
        log(LogLevel::Warn, "client_flapping",
            fmt::format("Client {} is fought over by {} and {}: {} take-overs within {} s.", printable(client_id),
                        record.address.view(), c.opening().peer.address, limits().flapping_takeovers,
                        std::chrono::duration_cast<base::seconds>(limits().flapping_window).count()),
            {{"clientId", std::string(client_id)},
             {"clientIpAdr", record.address.str()},
             {"newClientIpAdr", c.opening().peer.address}});
      }
      leave(old.connection, departure, now);
    } else if (packet.clean_start || old.expiry_s == 0) {
      // (One without an expiry is here for its will only: the broker died before its connection did.)
      end_session(old_id, now);
    }
  }

  bool session_present = false;
  SessionId sid = record.session;
  if (sid) {
    session_present = true;
  } else {
    sid = record.session = sessions_.emplace();
    sessions_.at(sid).client_id = record.client_id;
    sessions_.at(sid).self = {ShardCore::client_hash(client_id)};
  }
  Session& s = sessions_.at(sid);
  if (session_present) {
    --stats_.clients_disconnected;
    if (s.will) cancel_will(s, now);
    stop(s.timer);
    s.expires = base::Instant::never();
  }
  record.keep_history();
  record.incarnation = incarnation;
  s.connection = id;
  s.presence = presence;
  s.set_user_name(packet.user_name.value_or(""));
  s.expiry_s = session_expiry(packet, limits());
  s.overflow_logged = false;
  s.may_read_clients = may_read_clients({client_id, s.user_name(), c.loopback}, limits());
  if (packet.will) s.will = std::make_unique<SessionWill>(will_of(*packet.will, limits()));
  const bool end_unstored = !session_present && begins_after_the_last(sid, s, record);
  store_session(sid, s, now);
  // The client is told of its session when that is what a restart would find.
  if (s.joint() != 0) {
    hold(id, c, kPending);
  } else if (emitted_ != emitted_before || end_unstored) {
    hold(id, c, last_batch_);
  }

  c.state = Connection::State::Connected;
  c.session = sid;
  c.problem_information = packet.properties.number_or(Property::RequestProblemInformation, 1) != 0;
  c.asked_for_expiry = packet.properties.number_or(Property::SessionExpiryInterval, 0) != 0;
  c.receive_maximum = static_cast<std::uint16_t>(packet.properties.number_or(Property::ReceiveMaximum, 65535));
  c.topic_alias_maximum = static_cast<std::uint16_t>(std::min<std::uint32_t>(
      packet.properties.number_or(Property::TopicAliasMaximum, 0), limits().topic_alias_out_maximum));
  // An AUTH that came later is the last that was heard.
  c.keep_alive.start(keep_alive_s, std::max(c.connect_read_at, c.keep_alive.last_heard()));
  stop(c.timer);
  arm_keep_alive(id, c);
  effects_.tcp_timeouts.push_back({id, c.socket, keep_alive_s});

  ++stats_.connects;
  ++stats_.clients_connected;
  record.connected = true;
  record.has_session = true;
  record.sequence = 0;
  record.version = packet.version;
  record.clean_start = packet.clean_start;
  record.session_expiry_s = s.expiry_s;
  record.keep_alive_s = keep_alive_s;
  record.address = std::string_view(c.opening().peer.address);
  record.proxied = c.opening().peer.proxied;
  record.connected_at_ms = moment(c.connect_read_at).unix_ms;
  ++record.connects;
  note(record,
       {.kind = PresenceEventKind::Connected,
        .unix_ms = record.connects == 1 ? record.connected_at_ms : at.unix_ms,
        .incarnation = incarnation,
        .address = record.address},
       now);
  mind_presence(now);
  if (logs(LogLevel::Info)) {
    log(LogLevel::Info, "client_connected",
        fmt::format("New client connected from {} as {} (p{}, c{}, k{}{}).", c.opening().peer.address,
                    printable(client_id), protocol_number(packet.version), packet.clean_start ? 1 : 0,
                    packet.keep_alive_s,
                    s.user_name().empty() ? std::string() : ", u'" + printable(s.user_name()) + "'"),
        {{"clientId", std::string(client_id)},
         {"clientIpAdr", c.opening().peer.address},
         {"keepAliveSeconds", std::to_string(keep_alive_s)}});
  }

  c.opened();
  answer.session_present = session_present;
  if (logs(LogLevel::Trace)) trace(c, "to", answer);
  mqtt::encode_connack(control_lane(id, c), c.version, answer);
  if (session_present) {
    members_came_or_went(s);
    resume(s);
    pump(sid, s, now);
  }
  return {};
}

mqtt::ConnAck Shard::make_connack(const Connection& c, const mqtt::Connect& packet, std::uint32_t keep_alive_s,
                                  ConnAckTexts& texts) const {
  mqtt::ConnAck answer;
  mqtt::Properties& p = answer.properties;
  if (c.version == Version::V5) {
    const std::uint32_t expiry_s = session_expiry(packet, limits());
    // Only what differs from what the standard has the client assume.
    if (packet.properties.number_or(Property::SessionExpiryInterval, 0) != expiry_s)
      p.set_number(Property::SessionExpiryInterval, expiry_s);
    if (limits().receive_maximum != 65535) p.set_number(Property::ReceiveMaximum, limits().receive_maximum);
    if (limits().maximum_qos < 2) p.set_number(Property::MaximumQoS, limits().maximum_qos);
    if (!limits().retain_available) p.set_number(Property::RetainAvailable, 0);
    p.set_number(Property::MaximumPacketSize, limits().max_packet_size);
    if (!texts.assigned_id.empty()) p.set_text(Property::AssignedClientIdentifier, texts.assigned_id);
    if (limits().topic_alias_maximum > 0) p.set_number(Property::TopicAliasMaximum, limits().topic_alias_maximum);
    if (!limits().wildcard_available) p.set_number(Property::WildcardSubscriptionAvailable, 0);
    if (!limits().subscription_ids_available) p.set_number(Property::SubscriptionIdentifierAvailable, 0);
    if (!limits().shared_available) p.set_number(Property::SharedSubscriptionAvailable, 0);
    if (keep_alive_s != packet.keep_alive_s) p.set_number(Property::ServerKeepAlive, keep_alive_s);
    if (packet.properties.number_or(Property::RequestResponseInformation, 0) == 1) {
      texts.response_information = response_information(texts.client_id);
      p.set_text(Property::ResponseInformation, texts.response_information);
    }
    if (c.has_auth_method()) {
      p.set_text(Property::AuthenticationMethod, c.extras->auth_method);
      if (!texts.auth_data.empty()) p.set_text(Property::AuthenticationData, texts.auth_data);
    }
  }
  return answer;
}

std::string Shard::new_client_id() {
  // One that belongs to this shard, so that a client that comes back with it is at home here.
  while (true) {
    std::string id = make_client_id(random_);
    if (ShardCore::home_of(id, setup_.shards) == setup_.id && client_session(id) == nullptr) return id;
  }
}

}  // namespace vigil::broker
