// ONE table: what the end of a connection means, by cause. DISCONNECT sent, fate of the will, how it is told.
#pragma once

#include <cstdint>
#include <optional>

#include "broker/disconnect_reason.h"
#include "mqtt/reason_code.h"

namespace vigil::broker {

enum class WillFate : std::uint8_t {
  Cancelled,       // the client said goodbye [MQTT-3.14.4-3]
  OwedAfterDelay,  // published when its delay has passed or the session ends, whichever comes first [MQTT-3.1.2-8]
};

struct Ending {
  DisconnectReason cause;
  std::optional<mqtt::ReasonCode> disconnect;  // what a 5.0 client is told; a protocol error brings its own code
  WillFate will;
  bool client_fault;  // logged as a warning
};

const Ending& ending_of(DisconnectReason cause);

}  // namespace vigil::broker
