#include "sim/packet_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <deque>
#include <utility>

#include <fmt/format.h>

#include "mqtt/packet.h"

namespace vigil::sim {
namespace {

using mqtt::Property;

bool key_like(std::string_view text) {
  if (text.starts_with("user.") || text.starts_with("will.user.")) return true;
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  });
}

// `0x68656c` is bytes, `1000*x` is a thousand times x, all else is itself.
Parsed<std::string> value_of(std::string_view text) {
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
    if (text.size() % 2 != 0) return base::Err(fmt::format("odd number of hexadecimal digits in 0x{}", text));
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
      unsigned byte = 0;
      const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
      if (error != std::errc() || end != text.data() + i + 2)
        return base::Err(fmt::format("not hexadecimal: 0x{}", text));
      out += static_cast<char>(byte);
    }
    return out;
  }
  if (const auto star = text.find('*'); star != std::string_view::npos && star > 0) {
    std::size_t times = 0;
    const auto [end, error] = std::from_chars(text.begin(), text.begin() + star, times);
    if (error == std::errc() && end == text.begin() + star) {
      std::string out;
      for (std::size_t i = 0; i < times; ++i) out += text.substr(star + 1);
      return out;
    }
  }
  return std::string(text);
}

std::string property_key(Property p) {
  std::string key;
  for (const char c : mqtt::property_name(p))
    key += c == ' ' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return key;
}

std::string_view long_name(std::string_view key, mqtt::PacketType type) {
  if (key == "expiry") return type == mqtt::PacketType::Publish ? "message_expiry_interval" : "session_expiry_interval";
  constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kShort = {{
      {"receive_max", "receive_maximum"},
      {"max_packet", "maximum_packet_size"},
      {"alias", "topic_alias"},
      {"alias_max", "topic_alias_maximum"},
      {"response", "response_topic"},
      {"correlation", "correlation_data"},
      {"sub_id", "subscription_identifier"},
      {"method", "authentication_method"},
      {"data", "authentication_data"},
      {"problem_info", "request_problem_information"},
      {"response_info", "request_response_information"},
      {"format", "payload_format_indicator"},
  }};
  for (const auto& [brief, full] : kShort) {
    if (key == brief) return full;
  }
  return key;
}

// Holds what the packet's views point into.
class Builder {
 public:
  Builder(const Command& command, const PacketDefaults& defaults) : command_(command), defaults_(defaults) {}
  Parsed<mqtt::Buffer> build();

 private:
  Parsed<std::string_view> keep(std::string_view value) {
    TRY(std::string text, value_of(value));
    return std::string_view(kept_.emplace_back(std::move(text)));
  }
  Parsed<std::uint64_t> number(std::string_view key, std::uint64_t otherwise) const {
    const std::string* value = command_.find(key);
    return value == nullptr ? Parsed<std::uint64_t>(otherwise) : parse_number(*value);
  }
  // True if the field is a property and was added.
  Parsed<bool> property(mqtt::Properties& properties, std::string_view key, std::string_view value,
                        mqtt::PacketType type);
  Parsed<void> properties(mqtt::Properties& to, mqtt::PacketType type, std::initializer_list<std::string_view> known,
                          bool positional);

  Parsed<mqtt::Packet> connect();
  Parsed<mqtt::Packet> publish();
  Parsed<mqtt::Packet> ack(mqtt::PacketType type);
  Parsed<mqtt::Packet> subscribe();
  Parsed<mqtt::Packet> unsubscribe();
  template <class T>
  Parsed<mqtt::Packet> with_reason(mqtt::PacketType type);

  const Command& command_;
  const PacketDefaults& defaults_;
  std::deque<std::string> kept_;
};

Parsed<bool> Builder::property(mqtt::Properties& properties, std::string_view key, std::string_view value,
                               mqtt::PacketType type) {
  if (key.starts_with("user.")) {
    TRY(const std::string_view name, keep(key.substr(5)));
    TRY(const std::string_view text, keep(value));
    properties.user.push_back({name, text});
    return true;
  }
  key = long_name(key, type);
  for (const mqtt::PropertyRow& row : mqtt::property_table()) {
    if (property_key(row.property) != key) continue;
    if (row.type == mqtt::PropertyType::Text || row.type == mqtt::PropertyType::Binary) {
      TRY(const std::string_view text, keep(value));
      properties.set_text(row.property, text);
      return true;
    }
    TRY(const std::uint64_t parsed, parse_number(value));
    const auto n = static_cast<std::uint32_t>(parsed);
    if (row.property == Property::SubscriptionIdentifier) {
      properties.subscription_ids.push_back(n);
    } else {
      properties.set_number(row.property, n);
    }
    return true;
  }
  return false;
}

