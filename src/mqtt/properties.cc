#include "mqtt/properties.h"

#include <algorithm>

#include "base/check.h"
#include "mqtt/encoder.h"
#include "mqtt/reader.h"
#include "mqtt/topic.h"

namespace vigil::mqtt {
namespace {

constexpr PropertyPlaces kConnect = in_packet(PacketType::Connect);
constexpr PropertyPlaces kConnAck = in_packet(PacketType::ConnAck);
constexpr PropertyPlaces kPublish = in_packet(PacketType::Publish);
constexpr PropertyPlaces kSubscribe = in_packet(PacketType::Subscribe);
constexpr PropertyPlaces kDisconnect = in_packet(PacketType::Disconnect);
constexpr PropertyPlaces kAuth = in_packet(PacketType::Auth);
constexpr PropertyPlaces kWithReason = kConnAck | in_packet(PacketType::PubAck) | in_packet(PacketType::PubRec) |
                                       in_packet(PacketType::PubRel) | in_packet(PacketType::PubComp) |
                                       in_packet(PacketType::SubAck) | in_packet(PacketType::UnsubAck) | kDisconnect |
                                       kAuth;
constexpr PropertyPlaces kEverywhere =
    kInWill | kConnect | kPublish | kSubscribe | in_packet(PacketType::Unsubscribe) | kWithReason;

using enum Property;
using enum PropertyType;
using Row = PropertyRow;
using Type = PropertyType;
using Rule = PropertyRule;

constexpr std::array kTable = {
    Row{PayloadFormatIndicator, 0x01, Byte, Rule::ZeroOrOne, kPublish | kInWill, "Payload Format Indicator"},
    Row{MessageExpiryInterval, 0x02, FourByteInteger, Rule::Any, kPublish | kInWill, "Message Expiry Interval"},
    Row{SessionExpiryInterval, 0x11, FourByteInteger, Rule::Any, kConnect | kConnAck | kDisconnect,
        "Session Expiry Interval"},
    Row{ServerKeepAlive, 0x13, TwoByteInteger, Rule::Any, kConnAck, "Server Keep Alive"},
    Row{RequestProblemInformation, 0x17, Byte, Rule::ZeroOrOne, kConnect, "Request Problem Information"},
    Row{WillDelayInterval, 0x18, FourByteInteger, Rule::Any, kInWill, "Will Delay Interval"},
    Row{RequestResponseInformation, 0x19, Byte, Rule::ZeroOrOne, kConnect, "Request Response Information"},
    Row{ReceiveMaximum, 0x21, TwoByteInteger, Rule::NotZero, kConnect | kConnAck, "Receive Maximum"},
    Row{TopicAliasMaximum, 0x22, TwoByteInteger, Rule::Any, kConnect | kConnAck, "Topic Alias Maximum"},
    Row{TopicAlias, 0x23, TwoByteInteger, Rule::TopicAlias, kPublish, "Topic Alias"},
    Row{MaximumQoS, 0x24, Byte, Rule::ZeroOrOne, kConnAck, "Maximum QoS"},
    Row{RetainAvailable, 0x25, Byte, Rule::ZeroOrOne, kConnAck, "Retain Available"},
    Row{MaximumPacketSize, 0x27, FourByteInteger, Rule::NotZero, kConnect | kConnAck, "Maximum Packet Size"},
    Row{WildcardSubscriptionAvailable, 0x28, Byte, Rule::ZeroOrOne, kConnAck, "Wildcard Subscription Available"},
    Row{SubscriptionIdentifierAvailable, 0x29, Byte, Rule::ZeroOrOne, kConnAck, "Subscription Identifier Available"},
    Row{SharedSubscriptionAvailable, 0x2A, Byte, Rule::ZeroOrOne, kConnAck, "Shared Subscription Available"},
    Row{ContentType, 0x03, Text, Rule::Any, kPublish | kInWill, "Content Type"},
    Row{ResponseTopic, 0x08, Text, Rule::TopicName, kPublish | kInWill, "Response Topic"},
    Row{CorrelationData, 0x09, Binary, Rule::Any, kPublish | kInWill, "Correlation Data"},
    Row{AssignedClientIdentifier, 0x12, Text, Rule::Any, kConnAck, "Assigned Client Identifier"},
    Row{AuthenticationMethod, 0x15, Text, Rule::Any, kConnect | kConnAck | kAuth, "Authentication Method"},
    Row{AuthenticationData, 0x16, Binary, Rule::Any, kConnect | kConnAck | kAuth, "Authentication Data"},
    Row{ResponseInformation, 0x1A, Text, Rule::Any, kConnAck, "Response Information"},
    Row{ServerReference, 0x1C, Text, Rule::Any, kConnAck | kDisconnect, "Server Reference"},
    Row{ReasonString, 0x1F, Text, Rule::Any, kWithReason, "Reason String"},
    Row{SubscriptionIdentifier, 0x0B, VariableByteInteger, Rule::NotZero, kPublish | kSubscribe,
        "Subscription Identifier"},
    Row{UserProperty, 0x26, TextPair, Rule::Any, kEverywhere, "User Property"},
};

constexpr std::size_t kIds = 0x2B;
constexpr std::uint8_t kNoRow = 0xFF;

// From the wire's identifier to the row, or kNoRow.
constexpr auto kById = [] {
  std::array<std::uint8_t, kIds> index{};
  index.fill(kNoRow);
  for (std::size_t i = 0; i < kTable.size(); ++i) index[kTable[i].id] = static_cast<std::uint8_t>(i);
  return index;
}();

constexpr const PropertyRow& row_of(Property p) { return kTable[static_cast<std::size_t>(p)]; }

constexpr bool table_follows_the_enum() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    const Type type = kTable[i].type;
    const bool number = type == Type::Byte || type == Type::TwoByteInteger || type == Type::FourByteInteger;
    const bool text = type == Type::Text || type == Type::Binary;
    if (static_cast<std::size_t>(kTable[i].property) != i) return false;
    if (number != (i < kNumberProperties)) return false;
    if (text != (i >= kNumberProperties && i < kNumberProperties + kTextProperties)) return false;
  }
  return true;
}
static_assert(table_follows_the_enum());

