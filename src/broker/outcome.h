// What became of a message, as its publisher is told.
#pragma once

#include <cstdint>

namespace vigil::broker {

// Among several receivers the best one counts: each has the bits of those below it.
enum class Outcome : std::uint8_t {
  NoSubscriber = 0,  // nobody wanted it: 0x10 No matching subscribers
  Dropped = 1,       // somebody did, and no queue had room for it: 0x97 Quota exceeded
  Taken = 3,         // sent, queued, or not kept because QoS 0 is not kept
};

inline Outcome best(Outcome a, Outcome b) {
  return static_cast<Outcome>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

}  // namespace vigil::broker