Parsed<void> Builder::properties(mqtt::Properties& to, mqtt::PacketType type,
                                 std::initializer_list<std::string_view> known, bool positional) {
  for (const Field& field : command_.fields) {
    if (field.key.empty()) {
      if (!positional) return base::Err(fmt::format("{}: what is '{}'?", command_.name, field.value));
      continue;
    }
    if (std::ranges::find(known, field.key) != known.end()) continue;
    TRY(const bool taken, property(to, field.key, field.value, type));
    if (!taken) return base::Err(fmt::format("{} has no field '{}'", command_.name, field.key));
  }
  return {};
}

Parsed<mqtt::Packet> Builder::connect() {
  mqtt::Connect packet;
  TRY(packet.version, version_of(command_, defaults_.version));
  TRY(const std::uint64_t clean, number("clean", 1));
  packet.clean_start = clean != 0;
  TRY(const std::uint64_t keep_alive, number("keepalive", 0));
  packet.keep_alive_s = static_cast<std::uint16_t>(keep_alive);
  const std::string* id = command_.find("id");
  TRY(packet.client_id, keep(id == nullptr ? defaults_.client_id : *id));
  if (const std::string* user = command_.find("username")) {
    TRY(packet.user_name, keep(*user));
  }
  if (const std::string* password = command_.find("password")) {
    TRY(const std::string_view text, keep(*password));
    packet.password = base::as_bytes(text);
  }
  mqtt::Will will;
  if (const std::string* topic = command_.find("will")) {
    TRY(will.topic, keep(*topic));
    const std::string* payload = command_.find("willpayload");
    TRY(const std::string_view text, keep(payload == nullptr ? "gone" : *payload));
    will.payload = base::as_bytes(text);
    TRY(const std::uint64_t qos, number("willqos", 0));
    will.qos = static_cast<mqtt::QoS>(qos);
    TRY(const std::uint64_t retain, number("willretain", 0));
    will.retain = retain != 0;
    if (const std::string* delay = command_.find("delay")) {
      TRY(const std::uint64_t seconds, parse_number(*delay));
      will.properties.set_number(Property::WillDelayInterval, static_cast<std::uint32_t>(seconds));
    }
  }
  for (const Field& field : command_.fields) {
    if (field.key.empty()) return base::Err(fmt::format("CONNECT: what is '{}'?", field.value));
    constexpr std::array<std::string_view, 11> kKnown = {"id",         "v",           "clean", "keepalive",
                                                         "username",   "password",    "will",  "willqos",
                                                         "willretain", "willpayload", "delay"};
    if (std::ranges::find(kKnown, field.key) != kKnown.end()) continue;
    const bool of_will = field.key.starts_with("will.");
    mqtt::Properties& to = of_will ? will.properties : packet.properties;
    TRY(const bool taken, property(to, std::string_view(field.key).substr(of_will ? 5 : 0), field.value,
                                   of_will ? mqtt::PacketType::Publish : mqtt::PacketType::Connect));
    if (!taken) return base::Err(fmt::format("CONNECT has no field '{}'", field.key));
  }
  if (command_.find("will") != nullptr) packet.will = will;
  return packet;
}

