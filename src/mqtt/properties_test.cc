#include "mqtt/properties.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

struct Place {
  PropertyPlaces place;
  Sender sender;
  std::string_view before;  // the packet up to its Property Length
  std::string_view after;
};

// Every packet that has properties, written around them; in each of them a User Property is legal.
const std::vector<Place>& places() {
  using enum PacketType;
  using enum Sender;
  static const std::vector<Place> all = {
      {in_packet(Connect), Client, R"(10 ~ "MQTT" 05 02 0000)", R"("c")"},
      {kInWill, Client, R"(10 ~ "MQTT" 05 06 0000 00 "c")", R"("w" "x")"},
      {in_packet(ConnAck), Server, "20 ~ 00 00", ""},
      {in_packet(Publish), Server, R"(30 ~ "t")", ""},
      {in_packet(PubAck), Client, "40 ~ 0001 00", ""},
      {in_packet(PubRec), Client, "50 ~ 0001 00", ""},
      {in_packet(PubRel), Client, "62 ~ 0001 00", ""},
      {in_packet(PubComp), Client, "70 ~ 0001 00", ""},
      {in_packet(Subscribe), Client, "82 ~ 0001", R"("f" 00)"},
      {in_packet(SubAck), Server, "90 ~ 0001", "00"},
      {in_packet(Unsubscribe), Client, "A2 ~ 0001", R"("f")"},
      {in_packet(UnsubAck), Server, "B0 ~ 0001", "00"},
      {in_packet(Disconnect), Client, "E0 ~ 00", ""},
      {in_packet(Auth), Client, "F0 ~ 18", ""},
  };
  return all;
}

std::string hex(unsigned value) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {kDigits[(value >> 4U) & 15U], kDigits[value & 15U]};
}

// A legal value of the type, as text for wire().
std::string sample_value(PropertyType type) {
  switch (type) {
    case PropertyType::Byte: return "01";
    case PropertyType::TwoByteInteger: return "0102";
    case PropertyType::FourByteInteger: return "01020304";
    case PropertyType::VariableByteInteger: return "8101";
    case PropertyType::Text:
    case PropertyType::Binary: return R"("text")";
    case PropertyType::TextPair: return R"("name" "value")";
  }
  return "";
}

std::string sample(const PropertyRow& row) {
  // Authentication Data is not legal alone, and AUTH not without a method.
  const std::string method = row.property == Property::AuthenticationData ? R"(15 "m")" : "";
  return method + hex(row.id) + sample_value(row.type);
}

std::string in_place(const Place& place, const std::string& properties) {
  const bool needs_method = place.place == in_packet(PacketType::Auth) && !properties.starts_with("15");
  const std::string all = (needs_method ? R"(15 "m")" : "") + properties;
  return std::string(place.before) + hex(static_cast<unsigned>(wire(all).size())) + all + std::string(place.after);
}

Parsed parse_in(const Place& place, const std::string& properties) {
  return parse(wire(in_place(place, properties)), Version::V5, place.sender);
}

