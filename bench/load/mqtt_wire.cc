#include "mqtt_wire.h"

namespace vigil::bench {
namespace {

void append_u16(std::string& out, std::size_t value) {
  out.push_back(static_cast<char>((value >> 8U) & 0xffU));
  out.push_back(static_cast<char>(value & 0xffU));
}

void append_text(std::string& out, std::string_view text) {
  append_u16(out, text.size());
  out.append(text);
}

void append_header(std::string& out, unsigned first, std::size_t remaining) {
  out.push_back(static_cast<char>(first));
  do {
    const auto low = static_cast<unsigned>(remaining & 0x7fU);
    remaining >>= 7U;
    out.push_back(static_cast<char>(low | (remaining > 0 ? 0x80U : 0U)));
  } while (remaining > 0);
}

// An empty property list, where the version has one.
void append_no_properties(std::string& out, Version version) {
  if (version == Version::V5) out.push_back('\0');
}

std::uint16_t read_u16(base::Bytes bytes, std::size_t at) {
  if (at + 2 > bytes.size()) throw std::runtime_error("the broker sent a packet that is too short");
  return static_cast<std::uint16_t>((bytes[at] << 8U) | bytes[at + 1]);
}

}  // namespace

std::string encode_connect(const ConnectFields& fields) {
  std::string body;
  append_text(body, "MQTT");
  body.push_back(static_cast<char>(fields.version));
  constexpr unsigned kClean = 0x02;
  constexpr unsigned kHasWill = 0x04;
  body.push_back(static_cast<char>((fields.persistent ? 0U : kClean) | (fields.will ? kHasWill : 0U)));
  append_u16(body, fields.keep_alive_s);
  append_no_properties(body, fields.version);
  append_text(body, fields.client_id);
  if (fields.will) {
    append_no_properties(body, fields.version);
    append_text(body, fields.will->topic);
    append_text(body, fields.will->payload);
  }
  std::string out;
  append_header(out, 0x10, body.size());
  return out + body;
}

std::string encode_subscribe(Version version, std::string_view filter, unsigned qos) {
  std::string body;
  append_u16(body, 1);
  append_no_properties(body, version);
  append_text(body, filter);
  body.push_back(static_cast<char>(qos));
  std::string out;
  append_header(out, 0x82, body.size());
  return out + body;
}

void append_publish(std::string& out, Version version, std::string_view topic, std::string_view payload, unsigned qos,
                    std::uint16_t packet_id) {
  const std::size_t size = 2 + topic.size() + (qos > 0 ? 2U : 0U) + (version == Version::V5 ? 1U : 0U) + payload.size();
  append_header(out, 0x30U | (qos << 1U), size);
  append_text(out, topic);
  if (qos > 0) append_u16(out, packet_id);
  append_no_properties(out, version);
  out.append(payload);
}

void append_puback(std::string& out, std::uint16_t packet_id) {
  append_header(out, 0x40, 2);
  append_u16(out, packet_id);
}

std::string_view Frame::publish_topic() const {
  const std::size_t size = read_u16(body, 0);
  if (2 + size > body.size()) throw std::runtime_error("the broker sent a PUBLISH that is too short");
  return base::as_text(body.subspan(2, size));
}

std::uint16_t Frame::publish_packet_id() const { return read_u16(body, std::size_t{2} + read_u16(body, 0)); }

std::uint8_t Frame::code() const {
  const std::size_t at = type() == PacketType::Connack ? 1 : 0;
  return at < body.size() ? body[at] : std::uint8_t{0};
}

FrameSize frame_size(base::Bytes bytes) {
  std::size_t remaining = 0;
  for (std::size_t i = 1; i < bytes.size(); ++i) {
    if (i > 4) throw std::runtime_error("the broker sent a remaining length of more than four bytes");
    remaining |= static_cast<std::size_t>(bytes[i] & 0x7fU) << (7 * (i - 1));
    if ((bytes[i] & 0x80U) == 0) return {i + 1, i + 1 + remaining};
  }
  return {};
}

}  // namespace vigil::bench
