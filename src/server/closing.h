// How the connection of a client is closed, by the reason for which the core ends it.
#pragma once

#include "broker/disconnect_reason.h"
#include "net/pipe.h"

namespace vigil::server {

net::Closing closing_of(broker::DisconnectReason reason);

}  // namespace vigil::server
