// Packets of every type, version and side, with and without everything they may carry: for tests and for the fuzzers'
// corpora.
#pragma once

#include <string>
#include <vector>

#include "mqtt/packet.h"

namespace vigil::mqtt {

struct Sample {
  Version version;
  Sender sender;
  Packet packet;
};

// A value for every property that the place allows, but those named in `without`.
inline Properties all_properties(PropertyPlaces place, PropertyPlaces without = 0) {
  Properties properties;
  for (const PropertyRow& row : property_table()) {
    const auto number = static_cast<unsigned>(row.property);
    if ((row.places & place) == 0 || (without >> number & 1U) != 0) continue;
    switch (row.type) {
      case PropertyType::Byte: properties.set_number(row.property, 1); break;
      case PropertyType::TwoByteInteger: properties.set_number(row.property, 0x1234); break;
      case PropertyType::FourByteInteger: properties.set_number(row.property, 0xFEDC'BA98); break;
      case PropertyType::Text: properties.set_text(row.property, "t\xC3\xA9xt"); break;
      case PropertyType::Binary: properties.set_text(row.property, std::string_view("\0\xFF\x80", 3)); break;
      case PropertyType::VariableByteInteger: properties.subscription_ids.push_back(200); break;
      case PropertyType::TextPair:
        properties.user.push_back({"name", "value"});
        properties.user.push_back({"", ""});
        properties.user.push_back({"name", "other"});
        break;
    }
  }
  return properties;
}

inline void add_connects(std::vector<Sample>& out, Version version) {
  const bool v5 = version == Version::V5;
  Connect plain{.version = version, .keep_alive_s = 60, .client_id = "client"};
  out.push_back({version, Sender::Client, plain});
  Connect full = plain;
  full.clean_start = false;
  full.keep_alive_s = 65'535;
  full.bridge = true;
  full.user_name = "user";
  full.password = base::as_bytes(std::string_view("p\0ss", 4));
  full.will.emplace(Will{.topic = "last/words",
                         .payload = base::as_bytes("gone"),
                         .qos = QoS::ExactlyOnce,
                         .retain = true,
                         .properties = v5 ? all_properties(kInWill) : Properties()});
  if (v5) full.properties = all_properties(in_packet(PacketType::Connect));
  out.push_back({version, Sender::Client, full});
  Connect will = plain;
  will.will.emplace(Will{.topic = "w", .payload = {}, .qos = QoS::AtMostOnce, .retain = false, .properties = {}});
  out.push_back({version, Sender::Client, will});
  if (version != Version::V31) out.push_back({version, Sender::Client, Connect{.version = version, .client_id = ""}});
}

inline void add_publishes(std::vector<Sample>& out, Version version, Sender sender) {
  static const std::string large(20'000, 'x');
  for (const QoS qos : {QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce}) {
    Publish p{.dup = false,
              .qos = qos,
              .retain = false,
              .topic = "a/b",
              .packet_id = 0,
              .properties = {},
              .payload = base::as_bytes("hello"),
              .raw_properties = {}};
    if (qos != QoS::AtMostOnce) p.packet_id = 0xABCD;
    out.push_back({version, sender, p});
    p.dup = qos != QoS::AtMostOnce;
    p.retain = true;
    p.payload = {};
    if (version == Version::V5) {
      const unsigned id = 1U << static_cast<unsigned>(Property::SubscriptionIdentifier);
      p.properties = all_properties(in_packet(PacketType::Publish), sender == Sender::Client ? id : 0);
      if (sender == Sender::Server) p.properties.subscription_ids.push_back(268'435'455);
    }
    out.push_back({version, sender, p});
  }
  out.push_back({version, sender,
                 Publish{.dup = false,
                         .qos = QoS::AtMostOnce,
                         .retain = false,
                         .topic = "large",
                         .packet_id = 0,
                         .properties = {},
                         .payload = base::as_bytes(large),
                         .raw_properties = {}}});
}

inline void add_acks(std::vector<Sample>& out, Version version, Sender sender) {
  for (const PacketType type : {PacketType::PubAck, PacketType::PubRec, PacketType::PubRel, PacketType::PubComp}) {
    out.push_back(
        {version, sender, Ack{.type = type, .packet_id = 1, .reason = ReasonCode::Success, .properties = {}}});
    if (version != Version::V5) continue;
    const bool first = type == PacketType::PubAck || type == PacketType::PubRec;
    const ReasonCode failure = first ? ReasonCode::QuotaExceeded : ReasonCode::PacketIdentifierNotFound;
    out.push_back({version, sender, Ack{.type = type, .packet_id = 65'535, .reason = failure, .properties = {}}});
    out.push_back(
        {version, sender,
         Ack{.type = type, .packet_id = 9, .reason = failure, .properties = all_properties(in_packet(type))}});
    out.push_back({version, sender,
                   Ack{.type = type,
                       .packet_id = 9,
                       .reason = ReasonCode::Success,
                       .properties = all_properties(in_packet(type))}});
  }
}

inline void add_subscriptions(std::vector<Sample>& out, Version version) {
  const bool v5 = version == Version::V5;
  const auto properties = [&](PacketType type) { return v5 ? all_properties(in_packet(type)) : Properties(); };
  Subscribe subscribe{.packet_id = 7, .properties = {}, .entries = {}};
  subscribe.entries.push_back({"a/+/c", {.qos = QoS::AtLeastOnce}});
  out.push_back({version, Sender::Client, subscribe});
  subscribe.properties = properties(PacketType::Subscribe);
  for (const std::string_view filter : {"#", "/", "$SYS/#", "$share/group/x", "a/+/#"}) {
    subscribe.entries.push_back({filter, {.qos = QoS::ExactlyOnce}});
  }
  if (v5) subscribe.entries.push_back({"v5", {QoS::AtMostOnce, true, true, RetainHandling::DoNotSend}});
  out.push_back({version, Sender::Client, subscribe});

  Unsubscribe unsubscribe{.packet_id = 8, .properties = {}, .entries = {{"a/+/c"}}};
  out.push_back({version, Sender::Client, unsubscribe});
  unsubscribe.properties = properties(PacketType::Unsubscribe);
  for (const std::string_view filter : {"#", "/", "x", "y", "z"}) unsubscribe.entries.push_back({filter});
  out.push_back({version, Sender::Client, unsubscribe});

  using enum ReasonCode;
  SubAck suback{.packet_id = 7, .properties = {}, .reasons = {Success, GrantedQoS1, GrantedQoS2, UnspecifiedError}};
  out.push_back({version, Sender::Server, suback});
  suback.properties = properties(PacketType::SubAck);
  suback.reasons.push_back(v5 ? TopicFilterInvalid : UnspecifiedError);
  out.push_back({version, Sender::Server, suback});

  UnsubAck unsuback{.packet_id = 8, .properties = properties(PacketType::UnsubAck), .reasons = {}};
  if (v5) unsuback.reasons = {Success, NoSubscriptionExisted, NotAuthorized};
  out.push_back({version, Sender::Server, unsuback});
}

inline void add_endings(std::vector<Sample>& out, Version version) {
  out.push_back({version, Sender::Client, PingReq{}});
  out.push_back({version, Sender::Server, PingResp{}});
  out.push_back({version, Sender::Client, Disconnect{}});
  if (version != Version::V5) return;
  const unsigned expiry = 1U << static_cast<unsigned>(Property::SessionExpiryInterval);
  const auto disconnect = [](unsigned without) { return all_properties(in_packet(PacketType::Disconnect), without); };
  out.push_back({version, Sender::Server, Disconnect{}});
  out.push_back({version, Sender::Client, Disconnect{ReasonCode::DisconnectWithWill, {}}});
  out.push_back({version, Sender::Client, Disconnect{ReasonCode::Success, disconnect(0)}});
  out.push_back({version, Sender::Server, Disconnect{ReasonCode::KeepAliveTimeout, {}}});
  out.push_back({version, Sender::Server, Disconnect{ReasonCode::ServerMoved, disconnect(expiry)}});
  for (const Sender sender : {Sender::Client, Sender::Server}) {
    out.push_back(
        {version, sender, Auth{ReasonCode::ContinueAuthentication, all_properties(in_packet(PacketType::Auth))}});
  }
  out.push_back({version, Sender::Server, Auth{}});
}

inline std::vector<Sample> samples() {
  std::vector<Sample> out;
  for (const Version version : {Version::V31, Version::V311, Version::V5}) {
    add_connects(out, version);
    out.push_back({version, Sender::Server, ConnAck{}});
    out.push_back({version, Sender::Server, ConnAck{false, ReasonCode::NotAuthorized, {}}});
    if (version != Version::V31) out.push_back({version, Sender::Server, ConnAck{true, ReasonCode::Success, {}}});
    if (version == Version::V5) {
      out.push_back({version, Sender::Server,
                     ConnAck{false, ReasonCode::Success, all_properties(in_packet(PacketType::ConnAck))}});
    }
    for (const Sender sender : {Sender::Client, Sender::Server}) {
      add_publishes(out, version, sender);
      add_acks(out, version, sender);
    }
    add_subscriptions(out, version);
    add_endings(out, version);
  }
  return out;
}

}  // namespace vigil::mqtt
