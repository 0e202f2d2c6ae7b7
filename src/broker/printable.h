// Text from a peer, safe for a log line and for a Reason String: control characters as \xNN, those from U+0080 on as
// \u00NN, cut after a few hundred bytes. UTF-8 stays UTF-8.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

#include "mqtt/utf8.h"

namespace vigil::broker {

inline std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 256;
  const bool whole = text.size() <= kMost;
  if (whole && mqtt::check_utf8(text) == mqtt::Utf8::Plain) return std::string(text);
  // Not in the middle of a character: what is left must be UTF-8 as well.
  std::size_t size = whole ? text.size() : kMost;
  while (!whole && size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U) --size;
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < size ? text[i + 1] : '\0');
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      out += fmt::format("\\u{:04x}", next);
      ++i;
    } else {
      out += text[i];
    }
  }
  return whole ? out : out + "...";
}

}  // namespace vigil::broker
