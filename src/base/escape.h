// Text that somebody else chose, safe for a line that people read: in the log, in an error, in a Reason String. It can
// neither end the line nor drive a terminal.
//
// Control characters are escaped: bytes below 0x20 and DEL as \xNN, U+0080..U+009F (two bytes of UTF-8) as \u00NN. All
// else stays as it is, also a backslash: the result is to be read, not to be decoded. UTF-8 stays UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace vigil::base {

void append_escaped(std::string& out, std::string_view text);

// Of a longer text the first `most` bytes, and "...". The cut is between two characters.
void append_escaped(std::string& out, std::string_view text, std::size_t most);
std::string escaped(std::string_view text, std::size_t most);

}  // namespace vigil::base
