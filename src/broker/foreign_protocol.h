// Names a well-known protocol other than MQTT by the first bytes of a connection.
#pragma once

#include <string>

#include "base/bytes.h"

namespace vigil::broker {

// For the log, from the first bytes of a connection that are no CONNECT: "looks like TLS: this listener speaks plain
// MQTT". Empty where they look like nothing known. Never shows control characters.
std::string foreign_protocol(base::Bytes first_bytes);

}  // namespace vigil::broker
