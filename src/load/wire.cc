#include "load/wire.h"

namespace vigil::load {
namespace {

void append_u16(std::string& out, std::size_t value) {
  out.push_back(static_cast<char>((value >> 8U) & 0xffU));
  out.push_back(static_cast<char>(value & 0xffU));
}

void append_u32(std::string& out, std::uint32_t value) {
  append_u16(out, value >> 16U);
  append_u16(out, value & 0xffffU);
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

std::runtime_error too_short() { return std::runtime_error("the broker sent a packet that is too short"); }

std::uint16_t read_u16(base::Bytes bytes, std::size_t at) {
  if (at + 2 > bytes.size()) throw too_short();
  return static_cast<std::uint16_t>((bytes[at] << 8U) | bytes[at + 1]);
}

// What lies behind the property list at `at`.
std::size_t behind_properties(base::Bytes bytes, std::size_t at) {
  std::size_t size = 0;
  for (unsigned shift = 0; shift < 28; shift += 7) {
    if (at >= bytes.size()) break;
    const std::uint8_t byte = bytes[at++];
    size |= static_cast<std::size_t>(byte & 0x7fU) << shift;
    if ((byte & 0x80U) == 0) return at + size;
  }
  throw too_short();
}

}  // namespace

std::string encode_connect(const ConnectFields& fields) {
  constexpr unsigned kClean = 0x02;
  constexpr unsigned kHasWill = 0x04;
  constexpr unsigned kWillRetain = 0x20;
  constexpr unsigned kHasPassword = 0x40;
  constexpr unsigned kHasUsername = 0x80;
  constexpr char kSessionExpiry = 0x11;
  std::string body;
  append_text(body, fields.version == Version::V31 ? "MQIsdp" : "MQTT");
  body.push_back(static_cast<char>(fields.version));
  unsigned flags = fields.clean ? kClean : 0U;
  if (fields.will) flags |= kHasWill | (fields.will->qos << 3U) | (fields.will->retain ? kWillRetain : 0U);
  if (!fields.username.empty()) flags |= kHasUsername;
  if (!fields.password.empty()) flags |= kHasPassword;
  body.push_back(static_cast<char>(flags));
  append_u16(body, fields.keep_alive_s);
  if (fields.version == Version::V5 && fields.session_expiry_s != 0) {
    body.push_back('\x05');
    body.push_back(kSessionExpiry);
    append_u32(body, fields.session_expiry_s);
  } else {
    append_no_properties(body, fields.version);
  }
  append_text(body, fields.client_id);
  if (fields.will) {
    append_no_properties(body, fields.version);
    append_text(body, fields.will->topic);
    append_text(body, fields.will->payload);
  }
  if (!fields.username.empty()) append_text(body, fields.username);
  if (!fields.password.empty()) append_text(body, fields.password);
  std::string out;
  append_header(out, 0x10, body.size());
  return out + body;
}

std::string encode_subscribe(Version version, std::uint16_t packet_id, std::span<const std::string> filters,
                             unsigned qos) {
  std::string body;
  append_u16(body, packet_id);
  append_no_properties(body, version);
  for (const std::string& filter : filters) {
    append_text(body, filter);
    body.push_back(static_cast<char>(qos));
  }
  std::string out;
  append_header(out, 0x82, body.size());
  return out + body;
}

void append_publish(std::string& out, const PublishFields& fields) {
  const bool numbered = fields.qos > 0;
  const std::size_t size = 2 + fields.topic.size() + (numbered ? 2U : 0U) + (fields.version == Version::V5 ? 1U : 0U) +
                           fields.payload.size();
  append_header(out, 0x30U | (fields.qos << 1U) | (fields.retain ? 1U : 0U), size);
  append_text(out, fields.topic);
  if (numbered) append_u16(out, fields.packet_id);
  append_no_properties(out, fields.version);
  out.append(fields.payload);
}

void append_ack(std::string& out, PacketType type, std::uint16_t packet_id) {
  const unsigned flags = type == PacketType::Pubrel ? 2U : 0U;
  append_header(out, (static_cast<unsigned>(type) << 4U) | flags, 2);
  append_u16(out, packet_id);
}

std::string_view Frame::publish_topic() const {
  const std::size_t size = read_u16(body, 0);
  if (2 + size > body.size()) throw too_short();
  return base::as_text(body.subspan(2, size));
}

std::uint16_t Frame::publish_packet_id() const { return read_u16(body, std::size_t{2} + read_u16(body, 0)); }

base::Bytes Frame::publish_payload(Version version) const {
  std::size_t at = std::size_t{2} + read_u16(body, 0) + (publish_qos() > 0 ? 2U : 0U);
  if (version == Version::V5) at = behind_properties(body, at);
  if (at > body.size()) throw too_short();
  return body.subspan(at);
}

std::uint16_t Frame::packet_id() const { return read_u16(body, 0); }

std::uint8_t Frame::ack_reason() const { return body.size() > 2 ? body[2] : std::uint8_t{0}; }

std::uint8_t Frame::code() const {
  const std::size_t at = type() == PacketType::Connack ? 1 : 0;
  return at < body.size() ? body[at] : std::uint8_t{0};
}

bool Frame::refuses_a_filter(Version version) const {
  const std::size_t at = version == Version::V5 ? behind_properties(body, 2) : 2;
  for (std::size_t i = at; i < body.size(); ++i) {
    if (body[i] >= 0x80) return true;
  }
  return false;
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

}  // namespace vigil::load
