#include "mqtt/utf8.h"

#include <cstdint>
#include <cstring>

namespace vigil::mqtt {
namespace {

bool continuation(std::uint8_t byte) { return (byte & 0xC0U) == 0x80U; }

// The length of the code point that begins with a byte of 0x80 or above; 0 if it is not well-formed (table 3-7 of the
// Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF).
std::size_t code_point(const std::uint8_t* p, std::size_t left) {
  const std::uint8_t first = p[0];
  if (first >= 0xC2 && first <= 0xDF) return left >= 2 && continuation(p[1]) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (left < 3 || !continuation(p[1]) || !continuation(p[2])) return 0;
    if (first == 0xE0 && p[1] < 0xA0) return 0;
    if (first == 0xED && p[1] > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (left < 4 || !continuation(p[1]) || !continuation(p[2]) || !continuation(p[3])) return 0;
    if (first == 0xF0 && p[1] < 0x90) return 0;
    if (first == 0xF4 && p[1] > 0x8F) return 0;
    return 4;
  }
  return 0;
}

// Whether the bytes of a word are all in 0x20..0x7E. Look at the lowest byte that is not: no borrow or carry reaches
// it. The subtraction sets its high bit if it is below 0x20 or from 0xA0 on, the addition if it is in 0x7F..0x9F.
template <class Word>
bool printable_ascii(const std::uint8_t* p) {
  constexpr Word kOnes = ~Word{0} / 0xFF;
  constexpr Word kHighs = kOnes * 0x80;
  Word word;
  std::memcpy(&word, p, sizeof word);
  return (((word - kOnes * 0x20) | (word + kOnes)) & kHighs) == 0;
}

// The same of as many bytes as a word has or more; the last look overlaps.
template <class Word>
bool all_printable_ascii(const std::uint8_t* p, std::size_t size) {
  const std::uint8_t* last = p + size - sizeof(Word);
  for (; p < last; p += sizeof(Word)) {
    if (!printable_ascii<Word>(p)) return false;
  }
  return printable_ascii<Word>(last);
}

}  // namespace

Utf8 check_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const std::uint8_t*>(text.data());
  std::size_t left = text.size();
  if (left >= 8 ? all_printable_ascii<std::uint64_t>(p, left)
                : left >= 4 && all_printable_ascii<std::uint32_t>(p, left)) {
    return Utf8::Plain;
  }
  bool controls = false;
  while (left > 0) {
    while (left >= 8 && printable_ascii<std::uint64_t>(p)) {
      p += 8;
      left -= 8;
    }
    while (left > 0 && *p < 0x80) {
      if (*p == 0) return Utf8::Illegal;
      controls |= *p < 0x20 || *p == 0x7F;
      ++p;
      --left;
    }
    if (left == 0) break;
    const std::size_t length = code_point(p, left);
    if (length == 0) return Utf8::Illegal;
    controls |= p[0] == 0xC2 && p[1] < 0xA0;  // U+0080..U+009F
    p += length;
    left -= length;
  }
  return controls ? Utf8::WithControls : Utf8::Plain;
}

}  // namespace vigil::mqtt
