// What is mostly a reason code: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH.
#include "mqtt/reader.h"

namespace vigil::mqtt {
namespace {

std::string_view clause_of(PacketType type) {
  switch (type) {
    case PacketType::PubAck: return "MQTT-3.4.2-1";
    case PacketType::PubRec: return "MQTT-3.5.2-1";
    case PacketType::PubRel: return "MQTT-3.6.2-1";
    case PacketType::PubComp: return "MQTT-3.7.2-1";
    case PacketType::Disconnect: return "MQTT-3.14.2-1";
    case PacketType::Auth: return "MQTT-3.15.2-1";
    default: return {};
  }
}

// A client has no use for 0x10 (No matching subscribers). One that answers a message so all the same means that it has
// the message: it is accepted as the success that it is.
bool tolerated(PacketType type, Sender sender, ReasonCode reason) {
  return sender == Sender::Client && reason == ReasonCode::NoMatchingSubscribers &&
         (type == PacketType::PubAck || type == PacketType::PubRec);
}

bool check_reason(Reader& in, PacketType type, Sender sender, ReasonCode reason) {
  return reason_allowed(type, sender, static_cast<std::uint8_t>(reason)) || tolerated(type, sender, reason) ||
         in.protocol_error("Reason Code", "not one that this sender may use in this packet", clause_of(type));
}

bool parse_reason(ReasonCode& reason, Reader& in, PacketType type, Sender sender) {
  std::uint8_t code = 0;
  if (!in.u8(code, "Reason Code")) return false;
  reason = static_cast<ReasonCode>(code);
  return check_reason(in, type, sender, reason);
}

bool parse_ack(Ack& packet, Reader& in, PacketType type, Version version, Sender sender) {
  packet.type = type;
  if (!in.packet_id(packet.packet_id)) return false;
  if (version == Version::V5) {
    // Without a reason code it is Success; without a length there are no properties (3.4.2.1, 3.4.2.2.1).
    if (!in.at_end() && !parse_reason(packet.reason, in, type, sender)) return false;
    if (!in.at_end() && !read_properties(in, packet.properties, in_packet(type))) return false;
  }
  return in.done("acknowledgement");
}

bool parse_disconnect(Disconnect& packet, Reader& in, Version version, Sender sender) {
  if (version != Version::V5) {
    if (sender == Sender::Server)
      return in.protocol_error("packet type", "a server may not send DISCONNECT before 5.0");
    return in.done("DISCONNECT");
  }
  if (!in.at_end() && !parse_reason(packet.reason, in, PacketType::Disconnect, sender)) return false;
  if (!in.at_end() && !read_properties(in, packet.properties, in_packet(PacketType::Disconnect))) return false;
  if (sender == Sender::Server && packet.properties.has(Property::SessionExpiryInterval)) {
    return in.protocol_error("Session Expiry Interval", "not allowed from a server", "MQTT-3.14.2-2");
  }
  return in.done("DISCONNECT");
}

bool parse_auth(Auth& packet, Reader& in, Version version, Sender sender) {
  if (version != Version::V5) return in.protocol_error("packet type", "AUTH does not exist before 5.0");
  // An empty AUTH is Success without properties (3.15.2.1), which only a server may say.
  if (in.at_end()) return check_reason(in, PacketType::Auth, sender, packet.reason);
  if (!parse_reason(packet.reason, in, PacketType::Auth, sender)) return false;
  if (!read_properties(in, packet.properties, in_packet(PacketType::Auth))) return false;
  const bool said_nothing = packet.reason == ReasonCode::Success && packet.properties.empty();
  if (!said_nothing && !packet.properties.has(Property::AuthenticationMethod)) {
    return in.protocol_error("Authentication Method", "missing");
  }
  return in.done("AUTH");
}

}  // namespace

Decoded<Ack> decode_ack(const FrameHeader& header, base::Bytes body, Version version, Sender sender) {
  return decode_with<Ack>(body, [&](Ack& p, Reader& in) { return parse_ack(p, in, header.type, version, sender); });
}

Decoded<Disconnect> decode_disconnect(const FrameHeader&, base::Bytes body, Version version, Sender sender) {
  return decode_with<Disconnect>(body,
                                 [&](Disconnect& p, Reader& in) { return parse_disconnect(p, in, version, sender); });
}

Decoded<Auth> decode_auth(const FrameHeader&, base::Bytes body, Version version, Sender sender) {
  return decode_with<Auth>(body, [&](Auth& p, Reader& in) { return parse_auth(p, in, version, sender); });
}

}  // namespace vigil::mqtt
