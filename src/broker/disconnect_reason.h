// Why a connection ended, as recorded and shown. Names follow TBMQ's where the same thing is meant.
#pragma once

#include <cstdint>
#include <string_view>

namespace vigil::broker {

enum class DisconnectReason : std::uint8_t {
  ClientDisconnect,          // ON_DISCONNECT_MSG: DISCONNECT 0x00, or any DISCONNECT of a 3.x client
  ClientDisconnectWithWill,  // DISCONNECT 0x04
  ClientError,               // DISCONNECT with another reason code
  KeepAliveTimeout,
  SessionTakenOver,
  ConnectionClosed,   // the peer closed the socket without DISCONNECT
  ConnectionError,    // the socket failed (reset, TCP timeout)
  ProtocolError,      // malformed or illegal packet
  WriteStalled,       // the peer stopped reading
  ConnectTimeout,     // no CONNECT, or authentication not finished, in time
  ConnectionRefused,  // CONNECT answered with a failure
  QuotaExceeded,
  NotAuthorized,
  AdministrativeAction,
  ServerShutdown,
  ServerFailure,  // the broker died, and found the client connected in its store when it came back
};

// "KEEP_ALIVE_TIMEOUT"
std::string_view name(DisconnectReason reason);

}  // namespace vigil::broker
