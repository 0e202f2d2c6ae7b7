#include "mqtt/describe.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "base/escape.h"

namespace vigil::mqtt {
namespace {

constexpr std::size_t kMaxText = 128;    // bytes of a text that are shown
constexpr std::size_t kMaxPayload = 64;  // bytes of a printable payload that are shown
constexpr std::size_t kMaxHex = 16;      // bytes of any other that are shown

bool printable(std::uint8_t byte) { return byte >= 0x20 && byte < 0x7F; }

// Builds `NAME key=value key=value`.
class Line {
 public:
  Line(std::string_view name, Payloads payloads) : out_(name), payloads_(payloads) {}

  void number(std::string_view key, std::uint64_t value) { fmt::format_to(back(), " {}={}", key, value); }
  // Left out where it is 0 or false.
  void flag(std::string_view key, std::uint64_t value) {
    if (value != 0) number(key, value);
  }
  // Control characters and what could end the line or fake another field show as \xNN.
  void text(std::string_view key, std::string_view value) {
    fmt::format_to(back(), " {}=", key);
    append_text(value);
  }
  void bytes(std::string_view key, base::Bytes value) {
    fmt::format_to(back(), " {}=", key);
    const bool readable = std::ranges::all_of(value, printable);
    const std::size_t shown = std::min(value.size(), readable ? kMaxPayload : kMaxHex);
    if (!readable) out_ += "0x";
    for (const std::uint8_t byte : value.first(shown)) {
      if (readable) {
        out_ += static_cast<char>(byte);
      } else {
        fmt::format_to(back(), "{:02x}", byte);
      }
    }
    if (shown < value.size()) out_ += "...";
  }
  void payload(std::string_view key, base::Bytes value) {
    if (payloads_ == Payloads::Shown) {
      bytes(key, value);
    } else {
      fmt::format_to(back(), " {}=({} bytes)", key, value.size());
    }
  }
  void hidden(std::string_view key) { fmt::format_to(back(), " {}=***", key); }
  void reason(ReasonCode code) {
    if (code == ReasonCode::Success) return;
    fmt::format_to(back(), " reason=0x{:02X} ({})", static_cast<unsigned>(code), reason_name(code));
  }
  template <class Reasons>
  void reasons(const Reasons& codes) {
    out_ += " reasons=";
    for (std::size_t i = 0; i < codes.size(); ++i) {
      fmt::format_to(back(), "{}0x{:02X}", i == 0 ? "" : ",", static_cast<unsigned>(codes[i]));
    }
  }
  void properties(const Properties& properties, std::string_view prefix = {}) {
    properties.for_each_present([&](Property p) {
      std::string key(prefix);
      for (const char c : property_name(p))
        key += c == ' ' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      const PropertyType type = property_table()[static_cast<std::size_t>(p)].type;
      if (p == Property::AuthenticationData) {
        hidden(key);
      } else if (type == PropertyType::Text) {
        text(key, properties.text_or(p));
      } else if (type == PropertyType::Binary) {
        bytes(key, base::as_bytes(properties.text_or(p)));
      } else {
        number(key, properties.number_or(p, 0));
      }
    });
    for (const std::uint32_t id : properties.subscription_ids) number("subscription_identifier", id);
    for (const UserProperty& pair : properties.user) {
      fmt::format_to(back(), " {}user.", prefix);
      append_text(pair.name);
      out_ += '=';
      append_text(pair.value);
    }
  }
  std::string take() { return std::move(out_); }

 private:
  std::back_insert_iterator<std::string> back() { return std::back_inserter(out_); }
  void append_text(std::string_view value) { base::append_escaped(out_, value, kMaxText); }

