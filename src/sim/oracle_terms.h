// What the oracle's parts share: how exact it is, and how it writes moments.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"

namespace vigil::sim::oracle_terms {

using base::Duration;
using base::Instant;
using base::milliseconds;

// What a shard may be late by its own: waking up, and posting the mail of its turn.
inline constexpr Duration kSlack = milliseconds(3);
// Two events closer than this in time may be seen in either order.
inline constexpr Duration kBlur = milliseconds(5);
// From the moment a will is due to the moment the watcher's socket has it, without stalls.
inline constexpr Duration kWillTravel = milliseconds(50);

inline double in_seconds(Instant t) { return static_cast<double>(t.ns()) / 1e9; }
inline double in_seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

// The word of a payload that names its message.
inline std::string key_of(base::Bytes payload) {
  const std::string_view text = base::as_text(payload);
  return std::string(text.substr(0, text.find(' ')));
}

inline Duration one_and_a_half(std::uint32_t keep_alive_s) { return milliseconds(1500) * keep_alive_s; }

}  // namespace vigil::sim::oracle_terms
