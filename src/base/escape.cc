#include "base/escape.h"

#include <iterator>

#include <fmt/format.h>

namespace vigil::base {

void append_escaped(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : '\0');
    if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else if (byte == 0xC2 && next >= 0x80 && next < 0xA0) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", next);
      ++i;
    } else {
      out += text[i];
    }
  }
}

void append_escaped(std::string& out, std::string_view text, std::size_t most) {
  if (text.size() <= most) return append_escaped(out, text);
  std::size_t size = most;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0U) == 0x80U) --size;
  append_escaped(out, text.substr(0, size));
  out += "...";
}

std::string escaped(std::string_view text, std::size_t most) {
  std::string out;
  append_escaped(out, text, most);
  return out;
}

}  // namespace vigil::base
