// Control characters in names: U+0001..U+001F and U+007F..U+009F in client identifiers, user names, topic names and
// topic filters. 1.5.4 says that they SHOULD NOT be there, and lets a receiver treat such a packet as malformed.
// Whether it does is its policy: the decoder only marks the packet.
#pragma once

#include <optional>

#include "mqtt/decoder.h"

namespace vigil::mqtt {

// The first name of the packet with control characters, and the reason code that fits a refusal. nullopt: there is
// none, as packet.control_characters says more cheaply.
std::optional<DecodeError> find_control_characters(const Connect& packet);
std::optional<DecodeError> find_control_characters(const Publish& packet);
std::optional<DecodeError> find_control_characters(const Subscribe& packet);
std::optional<DecodeError> find_control_characters(const Unsubscribe& packet);

}  // namespace vigil::mqtt