Parsed<mqtt::Packet> Builder::publish() {
  mqtt::Publish packet;
  std::vector<std::string_view> words;
  for (const Field& field : command_.fields) {
    if (field.key.empty()) words.push_back(field.value);
  }
  const std::string* topic = command_.find("topic");
  const std::string* payload = command_.find("payload");
  std::size_t next = 0;
  TRY(packet.topic, keep(topic != nullptr ? std::string_view(*topic) : next < words.size() ? words[next++] : ""));
  TRY(const std::string_view text, keep(payload != nullptr    ? std::string_view(*payload)
                                        : next < words.size() ? words[next++]
                                                              : ""));
  packet.payload = base::as_bytes(text);
  if (next < words.size()) return base::Err(fmt::format("PUBLISH: what is '{}'?", words[next]));
  TRY(const std::uint64_t qos, number("qos", 0));
  packet.qos = static_cast<mqtt::QoS>(qos);
  TRY(const std::uint64_t retain, number("retain", 0));
  packet.retain = retain != 0;
  TRY(const std::uint64_t dup, number("dup", 0));
  packet.dup = dup != 0;
  TRY(const std::uint64_t id, number("id", qos == 0 ? 0 : defaults_.packet_id));
  packet.packet_id = static_cast<mqtt::PacketId>(id);
  TRY_VOID(properties(packet.properties, mqtt::PacketType::Publish, {"topic", "payload", "qos", "retain", "dup", "id"},
                      true));
  return packet;
}

Parsed<mqtt::Packet> Builder::ack(mqtt::PacketType type) {
  mqtt::Ack packet;
  packet.type = type;
  TRY(const std::uint64_t id, number("id", 1));
  packet.packet_id = static_cast<mqtt::PacketId>(id);
  TRY(const std::uint64_t reason, number("reason", 0));
  packet.reason = static_cast<mqtt::ReasonCode>(reason);
  TRY_VOID(properties(packet.properties, type, {"id", "reason"}, false));
  return packet;
}

Parsed<mqtt::Packet> Builder::subscribe() {
  mqtt::Subscribe packet;
  TRY(const std::uint64_t id, number("id", defaults_.packet_id));
  packet.packet_id = static_cast<mqtt::PacketId>(id);
  for (const Field& field : command_.fields) {
    if (field.key.empty()) {
      TRY(const std::string_view filter, keep(field.value));
      packet.entries.push_back({.filter = filter});
      continue;
    }
    constexpr std::array<std::string_view, 4> kOptions = {"qos", "nl", "rap", "rh"};
    if (std::ranges::find(kOptions, field.key) == kOptions.end()) continue;
    if (packet.entries.empty()) return base::Err(std::string("SUBSCRIBE: an option before the first filter"));
    TRY(const std::uint64_t value, parse_number(field.value));
    mqtt::SubscriptionOptions& options = packet.entries.back().options;
    if (field.key == "qos") options.qos = static_cast<mqtt::QoS>(value);
    if (field.key == "nl") options.no_local = value != 0;
    if (field.key == "rap") options.retain_as_published = value != 0;
    if (field.key == "rh") options.retain_handling = static_cast<mqtt::RetainHandling>(value);
  }
  TRY_VOID(properties(packet.properties, mqtt::PacketType::Subscribe, {"id", "qos", "nl", "rap", "rh"}, true));
  return packet;
}

Parsed<mqtt::Packet> Builder::unsubscribe() {
  mqtt::Unsubscribe packet;
  TRY(const std::uint64_t id, number("id", defaults_.packet_id));
  packet.packet_id = static_cast<mqtt::PacketId>(id);
  for (const Field& field : command_.fields) {
    if (!field.key.empty()) continue;
    TRY(const std::string_view filter, keep(field.value));
    packet.entries.push_back({.filter = filter});
  }
  TRY_VOID(properties(packet.properties, mqtt::PacketType::Unsubscribe, {"id"}, true));
  return packet;
}

template <class T>
Parsed<mqtt::Packet> Builder::with_reason(mqtt::PacketType type) {
  T packet;
  TRY(const std::uint64_t reason, number("reason", 0));
  packet.reason = static_cast<mqtt::ReasonCode>(reason);
  TRY_VOID(properties(packet.properties, type, {"reason"}, false));
  return packet;
}