bool read_number(Reader& in, const PropertyRow& row, std::uint32_t& value) {
  switch (row.type) {
    case Type::Byte: {
      std::uint8_t byte = 0;
      if (!in.u8(byte, row.name)) return false;
      value = byte;
      return true;
    }
    case Type::TwoByteInteger: {
      std::uint16_t word = 0;
      if (!in.u16(word, row.name)) return false;
      value = word;
      return true;
    }
    case Type::FourByteInteger: return in.u32(value, row.name);
    default: return in.varint(value, row.name);
  }
}

bool check_number(Reader& in, const PropertyRow& row, std::uint32_t value) {
  switch (row.rule) {
    case Rule::ZeroOrOne: return value <= 1 || in.protocol_error(row.name, "neither 0 nor 1");
    case Rule::NotZero: return value != 0 || in.protocol_error(row.name, "0 is not allowed");
    case Rule::TopicAlias:
      return value != 0 || in.fail(ReasonCode::TopicAliasInvalid, row.name, "0 is not allowed", "MQTT-3.3.2-8");
    default: return true;
  }
}

bool check_text(Reader& in, const PropertyRow& row, std::string_view value) {
  if (row.rule != Rule::TopicName || valid_topic_name(value)) return true;
  return value.empty() ? in.protocol_error(row.name, "empty", "MQTT-4.7.3-1")
                       : in.protocol_error(row.name, "contains a wildcard", "MQTT-3.3.2-14");
}

// One property, its identifier included.
bool read_property(Reader& in, Properties& properties, PropertyPlaces place) {
  std::uint32_t id = 0;
  if (!in.varint(id, "Property Identifier")) return false;
  if (id >= kIds || kById[id] == kNoRow) return in.malformed("Property Identifier", "unknown");
  const PropertyRow& row = kTable[kById[id]];
  if ((row.places & place) == 0) return in.malformed(row.name, "not allowed in this packet");

  switch (row.type) {
    case Type::TextPair: {
      mqtt::UserProperty pair;
      if (!in.text(pair.name, row.name) || !in.text(pair.value, row.name)) return false;
      properties.user.push_back(pair);
      return true;
    }
    case Type::VariableByteInteger: {
      // Several only where a server passes a message on that matched several subscriptions (3.3.2.3.8).
      if (place != kPublish && !properties.subscription_ids.empty()) return in.protocol_error(row.name, "occurs twice");
      std::uint32_t value = 0;
      if (!read_number(in, row, value) || !check_number(in, row, value)) return false;
      properties.subscription_ids.push_back(value);
      return true;
    }
    case Type::Text:
    case Type::Binary: {
      if (properties.has(row.property)) return in.protocol_error(row.name, "occurs twice");
      std::string_view value;
      if (row.type == Type::Text) {
        const bool name = row.rule == Rule::TopicName;
        if (!(name ? in.name(value, row.name) : in.text(value, row.name)) || !check_text(in, row, value)) return false;
      } else {
        base::Bytes bytes;
        if (!in.binary(bytes, row.name)) return false;
        value = base::as_text(bytes);
      }
      properties.set_text(row.property, value);
      return true;
    }
    default: {
      if (properties.has(row.property)) return in.protocol_error(row.name, "occurs twice");
      std::uint32_t value = 0;
      if (!read_number(in, row, value) || !check_number(in, row, value)) return false;
      properties.set_number(row.property, value);
      return true;
    }
  }
}

