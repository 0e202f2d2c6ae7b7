// What speaks at a port that expects MQTT, if it is something else that is well known.
#pragma once

#include <string>

#include "base/bytes.h"

namespace vigil::broker {

// For the log, from the first bytes of a connection that are no CONNECT: "looks like TLS: this listener speaks plain
// MQTT". Empty where they look like nothing known. Never shows control characters.
std::string foreign_protocol(base::Bytes first_bytes);

}  // namespace vigil::broker
