// Bytes as text in base64: RFC 4648, section 4, with padding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace vigil::base {

std::string to_base64(Bytes bytes);
// nullopt: the text is not base64.
std::optional<std::vector<std::uint8_t>> from_base64(std::string_view text);

}  // namespace vigil::base
