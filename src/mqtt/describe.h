// One line of text for a packet, for logs, transcripts and tests: `PUBLISH topic=a/b qos=1 id=7 dup=1 payload=hello`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mqtt/packet.h"

namespace vigil::mqtt {

// Never shows a password or authentication data. Payloads that are not printable show as 0x.. and long ones are cut
// (`...`). Flags and numbers at 0 are left out where they usually are 0; properties follow under their names:
// `session_expiry_interval=60`, `user.name=value`, and those of a will as `will.will_delay_interval=5`.
//
// Payloads::SizeOnly shows `payload=(5 bytes)`: what clients tell each other is no business of a log.
enum class Payloads : std::uint8_t { Shown, SizeOnly };
std::string describe(const Packet& packet, Payloads payloads = Payloads::Shown);

PacketType packet_type(const Packet& packet);
std::string_view packet_name(PacketType type);  // "PUBLISH"

}  // namespace vigil::mqtt
