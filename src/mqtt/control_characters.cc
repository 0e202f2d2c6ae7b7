#include "mqtt/control_characters.h"

#include "mqtt/utf8.h"

namespace vigil::mqtt {
namespace {

using Found = std::optional<DecodeError>;

Found look_at(ReasonCode code, std::string_view field, std::string_view text) {
  if (!has_control_characters(text)) return std::nullopt;
  return DecodeError{.code = code, .field = field, .detail = "holds control characters", .clause = {}, .text = text};
}

template <class Entries>
Found look_at_filters(const Entries& entries) {
  for (const auto& entry : entries) {
    if (Found found = look_at(ReasonCode::TopicFilterInvalid, "Topic Filter", entry.filter)) return found;
  }
  return std::nullopt;
}

Found look_at_topics(std::string_view field, std::string_view topic, const Properties& properties) {
  if (Found found = look_at(ReasonCode::TopicNameInvalid, field, topic)) return found;
  return look_at(ReasonCode::TopicNameInvalid, "Response Topic", properties.text_or(Property::ResponseTopic));
}

}  // namespace

Found find_control_characters(const Connect& packet) {
  if (Found found = look_at(ReasonCode::ClientIdentifierNotValid, "Client Identifier", packet.client_id)) return found;
  if (packet.will) {
    if (Found found = look_at_topics("Will Topic", packet.will->topic, packet.will->properties)) return found;
  }
  return look_at(ReasonCode::BadUserNameOrPassword, "User Name", packet.user_name.value_or(""));
}

Found find_control_characters(const Publish& packet) {
  return look_at_topics("Topic Name", packet.topic, packet.properties);
}

Found find_control_characters(const Subscribe& packet) { return look_at_filters(packet.entries); }

Found find_control_characters(const Unsubscribe& packet) { return look_at_filters(packet.entries); }

}  // namespace vigil::mqtt
