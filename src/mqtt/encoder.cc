#include "mqtt/encoder.h"

#include <cstring>
#include <string_view>

#include "base/check.h"

namespace vigil::mqtt {
namespace {

constexpr std::size_t kMaxText = 65'535;

// Every body is described once (write_body) and run twice: over a Counter, which gives the Remaining Length, and over a
// Writer.
class Counter {
 public:
  void u8(std::uint8_t) { size_ += 1; }
  void u16(std::uint16_t) { size_ += 2; }
  void raw(base::Bytes bytes) { size_ += bytes.size(); }
  void text(std::string_view text) { size_ += 2 + text.size(); }
  void properties(const Properties& properties) {
    const std::size_t size = properties.empty() ? 0 : properties_size(properties);
    CHECK(size <= kMaxRemainingLength);
    size_ += varint_size(static_cast<std::uint32_t>(size)) + size;
  }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_ = 0;
};

// Writes into room that a Counter has measured.
class Writer {
 public:
  explicit Writer(std::uint8_t* to) : to_(to) {}
  void u8(std::uint8_t value) { *to_++ = value; }
  void u16(std::uint16_t value) {
    u8(static_cast<std::uint8_t>(value >> 8U));
    u8(static_cast<std::uint8_t>(value));
  }
  void raw(base::Bytes bytes) {
    if (!bytes.empty()) std::memcpy(to_, bytes.data(), bytes.size());
    to_ += bytes.size();
  }
  void text(std::string_view text) {
    CHECK(text.size() <= kMaxText);
    u16(static_cast<std::uint16_t>(text.size()));
    raw(base::as_bytes(text));
  }
  void properties(const Properties& properties) {
    if (properties.empty()) return u8(0);
    to_ += write_varint(to_, static_cast<std::uint32_t>(properties_size(properties)));
    to_ = write_properties(to_, properties);
  }
  void varint(std::uint32_t value) { to_ += write_varint(to_, value); }
  const std::uint8_t* at() const { return to_; }