// Table 2-4: for each property the packets that it may stand in (W: will), written down a second time.
TEST(Properties, TableAllowsWhatTheStandardAllows) {
  const std::map<int, std::string> allowed = {
      {0x01, "PUBLISH W"},
      {0x02, "PUBLISH W"},
      {0x03, "PUBLISH W"},
      {0x08, "PUBLISH W"},
      {0x09, "PUBLISH W"},
      {0x0B, "PUBLISH SUBSCRIBE"},
      {0x11, "CONNECT CONNACK DISCONNECT"},
      {0x12, "CONNACK"},
      {0x13, "CONNACK"},
      {0x15, "CONNECT CONNACK AUTH"},
      {0x16, "CONNECT CONNACK AUTH"},
      {0x17, "CONNECT"},
      {0x18, "W"},
      {0x19, "CONNECT"},
      {0x1A, "CONNACK"},
      {0x1C, "CONNACK DISCONNECT"},
      {0x1F, "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"},
      {0x21, "CONNECT CONNACK"},
      {0x22, "CONNECT CONNACK"},
      {0x23, "PUBLISH"},
      {0x24, "CONNACK"},
      {0x25, "CONNACK"},
      {0x26,
       "CONNECT CONNACK PUBLISH W PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"},
      {0x27, "CONNECT CONNACK"},
      {0x28, "CONNACK"},
      {0x29, "CONNACK"},
      {0x2A, "CONNACK"}};
  const std::map<PropertyPlaces, std::string> names = {
      {in_packet(PacketType::Connect), "CONNECT"},         {kInWill, "W"},
      {in_packet(PacketType::ConnAck), "CONNACK"},         {in_packet(PacketType::Publish), "PUBLISH"},
      {in_packet(PacketType::PubAck), "PUBACK"},           {in_packet(PacketType::PubRec), "PUBREC"},
      {in_packet(PacketType::PubRel), "PUBREL"},           {in_packet(PacketType::PubComp), "PUBCOMP"},
      {in_packet(PacketType::Subscribe), "SUBSCRIBE"},     {in_packet(PacketType::SubAck), "SUBACK"},
      {in_packet(PacketType::Unsubscribe), "UNSUBSCRIBE"}, {in_packet(PacketType::UnsubAck), "UNSUBACK"},
      {in_packet(PacketType::Disconnect), "DISCONNECT"},   {in_packet(PacketType::Auth), "AUTH"}};
  ASSERT_EQ(property_table().size(), allowed.size());
  for (const PropertyRow& row : property_table()) {
    SCOPED_TRACE(row.name);
    const std::string list = " " + allowed.at(row.id) + " ";
    for (const Place& place : places()) {
      const bool legal = list.find(" " + names.at(place.place) + " ") != std::string::npos;
      const Parsed parsed = parse_in(place, sample(row));
      ASSERT_EQ(parsed.packet.has_value(), legal) << names.at(place.place);
      if (legal) {
        const Buffer again = encoded(Version::V5, *parsed.packet);
        EXPECT_EQ(again.size(), encoded_size(Version::V5, *parsed.packet));
        const Parsed twice = parse(again, Version::V5, place.sender);
        ASSERT_TRUE(twice.packet);
        EXPECT_EQ(*twice.packet, *parsed.packet);
      } else if (row.property != Property::AuthenticationData) {
        // 2.2.2.2: an identifier that is not valid for the packet type.
        EXPECT_EQ(parsed.packet.error().code, ReasonCode::MalformedPacket) << names.at(place.place);
        EXPECT_EQ(parsed.packet.error().field, row.name);
      }
    }
  }
}

TEST(Properties, UnknownIdentifiersAreMalformed) {
  std::set<unsigned> known;
  for (const PropertyRow& row : property_table()) known.insert(row.id);
  EXPECT_EQ(known.size(), property_table().size());
  for (const Place& place : places()) {
    for (unsigned id = 0; id < 128; ++id) {
      if (known.contains(id)) continue;
      const Parsed parsed = parse_in(place, hex(id) + "00000000");
      ASSERT_FALSE(parsed.packet);
      EXPECT_EQ(parsed.packet.error().code, ReasonCode::MalformedPacket);
      EXPECT_EQ(parsed.packet.error().field, "Property Identifier");
    }
    // Identifiers are variable byte integers: a known one in two bytes is overlong, one above 127 unknown.
    for (const std::string_view bytes : {"A600 0001 'a' 0001 'b'", "8101", "FFFFFF7F", "FFFFFFFF01"}) {
      const Parsed parsed = parse_in(place, std::string(bytes));
      ASSERT_FALSE(parsed.packet) << bytes;
      EXPECT_EQ(parsed.packet.error().code, ReasonCode::MalformedPacket);
      EXPECT_EQ(parsed.packet.error().field, "Property Identifier");
    }
  }
}

TEST(Properties, OnlyOneOfEachButUserProperties) {
  for (const PropertyRow& row : property_table()) {
    SCOPED_TRACE(row.name);
    for (const Place& place : places()) {
      if ((row.places & place.place) == 0) continue;
      const std::string one = hex(row.id) + sample_value(row.type);
      const std::string method = row.property == Property::AuthenticationData ? R"(15 "m")" : "";
      const Parsed parsed = parse_in(place, method + one + one);
      const bool repeats =
          row.property == Property::UserProperty ||
          (row.property == Property::SubscriptionIdentifier && place.place == in_packet(PacketType::Publish));
      ASSERT_EQ(parsed.packet.has_value(), repeats);
      if (repeats) continue;
      EXPECT_EQ(parsed.packet.error().code, ReasonCode::ProtocolError);
      EXPECT_EQ(parsed.packet.error().field, row.name);
      EXPECT_EQ(parsed.packet.error().detail, "occurs twice");
    }
  }
}

