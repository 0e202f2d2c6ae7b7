// How a connection's socket ended, as far as its errors tell.
//
// Whoever owns the socket finds it out; the core, which knows no sockets, is told and says so in presence and the log.
#pragma once

#include <cstdint>

namespace vigil::base {

enum class SocketEnd : std::uint8_t {
  Closed,    // the peer said that nothing follows
  Reset,     // the peer refuses what it is sent
  TimedOut,  // nobody acknowledged: TCP gave up
  Failed,    // any other error
};

}  // namespace vigil::base