 private:
  std::uint8_t* to_;
};

constexpr std::uint8_t raw(ReasonCode code) { return static_cast<std::uint8_t>(code); }
constexpr std::uint8_t raw(QoS qos) { return static_cast<std::uint8_t>(qos); }
constexpr std::uint8_t flag(bool set, unsigned bit) { return static_cast<std::uint8_t>(set ? 1U << bit : 0U); }

std::uint8_t connect_flags(const Connect& packet) {
  std::uint8_t flags = flag(packet.clean_start, 1);
  if (packet.will) {
    flags |= flag(true, 2) | flag(packet.will->retain, 5);
    flags |= static_cast<std::uint8_t>(raw(packet.will->qos) << 3U);
  }
  return flags | flag(packet.password.has_value(), 6) | flag(packet.user_name.has_value(), 7);
}

template <class Sink>
void write_body(Sink& sink, Version version, const Connect& packet) {
  sink.text(version == Version::V31 ? "MQIsdp" : "MQTT");
  sink.u8(static_cast<std::uint8_t>(version) | flag(packet.bridge, 7));
  sink.u8(connect_flags(packet));
  sink.u16(packet.keep_alive_s);
  if (version == Version::V5) sink.properties(packet.properties);
  sink.text(packet.client_id);
  if (packet.will) {
    if (version == Version::V5) sink.properties(packet.will->properties);
    sink.text(packet.will->topic);
    sink.text(base::as_text(packet.will->payload));
  }
  if (packet.user_name) sink.text(*packet.user_name);
  if (packet.password) sink.text(base::as_text(*packet.password));
}

template <class Sink>
void write_body(Sink& sink, Version version, const ConnAck& packet) {
  // Bit 0 is Session Present since 3.1.1, and 0 with every refusal [MQTT-3.2.2-6].
  sink.u8(flag(packet.session_present && version != Version::V31 && packet.reason == ReasonCode::Success, 0));
  if (version == Version::V5) {
    sink.u8(raw(packet.reason));
    sink.properties(packet.properties);
  } else {
    sink.u8(connack_return_code_v3(packet.reason).value_or(0));
  }
}

// All but the payload.
template <class Sink>
void write_head(Sink& sink, Version version, const Publish& packet) {
  sink.text(packet.topic);
  if (packet.qos != QoS::AtMostOnce) sink.u16(packet.packet_id);
  if (version == Version::V5) sink.properties(packet.properties);
}

template <class Sink>
void write_body(Sink& sink, Version version, const Publish& packet) {
  write_head(sink, version, packet);
  sink.raw(packet.payload);
}

// The forms that leave out what is at its default (3.4.2.1, 3.14.2.1).
template <class Sink>
void write_short_reason(Sink& sink, Version version, ReasonCode reason, const Properties& properties) {
  if (version != Version::V5 || (reason == ReasonCode::Success && properties.empty())) return;
  sink.u8(raw(reason));
  if (!properties.empty()) sink.properties(properties);
}

template <class Sink>
void write_body(Sink& sink, Version version, const Ack& packet) {
  sink.u16(packet.packet_id);
  write_short_reason(sink, version, packet.reason, packet.properties);
}

template <class Sink>
void write_body(Sink& sink, Version version, const Subscribe& packet) {
  sink.u16(packet.packet_id);
  if (version == Version::V5) sink.properties(packet.properties);
  for (const Subscribe::Entry& entry : packet.entries) {
    sink.text(entry.filter);
    std::uint8_t options = raw(entry.options.qos);
    if (version == Version::V5) {
      options |= flag(entry.options.no_local, 2) | flag(entry.options.retain_as_published, 3);
      options |= static_cast<std::uint8_t>(static_cast<unsigned>(entry.options.retain_handling) << 4U);
    }
    sink.u8(options);
  }
}

template <class Sink>
void write_body(Sink& sink, Version version, const SubAck& packet) {
  sink.u16(packet.packet_id);
  if (version == Version::V5) sink.properties(packet.properties);
  for (const ReasonCode reason : packet.reasons) {
    sink.u8(version != Version::V5 && is_failure(reason) ? raw(ReasonCode::UnspecifiedError) : raw(reason));
  }
}

template <class Sink>
void write_body(Sink& sink, Version version, const Unsubscribe& packet) {
  sink.u16(packet.packet_id);
  if (version == Version::V5) sink.properties(packet.properties);
  for (const Unsubscribe::Entry& entry : packet.entries) sink.text(entry.filter);
}

template <class Sink>
void write_body(Sink& sink, Version version, const UnsubAck& packet) {
  sink.u16(packet.packet_id);
  if (version != Version::V5) return;
  sink.properties(packet.properties);
  for (const ReasonCode reason : packet.reasons) sink.u8(raw(reason));
}

template <class Sink>
void write_body(Sink& sink, Version version, const Disconnect& packet) {
  write_short_reason(sink, version, packet.reason, packet.properties);
}

template <class Sink>
void write_body(Sink& sink, Version, const Auth& packet) {
  if (packet.reason == ReasonCode::Success && packet.properties.empty()) return;
  sink.u8(raw(packet.reason));
  sink.properties(packet.properties);
}

template <class Sink>
void write_body(Sink&, Version, const PingReq&) {}
template <class Sink>
void write_body(Sink&, Version, const PingResp&) {}

std::uint8_t first_byte(PacketType type, unsigned flags = 0) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(type) << 4U | flags);
}
std::uint8_t first_byte(const Connect&) { return first_byte(PacketType::Connect); }
std::uint8_t first_byte(const ConnAck&) { return first_byte(PacketType::ConnAck); }
std::uint8_t first_byte(const Publish& packet) {
  return first_byte(PacketType::Publish,
                    static_cast<unsigned>(raw(packet.qos)) << 1U | flag(packet.dup, 3) | flag(packet.retain, 0));
}
std::uint8_t first_byte(const Ack& packet) {
  return first_byte(packet.type, packet.type == PacketType::PubRel ? 2 : 0);
}
std::uint8_t first_byte(const Subscribe&) { return first_byte(PacketType::Subscribe, 2); }
std::uint8_t first_byte(const SubAck&) { return first_byte(PacketType::SubAck); }
std::uint8_t first_byte(const Unsubscribe&) { return first_byte(PacketType::Unsubscribe, 2); }
std::uint8_t first_byte(const UnsubAck&) { return first_byte(PacketType::UnsubAck); }
std::uint8_t first_byte(const PingReq&) { return first_byte(PacketType::PingReq); }
std::uint8_t first_byte(const PingResp&) { return first_byte(PacketType::PingResp); }
std::uint8_t first_byte(const Disconnect&) { return first_byte(PacketType::Disconnect); }
std::uint8_t first_byte(const Auth&) { return first_byte(PacketType::Auth); }

