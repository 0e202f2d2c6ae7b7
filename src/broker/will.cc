#include "broker/will.h"

#include <algorithm>

#include "mqtt/encoder.h"

namespace vigil::broker {

using mqtt::Property;

Will will_of(const mqtt::Will& packet, const Limits& limits) {
  Will will;
  will.topic = packet.topic;
  will.payload.assign(packet.payload.begin(), packet.payload.end());
  will.qos = packet.qos;
  will.retain = packet.retain;
  mqtt::Properties passed_on = packet.properties;
  will.delay_s = std::min(passed_on.number_or(Property::WillDelayInterval, 0), limits.max_will_delay_s);
  if (const auto expiry = passed_on.number(Property::MessageExpiryInterval)) {
    will.has_message_expiry = true;
    will.message_expiry_s = *expiry;
  }
  if (limits.max_message_expiry_s > 0) {
    will.message_expiry_s = will.has_message_expiry ? std::min(will.message_expiry_s, limits.max_message_expiry_s)
                                                    : limits.max_message_expiry_s;
    will.has_message_expiry = true;
  }
  passed_on.clear(Property::WillDelayInterval);
  passed_on.clear(Property::MessageExpiryInterval);
  mqtt::encode_properties(will.properties, passed_on);
  return will;
}

Message::Spec will_message(const Will& will, base::Instant now) {
  Message::Spec spec;
  spec.topic = will.topic;
  spec.payload = will.payload;
  spec.properties = will.properties;
  spec.qos = will.qos;
  spec.retain = will.retain;
  if (will.has_message_expiry) spec.expires = now + base::seconds(will.message_expiry_s);
  return spec;
}

}  // namespace vigil::broker
