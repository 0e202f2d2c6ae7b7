#include "store/json_records.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

#include "base/base64.h"
#include "broker/presence_record.h"
#include "mqtt/utf8.h"
#include "store/record_codec.h"

namespace vigil::store {
namespace {

using base::Bytes;
using base::Err;
using broker::Position;
using Json = nlohmann::ordered_json;
using Buffer = std::vector<std::uint8_t>;
using Converted = base::Result<Json, std::string>;

constexpr std::string_view kEnd = "end";
// Of the lines as a whole; the number of the store's own format is among them.
constexpr std::string_view kExportFormat = "vigilmq-export-1";

// --- to JSON

Json content(Bytes bytes) {
  if (mqtt::valid_utf8(base::as_text(bytes))) return std::string(base::as_text(bytes));
  return {{"base64", base::to_base64(bytes)}};
}
Json content(std::string_view text) { return content(base::as_bytes(text)); }
Json when(std::int64_t ms) { return ms == broker::kNeverMs ? Json() : Json(ms); }
Json place(const Position& position) { return Json::array({position.sequence, position.shard}); }
unsigned number(mqtt::QoS qos) { return static_cast<unsigned>(qos); }

Json will_json(const broker::Will& will, std::int64_t due_ms) {
  Json json = {{"topic", content(will.topic)},    {"qos", number(will.qos)}, {"retain", will.retain},
               {"delayS", will.delay_s},          {"dueMs", when(due_ms)},   {"properties", content(will.properties)},
               {"payload", content(will.payload)}};
  if (will.has_message_expiry) json["messageExpiryS"] = will.message_expiry_s;
  return json;
}

Converted session_json(Bytes key, Bytes value) {
  const auto at = read_position_key(key);
  if (!at) return Err(std::string("the key of a session is not readable"));
  TRY(const broker::PutSession s, decode_session(*at, value));
  Json json = {{"kind", "session"},
               {"session", place(*at)},
               {"clientId", content(s.client_id)},
               {"userName", content(s.user_name)},
               {"epoch", s.epoch},
               {"expiryS", s.expiry_s},
               {"connected", s.connected},
               {"expiresMs", when(s.expires_ms)},
               {"sentBelow", s.sent_below},
               {"nextSubscription", s.next_subscription}};
  if (!s.will.empty()) json["will"] = will_json(s.will.front(), s.will_due_ms);
  return json;
}

Converted subscription_json(Bytes key, Bytes value) {
  TRY(const broker::PutSubscription s, decode_subscription(key, value));
  return Json{{"kind", "subscription"},
              {"session", place(s.session)},
              {"number", s.number},
              {"filter", content(s.text)},
              {"subscriptionId", s.subscription_id},
              {"qos", number(s.options.qos)},
              {"noLocal", s.options.no_local},
              {"retainAsPublished", s.options.retain_as_published},
              {"retainHandling", static_cast<unsigned>(s.options.retain_handling)}};
}

Converted unreleased_json(Bytes key) {
  const auto unreleased = read_unreleased_key(key);
  if (!unreleased) return Err(std::string("the key of a packet identifier is not readable"));
  return Json{{"kind", "unreleased"}, {"session", place(unreleased->session)}, {"packetId", unreleased->packet_id}};
}

Converted packet_id_json(Bytes key, Bytes value) {
  const auto entry = read_entry_key(key);
  const auto id = decode_number(value);
  if (!entry || !id || *id == 0 || *id > UINT16_MAX) {
    return Err(std::string("the record of a packet identifier is not readable"));
  }
  return Json{{"kind", "packetId"}, {"session", place(entry->session)}, {"number", entry->number}, {"packetId", *id}};
}

Json message_fields(const MessageView& m) {
  Json json = {{"position", place(m.position)},
               {"topic", content(m.topic)},
               {"qos", number(m.qos)},
               {"retain", m.retain},
               {"expiresMs", when(m.expires_ms)},
               {"properties", content(m.properties)},
               {"payload", content(m.payload)}};
  if (m.publisher != 0) json["publisher"] = m.publisher;
  return json;
}

Converted entry_json(Bytes key, Bytes value) {
  const auto at = read_entry_key(key);
  if (!at) return Err(std::string("the key of a queued message is not readable"));
  TRY(const Entry entry, decode_entry(value));
  Json json = {{"kind", "queued"}, {"session", place(at->session)}, {"number", at->number}};
  if (entry.head.released) {
    json["released"] = true;
    return json;
  }
  json["qos"] = number(entry.head.qos);
  json["retain"] = entry.head.retain;
  json["retainedAtSubscribe"] = entry.head.retained_at_subscribe;
  json["share"] = entry.share;
  json["subscriptionIds"] = std::vector<std::uint32_t>(entry.subscription_ids.begin(), entry.subscription_ids.end());
  if (entry.head.shared) {
    json["shared"] = place(entry.position);
    json["contentBytes"] = entry.head.content_bytes;
    json["expiresMs"] = when(entry.head.expires_ms);
  } else {
    json["message"] = message_fields(entry.message);
  }
  return json;
}

Converted message_json(std::string_view kind, Bytes key, Bytes value) {
  TRY(const MessageView message, decode_message(value));
  const bool right = kind == "retained" ? base::as_text(key) == message.topic
                                        : read_position_key(key) == std::optional(message.position);
  if (!right) return Err(std::string("a message is stored under a key that is not its own"));
  Json json = {{"kind", kind}};
  json.update(message_fields(message));
  return json;
}

Converted presence_json(Bytes key, Bytes value) {
  TRY(const broker::PresenceRecord record, broker::decode_presence(value));
  return Json{{"kind", "presence"},
              {"clientId", content(key)},
              {"incarnation", record.incarnation},
              {"connected", record.connected},
              {"address", content(record.address)},
              {"record", {{"base64", base::to_base64(value)}}}};
}

Converted meta_json(Bytes key, Bytes value) {
  const auto what = decode_number(value);
  if (!what) return Err(fmt::format("the number \"{}\" of the store is not readable", base::as_text(key)));
  return Json{{"kind", "store"}, {"name", content(key)}, {"value", *what}};
}

// --- from JSON. Throws nlohmann's exceptions and this one.

struct WrongLine {
  std::string why;
};

Buffer buffer_of(const Json& json) {
  if (json.is_string()) {
    const auto& text = json.get_ref<const std::string&>();
    return {text.begin(), text.end()};
  }
  const auto bytes = base::from_base64(json.at("base64").get_ref<const std::string&>());
  if (!bytes) throw WrongLine{"what stands under \"base64\" is not base64"};
  return *bytes;
}
std::string text_of(const Json& json) {
  const Buffer bytes = buffer_of(json);
  return {bytes.begin(), bytes.end()};
}
std::int64_t when_of(const Json& json) { return json.is_null() ? broker::kNeverMs : json.get<std::int64_t>(); }
Position place_of(const Json& json) {
  return {.sequence = json.at(0).get<std::uint64_t>(), .shard = json.at(1).get<broker::ShardId>()};
}
mqtt::QoS qos_of(const Json& json) {
  const auto qos = json.get<unsigned>();
  if (qos > 2) throw WrongLine{"a QoS is 0, 1 or 2"};
  return static_cast<mqtt::QoS>(qos);
}
template <std::size_t kSize>
Buffer buffer_of(const Key<kSize>& key) {
  return {key.begin(), key.end()};
}

broker::Will will_of(const Json& j) {
  broker::Will will{.topic = text_of(j.at("topic")),
                    .payload = buffer_of(j.at("payload")),
                    .properties = buffer_of(j.at("properties")),
                    .qos = qos_of(j.at("qos")),
                    .retain = j.at("retain").get<bool>(),
                    .delay_s = j.at("delayS").get<std::uint32_t>()};
  will.has_message_expiry = j.contains("messageExpiryS");
  if (will.has_message_expiry) will.message_expiry_s = j.at("messageExpiryS").get<std::uint32_t>();
  return will;
}

RawRecord session_of(const Json& j) {
  broker::PutSession s{.key = place_of(j.at("session")),
                       .client_id = text_of(j.at("clientId")),
                       .user_name = text_of(j.at("userName")),
                       .epoch = j.at("epoch").get<std::uint64_t>(),
                       .expiry_s = j.at("expiryS").get<std::uint32_t>(),
                       .connected = j.at("connected").get<bool>(),
                       .expires_ms = when_of(j.at("expiresMs")),
                       .sent_below = j.at("sentBelow").get<std::uint64_t>(),
                       .next_subscription = j.at("nextSubscription").get<std::uint32_t>()};
  if (j.contains("will")) {
    s.will.push_back(will_of(j.at("will")));
    s.will_due_ms = when_of(j.at("will").at("dueMs"));
  }
  RawRecord raw{.family = Family::Sessions, .key = buffer_of(position_key(s.key))};
  encode_session(s, raw.value);
  return raw;
}

RawRecord subscription_of(const Json& j) {
  const auto handling = j.at("retainHandling").get<unsigned>();
  if (handling > 2) throw WrongLine{"retainHandling is 0, 1 or 2"};
  const broker::PutSubscription s{.session = place_of(j.at("session")),
                                  .number = j.at("number").get<std::uint32_t>(),
                                  .subscription_id = j.at("subscriptionId").get<std::uint32_t>(),
                                  .options = {.qos = qos_of(j.at("qos")),
                                              .no_local = j.at("noLocal").get<bool>(),
                                              .retain_as_published = j.at("retainAsPublished").get<bool>(),
                                              .retain_handling = static_cast<mqtt::RetainHandling>(handling)},
                                  .text = text_of(j.at("filter"))};
  RawRecord raw{.family = Family::Subscriptions, .key = buffer_of(subscription_key(s.session, s.number))};
  encode_subscription(s, raw.value);
  return raw;
}

// What a MessageView refers to.
struct OwnedMessage {
  std::string topic;
  Buffer properties;
  Buffer payload;
  MessageView view;

