#include "server/closing.h"

namespace vigil::server {

net::Closing closing_of(broker::DisconnectReason reason) {
  using enum broker::DisconnectReason;
  switch (reason) {
    case ClientDisconnect: return net::Closing::PeerSaidGoodbye;
    case KeepAliveTimeout: return net::Closing::PeerIsSilent;
    case WriteStalled: return net::Closing::PeerIsStuck;
    case SessionTakenOver:
    case ProtocolError:
    case ConnectionRefused:
    case QuotaExceeded:
    case NotAuthorized:
    case AdministrativeAction:
    case ServerShutdown: return net::Closing::PeerDoesNotExpectIt;
    case ClientDisconnectWithWill:
    case ClientError:
    case ConnectionClosed:
    case ConnectionError:
    case ConnectTimeout:
    case ServerFailure: return net::Closing::Plain;
  }
  return net::Closing::Plain;
}

}  // namespace vigil::server
