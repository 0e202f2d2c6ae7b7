#include "broker/ending.h"

#include <array>

#include "base/check.h"

namespace vigil::broker {
namespace {

using mqtt::ReasonCode;
using enum DisconnectReason;
using enum WillFate;

// In the order of DisconnectReason.
constexpr std::array kEndings = {
    Ending{ClientDisconnect, std::nullopt, Cancelled, false},
    Ending{ClientDisconnectWithWill, std::nullopt, OwedAfterDelay, false},
    Ending{ClientError, std::nullopt, OwedAfterDelay, false},
    Ending{KeepAliveTimeout, ReasonCode::KeepAliveTimeout, OwedAfterDelay, false},
    Ending{SessionTakenOver, ReasonCode::SessionTakenOver, OwedAfterDelay, false},
    Ending{ConnectionClosed, std::nullopt, OwedAfterDelay, false},
    Ending{ConnectionError, std::nullopt, OwedAfterDelay, false},
    Ending{ProtocolError, ReasonCode::ProtocolError, OwedAfterDelay, true},
    Ending{WriteStalled, ReasonCode::UnspecifiedError, OwedAfterDelay, true},
    Ending{ConnectTimeout, std::nullopt, OwedAfterDelay, true},
    Ending{ConnectionRefused, std::nullopt, OwedAfterDelay, true},
    Ending{QuotaExceeded, ReasonCode::QuotaExceeded, OwedAfterDelay, true},
    Ending{NotAuthorized, ReasonCode::NotAuthorized, OwedAfterDelay, true},
    Ending{AdministrativeAction, ReasonCode::AdministrativeAction, OwedAfterDelay, false},
    Ending{ServerShutdown, ReasonCode::ServerShuttingDown, OwedAfterDelay, false},
    Ending{ServerFailure, std::nullopt, OwedAfterDelay, false},
};

}  // namespace

const Ending& ending_of(DisconnectReason cause) {
  const Ending& ending = kEndings.at(static_cast<std::size_t>(cause));
  CHECK(ending.cause == cause);
  return ending;
}

}  // namespace vigil::broker