TEST(Properties, ValuesFollowTheirRule) {
  for (const PropertyRow& row : property_table()) {
    SCOPED_TRACE(row.name);
    const auto expect = [&](const std::string& value, std::optional<ReasonCode> code, std::string_view clause = {}) {
      for (const Place& place : places()) {
        if ((row.places & place.place) == 0) continue;
        const Parsed parsed = parse_in(place, hex(row.id) + value);
        ASSERT_EQ(parsed.packet.has_value(), !code) << value;
        if (!code) continue;
        EXPECT_EQ(parsed.packet.error().code, *code) << value;
        EXPECT_EQ(parsed.packet.error().field, row.name);
        EXPECT_EQ(parsed.packet.error().clause, clause);
      }
    };
    switch (row.property) {
      case Property::PayloadFormatIndicator:
      case Property::RequestProblemInformation:
      case Property::RequestResponseInformation:
      case Property::MaximumQoS:
      case Property::RetainAvailable:
      case Property::WildcardSubscriptionAvailable:
      case Property::SubscriptionIdentifierAvailable:
      case Property::SharedSubscriptionAvailable:
        expect("00", std::nullopt);
        expect("01", std::nullopt);
        expect("02", ReasonCode::ProtocolError);
        expect("FF", ReasonCode::ProtocolError);
        break;
      case Property::ReceiveMaximum:
        expect("0000", ReasonCode::ProtocolError);
        expect("0001", std::nullopt);
        expect("FFFF", std::nullopt);
        break;
      case Property::MaximumPacketSize:
        expect("00000000", ReasonCode::ProtocolError);
        expect("00000001", std::nullopt);
        expect("FFFFFFFF", std::nullopt);
        break;
      case Property::TopicAlias:
        expect("0000", ReasonCode::TopicAliasInvalid, "MQTT-3.3.2-8");  // [MQTT-3.3.2-8]
        expect("FFFF", std::nullopt);
        break;
      case Property::SubscriptionIdentifier:
        expect("00", ReasonCode::ProtocolError);
        expect("01", std::nullopt);
        expect("FFFFFF7F", std::nullopt);
        expect("FFFFFFFF01", ReasonCode::MalformedPacket, "MQTT-1.5.5-1");
        expect("8100", ReasonCode::MalformedPacket, "MQTT-1.5.5-1");  // [MQTT-1.5.5-1]
        break;
      case Property::ResponseTopic:
        expect(R"("a/+")", ReasonCode::ProtocolError, "MQTT-3.3.2-14");  // [MQTT-3.3.2-14]
        expect(R"("#")", ReasonCode::ProtocolError, "MQTT-3.3.2-14");
        expect(R"("")", ReasonCode::ProtocolError, "MQTT-4.7.3-1");
        expect(R"("a/b")", std::nullopt);
        break;
      default: break;
    }
    // [MQTT-3.3.2-13] [MQTT-3.3.2-19] [MQTT-1.5.4-1]
    if (row.type == PropertyType::Text) expect("0002 C328", ReasonCode::MalformedPacket, "MQTT-1.5.4-1");
    if (row.type == PropertyType::Text) expect("0001 00", ReasonCode::MalformedPacket, "MQTT-1.5.4-1");
    if (row.type == PropertyType::Text && row.rule == PropertyRule::Any) expect("0000", std::nullopt);
    // [MQTT-1.5.7-1]
    if (row.type == PropertyType::TextPair) {
      expect(R"("" "")", std::nullopt);
      expect(R"("a" 0001 FF)", ReasonCode::MalformedPacket, "MQTT-1.5.4-1");
      expect(R"(0001 FF "a")", ReasonCode::MalformedPacket, "MQTT-1.5.4-1");
    }
  }
}

TEST(Properties, BinaryDataMayHoldAnything) {
  const Parsed parsed = parse(wire(R"(30 ~ "t" 06 09 0003 00FF80)"), Version::V5, Sender::Client);
  ASSERT_TRUE(parsed.packet);
  EXPECT_EQ(std::get<Publish>(*parsed.packet).properties.text(Property::CorrelationData),
            std::string_view("\0\xFF\x80", 3));
}

TEST(Properties, MustEndWithTheirLength) {
  for (const Place& place : places()) {
    for (const PropertyRow& row : property_table()) {
      if ((row.places & place.place) == 0) continue;
      SCOPED_TRACE(row.name);
      // Every prefix of the property, exactly as long as Property Length says.
      const Buffer whole = wire(hex(row.id) + sample_value(row.type));
      for (std::size_t size = 1; size < whole.size(); ++size) {
        std::string cut;
        for (std::size_t i = 0; i < size; ++i) cut += hex(whole[i]);
        const Parsed parsed = parse_in(place, cut);
        ASSERT_FALSE(parsed.packet) << size;
        EXPECT_EQ(parsed.packet.error().code, ReasonCode::MalformedPacket);
        EXPECT_EQ(parsed.packet.error().field, row.name);
      }
    }
    const Parsed parsed =
        parse(wire(std::string(place.before) + "7F" + std::string(place.after)), Version::V5, place.sender);
    ASSERT_FALSE(parsed.packet);
    EXPECT_EQ(parsed.packet.error().code, ReasonCode::MalformedPacket);
    EXPECT_EQ(parsed.packet.error().field, "Property Length");
    const Parsed overlong =
        parse(wire(std::string(place.before) + "8000" + std::string(place.after)), Version::V5, place.sender);
    ASSERT_FALSE(overlong.packet);
    EXPECT_EQ(overlong.packet.error().field, "Property Length");
    EXPECT_EQ(overlong.packet.error().clause, "MQTT-1.5.5-1");
  }
}

// [MQTT-3.1.3-10] [MQTT-3.3.2-18]
TEST(Properties, KeepTheOrderOfUserPropertiesAndTheirRepetitions) {
  const Parsed parsed =
      parse(wire(R"(30 ~ "t" 1C 26 "b" "1" 26 "a" "2" 26 "b" "1" 26 "" "")"), Version::V5, Sender::Client);
  ASSERT_FALSE(parsed.packet);  // the length is one too many: nothing may be made up
  const Parsed good =
      parse(wire(R"(30 ~ "t" 1A 26 "b" "1" 26 "a" "2" 26 "b" "1" 26 "" "")"), Version::V5, Sender::Client);
  ASSERT_TRUE(good.packet);
  const auto& user = std::get<Publish>(*good.packet).properties.user;
  ASSERT_EQ(user.size(), 4U);
  EXPECT_EQ(user[0], (UserProperty{"b", "1"}));
  EXPECT_EQ(user[1], (UserProperty{"a", "2"}));
  EXPECT_EQ(user[2], (UserProperty{"b", "1"}));
  EXPECT_EQ(user[3], (UserProperty{"", ""}));
}

TEST(Properties, CompareWhatIsThere) {
  Properties a;
  Properties b;
  EXPECT_EQ(a, b);
  a.set_number(Property::TopicAlias, 3);
  EXPECT_NE(a, b);
  b.set_number(Property::TopicAlias, 4);
  EXPECT_NE(a, b);
  b.set_number(Property::TopicAlias, 3);
  EXPECT_EQ(a, b);
  a.set_text(Property::ContentType, "x");
  b.set_text(Property::ContentType, std::string_view("xy").substr(0, 1));
  EXPECT_EQ(a, b);
  b.set_text(Property::ContentType, "y");
  EXPECT_NE(a, b);
  b.clear(Property::ContentType);
  a.clear(Property::ContentType);
  EXPECT_EQ(a, b);
  a.user.push_back({"n", "v"});
  EXPECT_NE(a, b);
  b.user.push_back({"n", "v"});
  a.subscription_ids.push_back(1);
  EXPECT_NE(a, b);
}

TEST(Properties, CopyAndMove) {
  Properties a;
  EXPECT_TRUE(a.empty());
  a.set_number(Property::TopicAlias, 3);
  a.set_text(Property::ContentType, "x");
  a.user.push_back({"n", "v"});
  a.user.push_back({"m", "w"});
  Properties b = a;
  EXPECT_EQ(a, b);
  Properties c;
  c.set_number(Property::ReceiveMaximum, 9);
  c = b;
  EXPECT_EQ(c, a);
  const Properties d = std::move(b);
  EXPECT_EQ(d, a);
  Properties e;
  e = std::move(c);
  EXPECT_EQ(e, a);
  EXPECT_EQ(e.number(Property::TopicAlias), 3U);
  EXPECT_EQ(e.number(Property::ReceiveMaximum), std::nullopt);
  EXPECT_EQ(e.number_or(Property::ReceiveMaximum, 65'535), 65'535U);
  EXPECT_EQ(e.text(Property::ContentType), "x");
  EXPECT_EQ(e.text(Property::ResponseTopic), std::nullopt);
  EXPECT_EQ(property_name(Property::SessionExpiryInterval), "Session Expiry Interval");
}

}  // namespace
}  // namespace vigil::mqtt
