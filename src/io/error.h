// Failures of the operating system as values. Sentences for people are made elsewhere.
#pragma once

#include <cerrno>
#include <system_error>

#include "base/result.h"

namespace vigil::io {

template <class T>
using Result = base::Result<T, std::error_code>;

inline std::error_code system_error(int number) { return {number, std::system_category()}; }
// The error of the system call just made.
inline auto Errno() { return base::Err(system_error(errno)); }

}  // namespace vigil::io
