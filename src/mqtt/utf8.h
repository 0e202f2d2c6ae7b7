// UTF-8 as MQTT wants it (1.5.4): well-formed, no surrogates, no U+0000 [MQTT-1.5.4-1, -2]. U+FEFF is kept as it is
// [MQTT-1.5.4-3].
#pragma once

#include <cstdint>
#include <string_view>

namespace vigil::mqtt {

enum class Utf8 : std::uint8_t {
  Illegal,
  Plain,
  WithControls,  // legal, but holds U+0001..U+001F or U+007F..U+009F, which 1.5.4 advises against
};

// One pass over the text; eight bytes at a time while they are printable ASCII.
Utf8 check_utf8(std::string_view text);

inline bool valid_utf8(std::string_view text) { return check_utf8(text) != Utf8::Illegal; }
inline bool has_control_characters(std::string_view text) { return check_utf8(text) == Utf8::WithControls; }

}  // namespace vigil::mqtt