  std::string out_;
  Payloads payloads_;
};

unsigned number(QoS qos) { return static_cast<unsigned>(qos); }

void fill(Line& line, const Connect& p) {
  line.text("id", p.client_id);
  line.number("version", static_cast<unsigned>(p.version));
  line.number("clean", p.clean_start ? 1 : 0);
  line.number("keep_alive", p.keep_alive_s);
  line.flag("bridge", p.bridge ? 1 : 0);
  if (p.user_name) line.text("user_name", *p.user_name);
  if (p.password) line.hidden("password");
  line.properties(p.properties);
  if (!p.will) return;
  line.text("will", p.will->topic);
  line.flag("will.qos", number(p.will->qos));
  line.flag("will.retain", p.will->retain ? 1 : 0);
  line.payload("will.payload", p.will->payload);
  line.properties(p.will->properties, "will.");
}

void fill(Line& line, const ConnAck& p) {
  line.number("session_present", p.session_present ? 1 : 0);
  line.reason(p.reason);
  line.properties(p.properties);
}

void fill(Line& line, const Publish& p) {
  line.text("topic", p.topic);
  line.number("qos", number(p.qos));
  line.flag("id", p.packet_id);
  line.flag("dup", p.dup ? 1 : 0);
  line.flag("retain", p.retain ? 1 : 0);
  line.properties(p.properties);
  line.payload("payload", p.payload);
}

void fill(Line& line, const Ack& p) {
  line.number("id", p.packet_id);
  line.reason(p.reason);
  line.properties(p.properties);
}

void fill(Line& line, const Subscribe& p) {
  line.number("id", p.packet_id);
  line.properties(p.properties);
  for (const Subscribe::Entry& entry : p.entries) {
    line.text("filter", entry.filter);
    line.number("qos", number(entry.options.qos));
    line.flag("no_local", entry.options.no_local ? 1 : 0);
    line.flag("retain_as_published", entry.options.retain_as_published ? 1 : 0);
    line.flag("retain_handling", static_cast<unsigned>(entry.options.retain_handling));
  }
}

void fill(Line& line, const Unsubscribe& p) {
  line.number("id", p.packet_id);
  line.properties(p.properties);
  for (const Unsubscribe::Entry& entry : p.entries) line.text("filter", entry.filter);
}

void fill(Line& line, const SubAck& p) {
  line.number("id", p.packet_id);
  line.reasons(p.reasons);
  line.properties(p.properties);
}

void fill(Line& line, const UnsubAck& p) {
  line.number("id", p.packet_id);
  if (!p.reasons.empty()) line.reasons(p.reasons);
  line.properties(p.properties);
}

void fill(Line&, const PingReq&) {}
void fill(Line&, const PingResp&) {}

void fill(Line& line, const Disconnect& p) {
  line.reason(p.reason);
  line.properties(p.properties);
}

void fill(Line& line, const Auth& p) {
  line.reason(p.reason);
  line.properties(p.properties);
}

}  // namespace

PacketType packet_type(const Packet& packet) {
  struct {
    PacketType operator()(const Connect&) { return PacketType::Connect; }
    PacketType operator()(const ConnAck&) { return PacketType::ConnAck; }
    PacketType operator()(const Publish&) { return PacketType::Publish; }
    PacketType operator()(const Ack& ack) { return ack.type; }
    PacketType operator()(const Subscribe&) { return PacketType::Subscribe; }
    PacketType operator()(const SubAck&) { return PacketType::SubAck; }
    PacketType operator()(const Unsubscribe&) { return PacketType::Unsubscribe; }
    PacketType operator()(const UnsubAck&) { return PacketType::UnsubAck; }
    PacketType operator()(const PingReq&) { return PacketType::PingReq; }
    PacketType operator()(const PingResp&) { return PacketType::PingResp; }
    PacketType operator()(const Disconnect&) { return PacketType::Disconnect; }
    PacketType operator()(const Auth&) { return PacketType::Auth; }
  } type_of;
  return std::visit(type_of, packet);
}

std::string_view packet_name(PacketType type) {
  constexpr std::array<std::string_view, 16> kNames = {
      "unknown packet type", "CONNECT", "CONNACK",     "PUBLISH",  "PUBACK",  "PUBREC",   "PUBREL",     "PUBCOMP",
      "SUBSCRIBE",           "SUBACK",  "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"};
  return kNames[static_cast<std::size_t>(type) & 15U];
}

std::string describe(const Packet& packet, Payloads payloads) {
  Line line(packet_name(packet_type(packet)), payloads);
  std::visit([&](const auto& p) { fill(line, p); }, packet);
  return line.take();
}

}  // namespace vigil::mqtt