Parsed<mqtt::Buffer> Builder::build() {
  using mqtt::PacketType;
  Parsed<mqtt::Packet> packet = base::Err(fmt::format("no packet is called '{}'", command_.name));
  mqtt::Version version = defaults_.version;
  if (command_.name == "CONNECT") {
    TRY(version, version_of(command_, defaults_.version));
    packet = connect();
  } else if (command_.name == "PUBLISH") {
    packet = publish();
  } else if (command_.name == "PUBACK") {
    packet = ack(PacketType::PubAck);
  } else if (command_.name == "PUBREC") {
    packet = ack(PacketType::PubRec);
  } else if (command_.name == "PUBREL") {
    packet = ack(PacketType::PubRel);
  } else if (command_.name == "PUBCOMP") {
    packet = ack(PacketType::PubComp);
  } else if (command_.name == "SUBSCRIBE") {
    packet = subscribe();
  } else if (command_.name == "UNSUBSCRIBE") {
    packet = unsubscribe();
  } else if (command_.name == "PINGREQ") {
    packet = mqtt::Packet(mqtt::PingReq{});
  } else if (command_.name == "DISCONNECT") {
    packet = with_reason<mqtt::Disconnect>(PacketType::Disconnect);
  } else if (command_.name == "AUTH") {
    packet = with_reason<mqtt::Auth>(PacketType::Auth);
  }
  if (!packet) return base::Err(packet.error());
  mqtt::Buffer out;
  mqtt::encode(out, version, *packet);
  return out;
}

}  // namespace

const std::string* Command::find(std::string_view key) const {
  for (const Field& field : fields) {
    if (field.key == key) return &field.value;
  }
  return nullptr;
}

Parsed<Command> parse_command(std::string_view text) {
  Command command;
  std::string word;
  bool in_word = false;
  bool in_quotes = false;
  std::size_t equals = std::string::npos;  // the first '=' outside of quotes
  auto finish = [&] {
    if (!in_word) return;
    if (command.name.empty()) {
      command.name = word;
    } else if (equals != std::string::npos && key_like(std::string_view(word).substr(0, equals))) {
      command.fields.push_back({word.substr(0, equals), word.substr(equals + 1)});
    } else {
      command.fields.push_back({"", word});
    }
    word.clear();
    in_word = false;
    equals = std::string::npos;
  };
  for (const char c : text) {
    if (c == '"') {
      in_quotes = !in_quotes;
      in_word = true;
    } else if (!in_quotes && (c == ' ' || c == '\t')) {
      finish();
    } else {
      if (c == '=' && !in_quotes && equals == std::string::npos) equals = word.size();
      word += c;
      in_word = true;
    }
  }
  if (in_quotes) return base::Err(std::string("a quotation mark is missing"));
  finish();
  if (command.name.empty()) return base::Err(std::string("an empty command"));
  return command;
}

std::vector<std::string> split_commands(std::string_view line) {
  std::vector<std::string> commands(1);
  bool in_quotes = false;
  for (const char c : line) {
    if (c == '"') in_quotes = !in_quotes;
    if (c == ';' && !in_quotes) {
      commands.emplace_back();
    } else {
      commands.back() += c;
    }
  }
  return commands;
}

Parsed<base::Duration> parse_duration(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc()) {
    if (unit == "s") return base::seconds(count);
    if (unit == "ms") return base::milliseconds(count);
    if (unit == "us") return std::chrono::microseconds(count);
    if (unit == "h") return std::chrono::hours(count);
    if (unit == "d") return std::chrono::days(count);
  }
  return base::Err(fmt::format("'{}' is no duration (5s, 500ms, 20us, 2h, 30d)", text));
}

Parsed<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const bool hex = text.starts_with("0x");
  const char* begin = text.data() + (hex ? 2 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size())
    return base::Err(fmt::format("'{}' is no number", text));
  return value;
}

bool names_packet(std::string_view name) {
  constexpr std::array<std::string_view, 11> kNames = {"CONNECT", "PUBLISH",    "PUBACK",    "PUBREC",
                                                       "PUBREL",  "PUBCOMP",    "SUBSCRIBE", "UNSUBSCRIBE",
                                                       "PINGREQ", "DISCONNECT", "AUTH"};
  return std::ranges::find(kNames, name) != kNames.end();
}

Parsed<mqtt::Buffer> encode_command(const Command& command, const PacketDefaults& defaults) {
  return Builder(command, defaults).build();
}

Parsed<mqtt::Version> version_of(const Command& command, mqtt::Version otherwise) {
  const std::string* v = command.find("v");
  if (v == nullptr) return otherwise;
  if (*v == "3" || *v == "3.1") return mqtt::Version::V31;
  if (*v == "4" || *v == "3.1.1") return mqtt::Version::V311;
  if (*v == "5") return mqtt::Version::V5;
  return base::Err(fmt::format("v={} is no version (3, 4 or 5)", *v));
}

}  // namespace vigil::sim
