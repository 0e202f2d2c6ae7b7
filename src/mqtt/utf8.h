// UTF-8 as MQTT wants it (1.5.4): well-formed, no surrogates, no U+0000 [MQTT-1.5.4-1, -2]. U+FEFF is kept as it is
// [MQTT-1.5.4-3].
#pragma once

#include <string_view>

namespace vigil::mqtt {

bool valid_utf8(std::string_view text);

}  // namespace vigil::mqtt
