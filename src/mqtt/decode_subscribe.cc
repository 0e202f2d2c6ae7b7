// SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.
//
// A filter that 4.7 or 4.8.2 forbids makes the whole packet illegal. One that is legal, but that the broker refuses,
// concerns its entry alone: that is the broker's business.
#include "mqtt/reader.h"

namespace vigil::mqtt {
namespace {

constexpr std::string_view kFilter = "Topic Filter";

bool parse_head(PacketId& packet_id, Properties& properties, Reader& in, Version version, PacketType type) {
  return in.packet_id(packet_id) && (version != Version::V5 || read_properties(in, properties, in_packet(type)));
}

bool parse_filter(std::string_view& filter, TopicFilter& parsed, Reader& in) {
  if (!in.name(filter, kFilter)) return false;
  const std::optional<TopicFilter> legal = TopicFilter::parse(filter);
  if (!legal) {
    const FilterFault fault = fault_of_filter(filter);
    return in.fail(ReasonCode::ProtocolError, kFilter, fault.detail, fault.clause, filter);
  }
  parsed = *legal;
  return true;
}

// The byte behind each filter: 3.8.3.1, and 3.8.3 of 3.1.1 where only the QoS exists. (3.1 does not use the upper six
// bits; 3.1.1 reserves them.)
bool parse_options(SubscriptionOptions& options, Reader& in, Version version, const TopicFilter& filter) {
  constexpr std::string_view kField = "Subscription Options";
  std::uint8_t byte = 0;
  if (!in.u8(byte, kField)) return false;
  const unsigned qos = byte & 3U;
  if (version != Version::V5) {
    if ((byte & 0xFCU) != 0 && version != Version::V31)
      return in.malformed("Requested QoS", "reserved bits are set", "MQTT3-3.8.3-4");
    if (qos == 3) return in.malformed("Requested QoS", "3 is not allowed", "MQTT3-3.8.3-4");
    options.qos = static_cast<QoS>(qos);
    return true;
  }
  const unsigned retain_handling = (byte >> 4U) & 3U;
  if ((byte & 0xC0U) != 0) return in.malformed(kField, "reserved bits are set", "MQTT-3.8.3-5");
  if (qos == 3) return in.protocol_error("Maximum QoS", "3 is not allowed");
  if (retain_handling == 3) return in.protocol_error("Retain Handling", "3 is not allowed");
  options.qos = static_cast<QoS>(qos);
  options.no_local = (byte & 0x04U) != 0;
  options.retain_as_published = (byte & 0x08U) != 0;
  options.retain_handling = static_cast<RetainHandling>(retain_handling);
  if (options.no_local && filter.shared()) {
    return in.protocol_error("No Local", "set on a shared subscription", "MQTT-3.8.3-4");
  }
  return true;
}

bool parse_subscribe(Subscribe& packet, Reader& in, Version version) {
  if (!parse_head(packet.packet_id, packet.properties, in, version, PacketType::Subscribe)) return false;
  if (in.at_end()) return in.protocol_error(kFilter, "SUBSCRIBE without any", "MQTT-3.8.3-2");
  while (!in.at_end()) {
    Subscribe::Entry entry;
    if (!parse_filter(entry.filter, entry.parsed, in) || !parse_options(entry.options, in, version, entry.parsed))
      return false;
    packet.entries.push_back(entry);
  }
  packet.control_characters = in.control_characters();
  return true;
}

bool parse_unsubscribe(Unsubscribe& packet, Reader& in, Version version) {
  if (!parse_head(packet.packet_id, packet.properties, in, version, PacketType::Unsubscribe)) return false;
  if (in.at_end()) return in.protocol_error(kFilter, "UNSUBSCRIBE without any", "MQTT-3.10.3-2");
  while (!in.at_end()) {
    Unsubscribe::Entry entry;
    if (!parse_filter(entry.filter, entry.parsed, in)) return false;
    packet.entries.push_back(entry);
  }
  packet.control_characters = in.control_characters();
  return true;
}

bool suback_code_v3(std::uint8_t code) { return code <= 2 || code == 0x80; }

bool parse_suback(SubAck& packet, Reader& in, Version version) {
  if (!parse_head(packet.packet_id, packet.properties, in, version, PacketType::SubAck)) return false;
  if (in.at_end()) return in.malformed("Reason Code", "SUBACK without any");
  while (!in.at_end()) {
    std::uint8_t code = 0;
    if (!in.u8(code, "Reason Code")) return false;
    const bool known =
        version == Version::V5 ? reason_allowed(PacketType::SubAck, Sender::Server, code) : suback_code_v3(code);
    if (!known) return in.protocol_error("Reason Code", "not one of SUBACK's", "MQTT-3.9.3-2");
    packet.reasons.push_back(static_cast<ReasonCode>(code));
  }
  return true;
}

bool parse_unsuback(UnsubAck& packet, Reader& in, Version version) {
  if (!parse_head(packet.packet_id, packet.properties, in, version, PacketType::UnsubAck)) return false;
  if (version != Version::V5) return in.done("UNSUBACK");
  if (in.at_end()) return in.malformed("Reason Code", "UNSUBACK without any");
  while (!in.at_end()) {
    std::uint8_t code = 0;
    if (!in.u8(code, "Reason Code")) return false;
    if (!reason_allowed(PacketType::UnsubAck, Sender::Server, code)) {
      return in.protocol_error("Reason Code", "not one of UNSUBACK's", "MQTT-3.11.3-2");
    }
    packet.reasons.push_back(static_cast<ReasonCode>(code));
  }
  return true;
}

}  // namespace

Decoded<Subscribe> decode_subscribe(const FrameHeader&, base::Bytes body, Version version) {
  return decode_with<Subscribe>(body, [&](Subscribe& p, Reader& in) { return parse_subscribe(p, in, version); });
}

Decoded<SubAck> decode_suback(const FrameHeader&, base::Bytes body, Version version) {
  return decode_with<SubAck>(body, [&](SubAck& p, Reader& in) { return parse_suback(p, in, version); });
}

Decoded<Unsubscribe> decode_unsubscribe(const FrameHeader&, base::Bytes body, Version version) {
  return decode_with<Unsubscribe>(body, [&](Unsubscribe& p, Reader& in) { return parse_unsubscribe(p, in, version); });
}

Decoded<UnsubAck> decode_unsuback(const FrameHeader&, base::Bytes body, Version version) {
  return decode_with<UnsubAck>(body, [&](UnsubAck& p, Reader& in) { return parse_unsuback(p, in, version); });
}

}  // namespace vigil::mqtt
