#include "broker/disconnect_reason.h"

namespace vigil::broker {

std::string_view name(DisconnectReason reason) {
  switch (reason) {
    case DisconnectReason::ClientDisconnect: return "CLIENT_DISCONNECT";
    case DisconnectReason::ClientDisconnectWithWill: return "CLIENT_DISCONNECT_WITH_WILL";
    case DisconnectReason::ClientError: return "CLIENT_ERROR";
    case DisconnectReason::KeepAliveTimeout: return "KEEP_ALIVE_TIMEOUT";
    case DisconnectReason::SessionTakenOver: return "SESSION_TAKEN_OVER";
    case DisconnectReason::ConnectionClosed: return "CONNECTION_CLOSED";
    case DisconnectReason::ConnectionError: return "CONNECTION_ERROR";
    case DisconnectReason::ProtocolError: return "PROTOCOL_ERROR";
    case DisconnectReason::WriteStalled: return "WRITE_STALLED";
    case DisconnectReason::ConnectTimeout: return "CONNECT_TIMEOUT";
    case DisconnectReason::ConnectionRefused: return "CONNECTION_REFUSED";
    case DisconnectReason::QuotaExceeded: return "QUOTA_EXCEEDED";
    case DisconnectReason::NotAuthorized: return "NOT_AUTHORIZED";
    case DisconnectReason::AdministrativeAction: return "ADMINISTRATIVE_ACTION";
    case DisconnectReason::ServerShutdown: return "SERVER_SHUTDOWN";
    case DisconnectReason::ServerFailure: return "SERVER_FAILURE";
  }
  return "UNKNOWN";
}

}  // namespace vigil::broker
