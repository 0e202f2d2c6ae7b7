// Ctrl-C as a descriptor that becomes readable, so that a loop can end in order and report.
#pragma once

#include "io/fd.h"

namespace vigil::load {

// SIGINT and SIGTERM no longer end this process from here on; they are read from what is returned.
// Throws std::system_error.
io::Fd catch_stop();
// Whether one has come. False for -1.
bool stopped(int stop_fd);

}  // namespace vigil::load
