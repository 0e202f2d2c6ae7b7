#include "server/closing.h"

namespace vigil::server {

Closing closing_of(broker::DisconnectReason reason) {
  using enum broker::DisconnectReason;
  switch (reason) {
    case ClientDisconnect: return Closing::PeerSaidGoodbye;
    case KeepAliveTimeout: return Closing::PeerIsSilent;
    case WriteStalled: return Closing::PeerIsStuck;
    case SessionTakenOver:
    case ProtocolError:
    case ConnectionRefused:
    case QuotaExceeded:
    case NotAuthorized:
    case AdministrativeAction:
    case ServerShutdown: return Closing::PeerDoesNotExpectIt;
    case ClientDisconnectWithWill:
    case ClientError:
    case ConnectionClosed:
    case ConnectionError:
    case ConnectTimeout:
    case ServerFailure: return Closing::Plain;
  }
  return Closing::Plain;
}

}  // namespace vigil::server
