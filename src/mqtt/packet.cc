#include "mqtt/packet.h"

#include <algorithm>

namespace vigil::mqtt {

bool Will::operator==(const Will& other) const {
  return topic == other.topic && std::ranges::equal(payload, other.payload) && qos == other.qos &&
         retain == other.retain && properties == other.properties;
}

bool Connect::operator==(const Connect& other) const {
  if (password.has_value() != other.password.has_value()) return false;
  if (password && !std::ranges::equal(*password, *other.password)) return false;
  return version == other.version && clean_start == other.clean_start && keep_alive_s == other.keep_alive_s &&
         client_id == other.client_id && will == other.will && user_name == other.user_name && bridge == other.bridge &&
         properties == other.properties;
}

bool Publish::operator==(const Publish& other) const {
  return dup == other.dup && qos == other.qos && retain == other.retain && topic == other.topic &&
         packet_id == other.packet_id && properties == other.properties && std::ranges::equal(payload, other.payload);
}

}  // namespace vigil::mqtt
