// The policy on control characters in names (mqtt.control_characters), for every packet that holds names.
#pragma once

#include <optional>

#include "broker/limits.h"
#include "broker/shard.h"
#include "mqtt/control_characters.h"

namespace vigil::broker {

// Why the packet is refused; nullopt where the policy lets it through. Call it for packets that the decoder has marked.
template <class Packet>
std::optional<Departure> refused_control_characters(const Packet& packet, const Limits& limits) {
  if (limits.control_characters == ControlCharacters::Allow) return std::nullopt;
  const auto found = mqtt::find_control_characters(packet);
  if (!found) return std::nullopt;
  return Departure{.cause = DisconnectReason::ProtocolError,
                   .code = found->code,
                   .field = found->field,
                   .detail = "holds control characters, which mqtt.control_characters refuses",
                   .name = found->text};
}

}  // namespace vigil::broker