std::size_t number_size(Type type) {
  switch (type) {
    case Type::Byte: return 1;
    case Type::TwoByteInteger: return 2;
    default: return 4;
  }
}

std::uint8_t* write_number(std::uint8_t* to, std::size_t size, std::uint32_t value) {
  for (std::size_t i = size; i > 0; --i) *to++ = static_cast<std::uint8_t>(value >> (8 * (i - 1)));
  return to;
}

std::uint8_t* write_text(std::uint8_t* to, std::string_view text) {
  CHECK(text.size() <= 65'535);
  to = write_number(to, 2, static_cast<std::uint32_t>(text.size()));
  return std::copy(text.begin(), text.end(), to);
}

}  // namespace

std::span<const PropertyRow> property_table() { return kTable; }

std::string_view property_name(Property p) { return row_of(p).name; }

bool Properties::operator==(const Properties& other) const {
  if (present_ != other.present_ || subscription_ids != other.subscription_ids || user != other.user) return false;
  bool equal = true;
  for_each_present([&](Property p) {
    equal = equal && (index(p) < kNumberProperties ? number(p) == other.number(p) : text(p) == other.text(p));
  });
  return equal;
}

bool read_properties(Reader& reader, Properties& properties, PropertyPlaces place, base::Bytes& raw) {
  std::uint32_t size = 0;
  if (!reader.varint(size, "Property Length")) return false;
  if (size > reader.left()) return reader.malformed("Property Length", "longer than what is left of the packet");
  Reader in = reader.take(size);
  raw = in.rest();
  while (!in.at_end()) {
    if (!read_property(in, properties, place)) {
      const DecodeError& error = in.error();
      return reader.fail(error.code, error.field, error.detail, error.clause);
    }
  }
  if (in.control_characters()) reader.note_control_characters();
  return true;
}

bool check_authentication(Reader& reader, const Properties& properties) {
  if (!properties.has(AuthenticationData) || properties.has(AuthenticationMethod)) return true;
  return reader.protocol_error("Authentication Data", "given without an Authentication Method");
}

std::size_t properties_size(const Properties& properties) {
  std::size_t size = 0;
  properties.for_each_present([&](Property p) {
    const Type type = row_of(p).type;
    size += 1 + (type == Type::Text || type == Type::Binary ? 2 + properties.text_or(p).size() : number_size(type));
  });
  for (const std::uint32_t id : properties.subscription_ids) size += 1 + varint_size(id);
  for (const mqtt::UserProperty& pair : properties.user) size += 5 + pair.name.size() + pair.value.size();
  return size;
}

std::uint8_t* write_properties(std::uint8_t* to, const Properties& properties) {
  properties.for_each_present([&](Property p) {
    const PropertyRow& row = row_of(p);
    *to++ = row.id;
    to = row.type == Type::Text || row.type == Type::Binary
             ? write_text(to, properties.text_or(p))
             : write_number(to, number_size(row.type), properties.number_or(p, 0));
  });
  for (const std::uint32_t id : properties.subscription_ids) {
    *to++ = row_of(SubscriptionIdentifier).id;
    to += write_varint(to, id);
  }
  for (const mqtt::UserProperty& pair : properties.user) {
    *to++ = row_of(Property::UserProperty).id;
    to = write_text(write_text(to, pair.name), pair.value);
  }
  return to;
}

}  // namespace vigil::mqtt