  explicit OwnedMessage(const Json& j)
      : topic(text_of(j.at("topic"))), properties(buffer_of(j.at("properties"))), payload(buffer_of(j.at("payload"))) {
    view = {.topic = topic,
            .properties = properties,
            .payload = payload,
            .qos = qos_of(j.at("qos")),
            .retain = j.at("retain").get<bool>(),
            .expires_ms = when_of(j.at("expiresMs")),
            .position = place_of(j.at("position")),
            .publisher = j.value("publisher", std::uint64_t{0})};
  }
  OwnedMessage(const OwnedMessage&) = delete;
  OwnedMessage& operator=(const OwnedMessage&) = delete;
};

RawRecord entry_of(const Json& j) {
  const EntryKey key{place_of(j.at("session")), j.at("number").get<std::uint64_t>()};
  RawRecord raw{.family = Family::Queue, .key = buffer_of(entry_key(key))};
  if (j.value("released", false)) {
    encode_released(raw.value);
    return raw;
  }
  broker::Terms terms{.qos = qos_of(j.at("qos")),
                      .retain = j.at("retain").get<bool>(),
                      .retained_at_subscribe = j.at("retainedAtSubscribe").get<bool>(),
                      .share = j.at("share").get<std::uint32_t>()};
  for (const Json& id : j.at("subscriptionIds")) terms.subscription_ids.push_back(id.get<std::uint32_t>());
  if (j.contains("shared")) {
    encode_shared_entry(terms, place_of(j.at("shared")), j.at("contentBytes").get<std::uint32_t>(),
                        when_of(j.at("expiresMs")), raw.value);
  } else {
    const OwnedMessage message(j.at("message"));
    encode_entry(terms, message.view, Placing::Inline, raw.value);
  }
  return raw;
}

RawRecord message_of(const Json& j, Family family) {
  const OwnedMessage message(j);
  const Bytes topic = base::as_bytes(message.topic);
  RawRecord raw{.family = family};
  raw.key =
      family == Family::Retained ? Buffer(topic.begin(), topic.end()) : buffer_of(position_key(message.view.position));
  encode_message(message.view, raw.value);
  return raw;
}

RawRecord unreleased_of(const Json& j) {
  return {.family = Family::Unreleased,
          .key = buffer_of(unreleased_key(place_of(j.at("session")), j.at("packetId").get<mqtt::PacketId>()))};
}

RawRecord packet_id_of(const Json& j) {
  RawRecord raw{.family = Family::PacketIds,
                .key = buffer_of(entry_key({place_of(j.at("session")), j.at("number").get<std::uint64_t>()}))};
  encode_number(j.at("packetId").get<mqtt::PacketId>(), raw.value);
  return raw;
}

RawRecord meta_of(const Json& j) {
  RawRecord raw{.family = Family::Meta, .key = buffer_of(j.at("name"))};
  const auto value = j.at("value").get<std::uint64_t>();
  if (base::as_text(raw.key) == kFormatKey && value > kFormat) {
    throw WrongLine{fmt::format("it is of format {}, and this broker knows formats up to {}", value, kFormat)};
  }
  encode_number(value, raw.value);
  return raw;
}

RawRecord raw_of(const Json& j) {
  const auto& kind = j.at("kind").get_ref<const std::string&>();
  if (kind == "store") return meta_of(j);
  if (kind == "session") return session_of(j);
  if (kind == "subscription") return subscription_of(j);
  if (kind == "unreleased") return unreleased_of(j);
  if (kind == "packetId") return packet_id_of(j);
  if (kind == "queued") return entry_of(j);
  if (kind == "message") return message_of(j, Family::Messages);
  if (kind == "retained") return message_of(j, Family::Retained);
  if (kind == "presence") {
    return {.family = Family::Presence, .key = buffer_of(j.at("clientId")), .value = buffer_of(j.at("record"))};
  }
  throw WrongLine{fmt::format("\"{}\" is no kind of record", kind)};
}

}  // namespace

Converted record_to_json(Family family, Bytes key, Bytes value) {
  switch (family) {
    case Family::Meta: return meta_json(key, value);
    case Family::Sessions: return session_json(key, value);
    case Family::Subscriptions: return subscription_json(key, value);
    case Family::Unreleased: return unreleased_json(key);
    case Family::PacketIds: return packet_id_json(key, value);
    case Family::Queue: return entry_json(key, value);
    case Family::Messages: return message_json("message", key, value);
    case Family::Retained: return message_json("retained", key, value);
    case Family::Presence: return presence_json(key, value);
    case Family::Runs:
    case Family::RunStates: return Err(std::string("a run is told entry by entry"));
  }
  return Err(std::string("no such family"));
}

base::Result<RawRecord, std::string> record_from_json(const Json& json) {
  try {
    RawRecord raw = raw_of(json);
    // Nothing comes in that could not be read back.
    TRY_VOID(record_to_json(raw.family, raw.key, raw.value));
    return raw;
  } catch (const WrongLine& wrong) {
    return Err(wrong.why);
  } catch (const nlohmann::json::exception& wrong) {
    return Err(std::string(wrong.what()));
  }
}

Json to_json(const ExportEnd& end) {
  return {{"kind", kEnd}, {"format", kExportFormat}, {"records", end.records}, {"leftOut", end.left_out}};
}

bool is_export_end(const Json& json) { return json.is_object() && json.contains("kind") && json["kind"] == kEnd; }

base::Result<ExportEnd, std::string> export_end_from_json(const Json& json) {
  try {
    const auto& format = json.at("format").get_ref<const std::string&>();
    if (format != kExportFormat) return Err(fmt::format("it is of the form \"{}\", not {}", format, kExportFormat));
    return ExportEnd{.records = json.at("records").get<std::uint64_t>(),
                     .left_out = json.at("leftOut").get<std::uint64_t>()};
  } catch (const nlohmann::json::exception& wrong) {
    return Err(std::string(wrong.what()));
  }
}

}  // namespace vigil::store
