#include "mqtt/decoder.h"

#include "mqtt/encoder.h"
#include "mqtt/reader.h"
#include "mqtt/topic.h"

namespace vigil::mqtt {
namespace {

constexpr unsigned kDup = 0x08;
constexpr unsigned kRetain = 0x01;
constexpr unsigned qos_bits(unsigned flags) { return (flags >> 1U) & 3U; }

constexpr std::string_view kFlags = "fixed header flags";
constexpr std::string_view kLength = "Remaining Length";

std::unexpected<DecodeError> error(ReasonCode code, std::string_view field, std::string_view detail,
                                   std::string_view clause = {}) {
  return std::unexpected(DecodeError{.code = code, .field = field, .detail = detail, .clause = clause});
}
std::unexpected<DecodeError> malformed(std::string_view field, std::string_view detail, std::string_view clause = {}) {
  return error(ReasonCode::MalformedPacket, field, detail, clause);
}

// 2.1.3: which flags a packet type must show. 3.1 reserves no values: PUBREL, SUBSCRIBE and UNSUBSCRIBE have QoS 1 and
// may have DUP, and what is left "is not used".
bool flags_legal(PacketType type, unsigned flags, Version version) {
  switch (type) {
    case PacketType::Connect: return true;  // decode_connect judges it: the version is not known yet
    case PacketType::PubRel:
    case PacketType::Subscribe:
    case PacketType::Unsubscribe: return flags == 2 || (version == Version::V31 && qos_bits(flags) == 1);
    default: return flags == 0 || version == Version::V31;
  }
}

bool parse_publish(Publish& packet, Reader& in, unsigned flags, Version version, Sender sender) {
  const unsigned qos = qos_bits(flags);
  if (qos == 3) return in.malformed("QoS", "3 is not allowed", "MQTT-3.3.1-4");
  packet.qos = static_cast<QoS>(qos);
  packet.retain = (flags & kRetain) != 0;
  packet.dup = (flags & kDup) != 0 && qos != 0;

  if (!in.name(packet.topic, "Topic Name")) return false;
  if (!packet.topic.empty() && !valid_topic_name(packet.topic)) {
    return in.malformed("Topic Name", "contains a wildcard", "MQTT-3.3.2-2");
  }
  if (qos != 0 && !in.packet_id(packet.packet_id)) return false;
  if (version == Version::V5) {
    if (!read_properties(in, packet.properties, in_packet(PacketType::Publish), packet.raw_properties)) return false;
    if (sender == Sender::Client && !packet.properties.subscription_ids.empty()) {
      return in.protocol_error("Subscription Identifier", "not allowed from a client", "MQTT-3.3.4-6");
    }
    if (packet.topic.empty() && !packet.properties.has(Property::TopicAlias)) {
      return in.protocol_error("Topic Name", "empty without a Topic Alias");
    }
  } else if (packet.topic.empty()) {
    return in.malformed("Topic Name", "empty", "MQTT3-4.7.3-1");
  }
  packet.payload = in.rest();
  packet.control_characters = in.control_characters();
  return true;
}

template <class T>
Decoded<Packet> widen(Decoded<T>&& decoded) {
  if (!decoded) return std::unexpected(decoded.error());
  return Decoded<Packet>(std::in_place, std::move(*decoded));
}

template <class T>
Decoded<Packet> empty_packet(base::Bytes body) {
  if (!body.empty()) return malformed(kLength, "not 0 although this packet has no body");
  return Decoded<Packet>(std::in_place, T{});
}

bool may_send(PacketType type, Version version, Sender sender) {
  switch (type) {
    case PacketType::Connect:
    case PacketType::Subscribe:
    case PacketType::Unsubscribe:
    case PacketType::PingReq: return sender == Sender::Client;
    case PacketType::ConnAck:
    case PacketType::SubAck:
    case PacketType::UnsubAck:
    case PacketType::PingResp: return sender == Sender::Server;
    case PacketType::Disconnect: return sender == Sender::Client || version == Version::V5;
    case PacketType::Auth: return version == Version::V5;
    default: return true;
  }
}

}  // namespace

Decoded<std::optional<FrameHeader>> decode_header(base::Bytes bytes, std::uint32_t max_packet_size, Version version) {
  if (bytes.empty()) return std::nullopt;
  FrameHeader header{.type = static_cast<PacketType>(bytes[0] >> 4U),
                     .flags = static_cast<std::uint8_t>(bytes[0] & 0x0FU)};
  if (header.type == PacketType::Publish) {
    const unsigned qos = qos_bits(header.flags);
    if (qos == 3) return malformed("QoS", "3 is not allowed", "MQTT-3.3.1-4");
    // 3.1 gives DUP no meaning at QoS 0, and does not forbid it.
    if (qos == 0 && (header.flags & kDup) != 0 && version != Version::V31) {
      return malformed("DUP", "set at QoS 0", "MQTT-3.3.1-2");
    }
  } else {
    if (header.type == PacketType{}) return malformed("packet type", "0 is reserved");
    if (!flags_legal(header.type, header.flags, version)) {
      return malformed(kFlags, "not as the packet type demands", "MQTT-2.1.3-1");
    }
  }

  std::size_t at = 1;
  for (;; ++at) {
    if (at == 5) return malformed(kLength, "longer than four bytes", "MQTT-1.5.5-1");
    if (at == bytes.size()) return std::nullopt;
    header.remaining |= (bytes[at] & 0x7FU) << (7 * (at - 1));
    if (bytes[at] < 0x80) break;
  }
  header.header_size = static_cast<std::uint8_t>(at + 1);
  if (at > 1 && bytes[at] == 0 && version == Version::V5 && header.type != PacketType::Connect) {
    return malformed(kLength, "encoded in more bytes than it needs", "MQTT-1.5.5-1");
  }
  if (header.remaining != 0 && (header.type == PacketType::PingReq || header.type == PacketType::PingResp)) {
    return malformed(kLength, "not 0 although this packet has no body");
  }
  if (header.size() > max_packet_size) return error(ReasonCode::PacketTooLarge, kLength, "the packet is too large");
  return header;
}

Decoded<Publish> decode_publish(const FrameHeader& header, base::Bytes body, Version version, Sender sender) {
  return decode_with<Publish>(
      body, [&](Publish& packet, Reader& in) { return parse_publish(packet, in, header.flags, version, sender); });
}

Decoded<Packet> decode(const FrameHeader& header, base::Bytes body, Version version, Sender sender) {
  if (!may_send(header.type, version, sender)) {
    return error(ReasonCode::ProtocolError, "packet type",
                 sender == Sender::Client ? "not one that a client may send in this version"
                                          : "not one that a server may send in this version");
  }
  switch (header.type) {
    case PacketType::Connect: return widen(decode_connect(header, body));
    case PacketType::ConnAck: return widen(decode_connack(header, body, version));
    case PacketType::Publish: return widen(decode_publish(header, body, version, sender));
    case PacketType::PubAck:
    case PacketType::PubRec:
    case PacketType::PubRel:
    case PacketType::PubComp: return widen(decode_ack(header, body, version, sender));
    case PacketType::Subscribe: return widen(decode_subscribe(header, body, version));
    case PacketType::SubAck: return widen(decode_suback(header, body, version));
    case PacketType::Unsubscribe: return widen(decode_unsubscribe(header, body, version));
    case PacketType::UnsubAck: return widen(decode_unsuback(header, body, version));
    case PacketType::PingReq: return empty_packet<PingReq>(body);
    case PacketType::PingResp: return empty_packet<PingResp>(body);
    case PacketType::Disconnect: return widen(decode_disconnect(header, body, version, sender));
    case PacketType::Auth: return widen(decode_auth(header, body, version, sender));
  }
  return malformed("packet type", "0 is reserved");
}

bool Reader::long_varint(std::uint32_t& value, std::string_view field) {
  value = 0;
  for (unsigned i = 0; i < 4; ++i) {
    std::uint8_t byte = 0;
    if (!u8(byte, field)) return false;
    value |= (byte & 0x7FU) << (7 * i);
    if (byte >= 0x80) continue;
    return i == 0 || byte != 0 || malformed(field, "encoded in more bytes than it needs", "MQTT-1.5.5-1");
  }
  return malformed(field, "longer than four bytes", "MQTT-1.5.5-1");
}

}  // namespace vigil::mqtt
