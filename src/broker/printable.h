// Text from a peer, safe for a log line and for a Reason String: escaped (base/escape.h), and cut after a few hundred
// bytes.
#pragma once

#include <string>
#include <string_view>

#include "base/escape.h"

namespace vigil::broker {

inline std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 256;
  return base::escaped(text, kMost);
}

}  // namespace vigil::broker
