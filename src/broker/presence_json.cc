#include <nlohmann/json.hpp>

#include "broker/presence.h"

namespace vigil::broker {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string_view protocol_name(mqtt::Version version) {
  switch (version) {
    case mqtt::Version::V31: return "3.1";
    case mqtt::Version::V311: return "3.1.1";
    case mqtt::Version::V5: return "5.0";
  }
  return "";
}

std::int64_t to_ms(base::Duration d) { return std::chrono::duration_cast<base::milliseconds>(d).count(); }

Json evidence_json(const PresenceRecord& record) {
  const PresencePast& past = record.past();
  Json json;
  if (past.verdict) json["verdict"] = name(*past.verdict);
  if (past.evidence) {
    json["unacknowledgedBytes"] = past.evidence->unacknowledged_bytes;
    json["unacknowledgedSegments"] = past.evidence->unacknowledged_segments;
    json["retransmits"] = past.evidence->retransmits;
    json["unansweredProbes"] = past.evidence->probes;
    json["lastAckAgeMs"] = past.evidence->last_ack_received_ms;
  }
  // What TCP says is then about the proxy, not about the client.
  if (record.proxied) json["ofProxy"] = true;
  return json;
}

Json history_json(const PresenceRecord& record, const WallTime& wall) {
  Json list = Json::array();
  record.for_each_event([&](const PresenceEvent& event) {
    Json item{{"event", name(event.kind)}, {"at", wall.of(event.unix_ms)}, {"incarnation", event.incarnation}};
    if (event.kind == PresenceEventKind::Disconnected) item["disconnectReason"] = name(event.reason);
    if (!event.address.empty()) item["clientIpAdr"] = event.address.view();
    list.push_back(std::move(item));
  });
  return list;
}

}  // namespace

std::string state_json(const PresenceRecord& record, const LiveView& live, std::string_view node_id, const Moment& now,
                       const WallTime& wall) {
  const auto told = [&](base::Instant at) { return wall.of(now.unix_ms - to_ms(now.at - at)); };
  const PresencePast& past = record.past();
  Json json;
  json["clientId"] = record.client_id.view();
  json["sessionId"] = std::string(node_id) + "/" + std::to_string(record.incarnation);
  json["connectionState"] = record.connected ? "CONNECTED" : "DISCONNECTED";
  json["clientType"] = "DEVICE";
  json["nodeId"] = node_id;
  json["incarnation"] = record.incarnation;
  json["sequence"] = record.sequence;
  json["protocolVersion"] = protocol_name(record.version);
  json["cleanStart"] = record.clean_start;
  json["sessionExpiryInterval"] = record.session_expiry_s;
  json["keepAliveSeconds"] = record.keep_alive_s;
  json["clientIpAdr"] = record.address.view();
  json["connectedAt"] = wall.of(record.connected_at_ms);
  if (live.connected) {
    json["lastSeenAt"] = told(live.last_heard);
    json["deadlineAt"] = live.deadline.is_never() ? Json(nullptr) : Json(told(live.deadline));
    json["timeLeftMs"] = live.deadline.is_never() ? Json(nullptr) : Json(to_ms(live.deadline - now.at));
    json["atRisk"] = live.at_risk;
    // Of the connection before this one.
    if (record.reason) json["disconnectedAt"] = wall.of(past.disconnected_at_ms);
  } else {
    json["disconnectedAt"] = wall.of(past.disconnected_at_ms);
    json["lastSeenAt"] = wall.of(past.last_seen_ms);
  }
  if (record.reason) {
    json["disconnectReason"] = name(*record.reason);
    if (!past.detail.empty()) json["disconnectDetail"] = past.detail;
    if (past.evidence || past.verdict) json["evidence"] = evidence_json(record);
  }
  if (const Rhythm& rhythm = live.connected ? live.rhythm : past.rhythm; rhythm.known()) {
    json["heartbeat"] = {{"meanMs", rhythm.mean_ms()}, {"jitterMs", rhythm.jitter_ms()}};
  }
  json["subscriptions"] = live.subscriptions;
  json["queuedMessages"] = live.queued;
  json["inflightMessages"] = live.inflight;
  json["packetsReceived"] = past.packets_received + live.packets_received;
  json["packetsSent"] = past.packets_sent + live.packets_sent;
  json["bytesReceived"] = past.bytes_received + live.bytes_received;
  json["bytesSent"] = past.bytes_sent + live.bytes_sent;
  json["connects"] = record.connects;
  json["disconnectsLastHour"] = past.disconnects.last_hour(now.unix_ms);
  json["disconnectsLastDay"] = past.disconnects.last_day(now.unix_ms);
  json["keepAliveTimeouts"] = past.keep_alive_timeouts;
  json["takeOvers"] = past.takeovers;
  json["willsPublished"] = past.wills_published;
  json["willsCancelled"] = past.wills_cancelled;
  json["history"] = history_json(record, wall);
  return dump(json);
}

std::string event_json(const PresenceRecord& record, const PresenceEvent& event, std::string_view node_id,
                       const WallTime& wall) {
  const PresencePast& past = record.past();
  Json json;
  json["event"] = name(event.kind);
  json["clientId"] = record.client_id.view();
  json["nodeId"] = node_id;
  json["incarnation"] = event.incarnation;
  json["sequence"] = record.sequence;
  json["at"] = wall.of(event.unix_ms);
  switch (event.kind) {
    case PresenceEventKind::Connected:
      json["clientIpAdr"] = event.address.view();
      json["protocolVersion"] = protocol_name(record.version);
      json["cleanStart"] = record.clean_start;
      json["keepAliveSeconds"] = record.keep_alive_s;
      json["sessionExpiryInterval"] = record.session_expiry_s;
      break;
    case PresenceEventKind::Disconnected:
      json["clientIpAdr"] = event.address.view();
      json["disconnectReason"] = name(event.reason);
      json["lastSeenAt"] = wall.of(past.last_seen_ms);
      if (!past.detail.empty()) json["disconnectDetail"] = past.detail;
      if (past.evidence || past.verdict) json["evidence"] = evidence_json(record);
      break;
    case PresenceEventKind::TakenOver:
    case PresenceEventKind::Flapping:
      json["clientIpAdr"] = record.address.view();
      json["newClientIpAdr"] = event.address.view();
      break;
    case PresenceEventKind::WillPublished:
    case PresenceEventKind::WillCancelled:
    case PresenceEventKind::AtRisk:
    case PresenceEventKind::Recovered:
    case PresenceEventKind::SessionEnded:
    case PresenceEventKind::Forgotten: break;
  }
  return dump(json);
}

}  // namespace vigil::broker
