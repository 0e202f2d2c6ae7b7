// One line of text for a packet, for logs, transcripts and tests: `PUBLISH topic=a/b qos=1 id=7 dup=1 payload=hello`.
#pragma once

#include <string>

#include "mqtt/packet.h"

namespace vigil::mqtt {

// Never shows a password or authentication data. Payloads that are not printable show as 0x.. and long ones are cut (`...`).
std::string describe(const Packet& packet);

std::string_view packet_name(PacketType type);  // "PUBLISH"

}  // namespace vigil::mqtt
