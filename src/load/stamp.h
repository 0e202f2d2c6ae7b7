// The time in a payload: its first eight bytes, if it has as many. Only one machine's clock is meant.
#pragma once

#include <cstring>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"

namespace vigil::load {

inline void stamp(std::string& payload, base::Instant at) {
  const std::int64_t ns = at.ns();
  if (payload.size() >= sizeof ns) std::memcpy(payload.data(), &ns, sizeof ns);
}

inline std::optional<base::Instant> stamp_of(base::Bytes payload) {
  std::int64_t ns = 0;
  if (payload.size() < sizeof ns) return std::nullopt;
  std::memcpy(&ns, payload.data(), sizeof ns);
  return base::Instant::from_ns(ns);
}

}  // namespace vigil::load
