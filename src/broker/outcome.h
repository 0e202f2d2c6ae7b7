// What became of a message, as its publisher is told.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vigil::broker {

// Rising: among several receivers the best one counts.
enum class Outcome : std::uint8_t {
  NoSubscriber,  // nobody wanted it: 0x10 No matching subscribers
  Dropped,       // somebody did, and no queue had room for it: 0x97 Quota exceeded
  Taken,         // sent, queued, or not kept because QoS 0 is not kept
};

inline Outcome best(Outcome a, Outcome b) { return std::max(a, b); }

}  // namespace vigil::broker