// A packet that the version cannot say at all.
template <class T>
bool unsayable(Version, const T&) {
  return false;
}
bool unsayable(Version version, const ConnAck& packet) {
  return version != Version::V5 && !connack_return_code_v3(packet.reason);
}
bool unsayable(Version version, const Auth&) { return version != Version::V5; }

template <class T>
std::size_t body_size(Version version, const T& packet) {
  Counter counter;
  write_body(counter, version, packet);
  CHECK(counter.size() <= kMaxRemainingLength);
  return counter.size();
}

template <class T>
void append(Buffer& out, Version version, const T& packet) {
  if (unsayable(version, packet)) return;
  const std::size_t body = body_size(version, packet);
  const std::size_t start = out.size();
  out.resize(start + 1 + varint_size(static_cast<std::uint32_t>(body)) + body);
  Writer writer(out.data() + start);
  writer.u8(first_byte(packet));
  writer.varint(static_cast<std::uint32_t>(body));
  write_body(writer, version, packet);
}

// CONNECT says its version itself.
void append(Buffer& out, Version, const Connect& packet) { append<Connect>(out, packet.version, packet); }

}  // namespace

void encode(Buffer& out, Version version, const Packet& packet) {
  std::visit(
      [&]<class T>(const T& p) {
        if constexpr (std::is_same_v<T, Publish>) {
          encode_publish(out, version, p);
        } else {
          append(out, version, p);
        }
      },
      packet);
}

void encode_connack(Buffer& out, Version version, const ConnAck& packet) { append(out, version, packet); }
void encode_ack(Buffer& out, Version version, const Ack& packet) { append(out, version, packet); }
void encode_suback(Buffer& out, Version version, const SubAck& packet) { append(out, version, packet); }
void encode_unsuback(Buffer& out, Version version, const UnsubAck& packet) { append(out, version, packet); }
void encode_disconnect(Buffer& out, Version version, const Disconnect& packet) { append(out, version, packet); }
void encode_auth(Buffer& out, Version version, const Auth& packet) { append(out, version, packet); }

void encode_publish(Buffer& out, Version version, const Publish& packet) {
  Counter head;
  write_head(head, version, packet);
  const std::size_t body = head.size() + packet.payload.size();
  CHECK(body <= kMaxRemainingLength);
  // The payload is appended, not written into cleared room: it may be large.
  const std::size_t start = out.size();
  out.resize(start + 1 + varint_size(static_cast<std::uint32_t>(body)) + head.size());
  Writer writer(out.data() + start);
  writer.u8(first_byte(packet));
  writer.varint(static_cast<std::uint32_t>(body));
  write_head(writer, version, packet);
  out.insert(out.end(), packet.payload.begin(), packet.payload.end());
}

void encode_properties(Buffer& out, const Properties& properties) {
  const std::size_t start = out.size();
  out.resize(start + properties_size(properties));
  write_properties(out.data() + start, properties);
}

void append_varint(Buffer& out, std::uint32_t value) {
  std::uint8_t bytes[4];
  out.insert(out.end(), bytes, bytes + write_varint(bytes, value));
}

std::size_t varint_size(std::uint32_t value) {
  if (value < 1U << 7U) return 1;
  if (value < 1U << 14U) return 2;
  return value < 1U << 21U ? 3 : 4;
}

std::size_t write_varint(std::uint8_t* to, std::uint32_t value) {
  CHECK(value <= kMaxRemainingLength);
  std::size_t size = 0;
  for (; value >= 0x80; value >>= 7U) to[size++] = static_cast<std::uint8_t>(value | 0x80U);
  to[size++] = static_cast<std::uint8_t>(value);
  return size;
}

std::size_t encoded_size(Version version, const Packet& packet) {
  return std::visit(
      [&]<class T>(const T& p) -> std::size_t {
        if constexpr (std::is_same_v<T, Connect>) version = p.version;
        if (unsayable(version, p)) return 0;
        const std::size_t body = body_size(version, p);
        return 1 + varint_size(static_cast<std::uint32_t>(body)) + body;
      },
      packet);
}

}  // namespace vigil::mqtt
