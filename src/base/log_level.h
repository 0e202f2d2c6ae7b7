// How much a line of the log matters; the least first, so that levels compare.
//
// The core gives each of its lines one, and may not know the log; the log decides by it what is written.
#pragma once

#include <cstdint>

namespace vigil::base {

enum class LogLevel : std::uint8_t { Trace, Debug, Info, Warn, Error };

}  // namespace vigil::base
