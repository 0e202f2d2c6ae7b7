// CONNECT and CONNACK.
#include "mqtt/encoder.h"
#include "mqtt/reader.h"
#include "mqtt/topic.h"

namespace vigil::mqtt {
namespace {

constexpr std::uint8_t kBridge = 0x80;

namespace flag {
constexpr unsigned kReserved = 0x01;
constexpr unsigned kCleanStart = 0x02;
constexpr unsigned kWill = 0x04;
constexpr unsigned kWillRetain = 0x20;
constexpr unsigned kPassword = 0x40;
constexpr unsigned kUserName = 0x80;
constexpr unsigned will_qos(unsigned flags) { return (flags >> 3U) & 3U; }
}  // namespace flag

std::optional<Version> version_of(std::string_view name, std::uint8_t level) {
  const unsigned number = level & ~unsigned{kBridge};
  if (name == "MQTT" && number == 5) return Version::V5;
  if (name == "MQTT" && number == 4) return Version::V311;
  if (name == "MQIsdp" && number == 3) return Version::V31;
  return std::nullopt;
}

// Protocol name and level [MQTT-3.1.2-1, -2].
bool parse_version(Connect& packet, Reader& in) {
  std::string_view name;
  std::uint8_t level = 0;
  if (!in.text(name, "Protocol Name")) return false;
  if (name != "MQTT" && name != "MQIsdp") {
    return in.fail(ReasonCode::UnsupportedProtocolVersion, "Protocol Name", "neither MQTT nor MQIsdp", "MQTT-3.1.2-1");
  }
  if (!in.u8(level, "Protocol Version")) return false;
  const std::optional<Version> version = version_of(name, level);
  if (!version) {
    return in.fail(ReasonCode::UnsupportedProtocolVersion, "Protocol Version", "none of 3 (MQIsdp), 4 and 5 (MQTT)",
                   "MQTT-3.1.2-2");
  }
  packet.version = *version;
  packet.bridge = (level & kBridge) != 0;
  return true;
}

// 3.1 gives the reserved bit, and the will's bits without a will, no meaning; later versions demand zeros.
bool check_flags(Reader& in, unsigned flags, Version version) {
  const bool strict = version != Version::V31;
  if (strict && (flags & flag::kReserved) != 0) {
    return in.malformed("Connect Flags", "the reserved bit is set", "MQTT-3.1.2-3");
  }
  const bool will = (flags & flag::kWill) != 0;
  if (flag::will_qos(flags) == 3 && (strict || will)) {
    return in.malformed("Will QoS", "3 is not allowed", "MQTT-3.1.2-12");
  }
  if (strict && !will) {
    if (flag::will_qos(flags) != 0) return in.malformed("Will QoS", "set without the Will Flag", "MQTT-3.1.2-11");
    if ((flags & flag::kWillRetain) != 0)
      return in.malformed("Will Retain", "set without the Will Flag", "MQTT-3.1.2-13");
  }
  if (version != Version::V5 && (flags & flag::kPassword) != 0 && (flags & flag::kUserName) == 0) {
    return in.malformed("Password Flag", "set without the User Name Flag", "MQTT3-3.1.2-22");
  }
  return true;
}

bool check_client_id(Reader& in, const Connect& packet) {
  if (!packet.client_id.empty() || packet.version == Version::V5) return true;
  if (packet.version == Version::V31) {
    return in.fail(ReasonCode::ClientIdentifierNotValid, "Client Identifier", "empty, which 3.1 does not allow");
  }
  return packet.clean_start || in.fail(ReasonCode::ClientIdentifierNotValid, "Client Identifier",
                                       "empty without Clean Session", "MQTT3-3.1.3-8");
}

bool parse_will(Will& will, Reader& in, unsigned flags, Version version) {
  will.qos = static_cast<QoS>(flag::will_qos(flags));
  will.retain = (flags & flag::kWillRetain) != 0;
  if (version == Version::V5 && !read_properties(in, will.properties, kInWill)) return false;
  if (!in.name(will.topic, "Will Topic")) return false;
  if (will.topic.empty()) return in.malformed("Will Topic", "empty", "MQTT-4.7.3-1");
  if (!valid_topic_name(will.topic)) return in.malformed("Will Topic", "contains a wildcard", "MQTT-4.7.0-1");
  return in.binary(will.payload, "Will Payload");
}

bool parse_credentials(Connect& packet, Reader& in, unsigned flags) {
  // In 3.1 the length takes precedence over these flags: a field that is announced may be missing at the end.
  const bool may_miss = packet.version == Version::V31;
  if ((flags & flag::kUserName) != 0 && !(may_miss && in.at_end())) {
    if (!in.name(packet.user_name.emplace(), "User Name")) return false;
  }
  if ((flags & flag::kPassword) != 0 && !(may_miss && in.at_end())) {
    if (!in.binary(packet.password.emplace(), "Password")) return false;
  }
  return true;
}

bool parse_connect(Connect& packet, Reader& in, const FrameHeader& header) {
  if (!parse_version(packet, in)) return false;
  const bool v5 = packet.version == Version::V5;
  // (3.1 does not use DUP, QoS and RETAIN here.)
  if (header.flags != 0 && packet.version != Version::V31) {
    return in.malformed("fixed header flags", "not as the packet type demands", "MQTT-2.1.3-1");
  }
  if (v5 && header.header_size > 1 + varint_size(header.remaining)) {
    return in.malformed("Remaining Length", "encoded in more bytes than it needs", "MQTT-1.5.5-1");
  }
  std::uint8_t flags = 0;
  if (!in.u8(flags, "Connect Flags") || !check_flags(in, flags, packet.version)) return false;
  packet.clean_start = (flags & flag::kCleanStart) != 0;
  if (!in.u16(packet.keep_alive_s, "Keep Alive")) return false;
  if (v5) {
    if (!read_properties(in, packet.properties, in_packet(PacketType::Connect))) return false;
    if (!check_authentication(in, packet.properties)) return false;
  }
  if (!in.name(packet.client_id, "Client Identifier") || !check_client_id(in, packet)) return false;
  if ((flags & flag::kWill) != 0 && !parse_will(packet.will.emplace(), in, flags, packet.version)) return false;
  if (!parse_credentials(packet, in, flags)) return false;
  packet.control_characters = in.control_characters();
  return in.done("CONNECT");
}

bool parse_connack(ConnAck& packet, Reader& in, Version version) {
  std::uint8_t flags = 0;
  std::uint8_t code = 0;
  if (!in.u8(flags, "Connect Acknowledge Flags") || !in.u8(code, "Connect Reason Code")) return false;
  // 3.1 has no Session Present: the byte is reserved and not used.
  if (version != Version::V31) {
    if ((flags & 0xFEU) != 0) return in.malformed("Connect Acknowledge Flags", "reserved bits are set", "MQTT-3.2.2-1");
    packet.session_present = flags != 0;
    if (packet.session_present && code != 0) {
      return in.protocol_error("Session Present", "set in a refusal", "MQTT-3.2.2-6");
    }
  }
  if (version != Version::V5) {
    const std::optional<ReasonCode> reason = reason_of_return_code_v3(code);
    if (!reason) return in.protocol_error("Connect Return Code", "reserved");
    packet.reason = *reason;
    return in.done("CONNACK");
  }
  if (!reason_allowed(PacketType::ConnAck, Sender::Server, code)) {
    return in.protocol_error("Connect Reason Code", "not one of CONNACK's", "MQTT-3.2.2-8");
  }
  packet.reason = static_cast<ReasonCode>(code);
  return read_properties(in, packet.properties, in_packet(PacketType::ConnAck)) &&
         check_authentication(in, packet.properties) && in.done("CONNACK");
}

}  // namespace

Decoded<Connect> decode_connect(const FrameHeader& header, base::Bytes body) {
  return decode_with<Connect>(body, [&](Connect& packet, Reader& in) { return parse_connect(packet, in, header); });
}

Decoded<ConnAck> decode_connack(const FrameHeader&, base::Bytes body, Version version) {
  return decode_with<ConnAck>(body, [&](ConnAck& packet, Reader& in) { return parse_connack(packet, in, version); });
}

std::optional<Version> peek_version(base::Bytes body) {
  Reader in(body);
  Connect packet;
  return parse_version(packet, in) ? std::optional(packet.version) : std::nullopt;
}

std::optional<std::string_view> peek_client_id(base::Bytes body) {
  Reader in(body);
  Connect packet;
  std::uint8_t flags = 0;
  if (!parse_version(packet, in) || !in.u8(flags, "") || !in.u16(packet.keep_alive_s, "")) return std::nullopt;
  if (packet.version == Version::V5) {
    std::uint32_t size = 0;
    if (!in.varint(size, "") || size > in.left()) return std::nullopt;
    in.take(size);
  }
  if (!in.text(packet.client_id, "")) return std::nullopt;
  return packet.client_id;
}

}  // namespace vigil::mqtt
