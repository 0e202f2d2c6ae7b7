// Text from a peer, safe for a log line: control characters as \xNN, cut after a few hundred bytes.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace vigil::broker {

inline std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 256;
  std::string out;
  for (const char c : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kMost) out += "...";
  return out;
}

}  // namespace vigil::broker
