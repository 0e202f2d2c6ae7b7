// From packets to bytes. Pure functions that append to a buffer.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "mqtt/packet.h"

namespace vigil::mqtt {

using Buffer = std::vector<std::uint8_t>;

// Appends the whole packet. What the version does not have (properties, reason codes before 5.0) is left out.
// A caller must not ask for what cannot be said: topics and texts over 65,535 bytes, a packet over 268,435,455 bytes
// (CHECK).
void encode(Buffer& out, Version version, const Packet& packet);

void encode_connack(Buffer& out, Version version, const ConnAck& packet);
void encode_ack(Buffer& out, Version version, const Ack& packet);
void encode_suback(Buffer& out, Version version, const SubAck& packet);
void encode_unsuback(Buffer& out, Version version, const UnsubAck& packet);
void encode_disconnect(Buffer& out, Version version, const Disconnect& packet);
void encode_auth(Buffer& out, Version version, const Auth& packet);
void encode_publish(Buffer& out, Version version, const Publish& packet);  // from .properties, not .raw_properties

// Appends properties without their length; the pieces of a PUBLISH that is assembled elsewhere.
void encode_properties(Buffer& out, const Properties& properties);
void append_varint(Buffer& out, std::uint32_t value);
std::size_t varint_size(std::uint32_t value);
// Writes 1..4 bytes at `to` and returns how many.
std::size_t write_varint(std::uint8_t* to, std::uint32_t value);

// The size `encode` would append.
std::size_t encoded_size(Version version, const Packet& packet);

}  // namespace vigil::mqtt
