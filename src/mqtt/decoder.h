// From bytes to packets. Pure functions; nothing is copied: the packets hold views of the bytes given.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "mqtt/packet.h"

namespace vigil::mqtt {

// Why bytes are not a legal packet, and what the standard wants said.
struct DecodeError {
  ReasonCode code = ReasonCode::MalformedPacket;
  std::string_view field = {};   // where: "Will Topic", "Session Expiry Interval", "Remaining Length"
  std::string_view detail = {};  // what: "not UTF-8", "occurs twice"
  std::string_view clause = {};  // "MQTT-3.1.2-3", or empty
  std::string_view text = {};    // the name that is wrong, where showing it helps; a view of the packet's bytes
  bool operator==(const DecodeError&) const = default;
};

template <class T>
using Decoded = base::Result<T, DecodeError>;

struct FrameHeader {
  PacketType type = PacketType::Connect;
  std::uint8_t flags = 0;        // low four bits of the first byte
  std::uint8_t header_size = 0;  // bytes before the variable header: 2..5
  std::uint32_t remaining = 0;   // Remaining Length
  std::size_t size() const { return std::size_t{header_size} + remaining; }
};

// The fixed header at the start of `bytes`. nullopt: not all of it is there yet. Checks the packet type, its reserved
// flags [MQTT-2.1.3-1], the form of the length [MQTT-1.5.5-1], that PINGREQ and PINGRESP have no body, and that the
// whole packet is no larger than `max_packet_size` (PacketTooLarge). `version` is the connection's: 5.0 alone forbids a
// length in more bytes than it needs, and 3.1 does not use flags that later versions reserve. Both are judged by
// decode_connect where the packet is a CONNECT, because only it knows the version.
Decoded<std::optional<FrameHeader>> decode_header(base::Bytes bytes, std::uint32_t max_packet_size,
                                                  Version version = Version::V5);

// The body of a whole packet: exactly header.remaining bytes. Checks all that can be judged from the packet alone:
// form, UTF-8, reserved bits, properties allowed and their values, topic names and filters, reason codes, packet
// identifier not 0. `sender` says which direction's rules hold (a server's CONNECT is a protocol error). The version of
// decode_connect is the packet's own: UnsupportedProtocolVersion if it is none of ours.
Decoded<Connect> decode_connect(const FrameHeader& header, base::Bytes body);
Decoded<ConnAck> decode_connack(const FrameHeader& header, base::Bytes body, Version version);
Decoded<Publish> decode_publish(const FrameHeader& header, base::Bytes body, Version version, Sender sender);
Decoded<Ack> decode_ack(const FrameHeader& header, base::Bytes body, Version version, Sender sender);
Decoded<Subscribe> decode_subscribe(const FrameHeader& header, base::Bytes body, Version version);
Decoded<SubAck> decode_suback(const FrameHeader& header, base::Bytes body, Version version);
Decoded<Unsubscribe> decode_unsubscribe(const FrameHeader& header, base::Bytes body, Version version);
Decoded<UnsubAck> decode_unsuback(const FrameHeader& header, base::Bytes body, Version version);
Decoded<Disconnect> decode_disconnect(const FrameHeader& header, base::Bytes body, Version version, Sender sender);
Decoded<Auth> decode_auth(const FrameHeader& header, base::Bytes body, Version version, Sender sender);

// Any packet. A type that `sender` may not send, or `version` does not have, is a ProtocolError.
Decoded<Packet> decode(const FrameHeader& header, base::Bytes body, Version version, Sender sender);

// The client identifier of a whole CONNECT, without judging the rest: it decides the home shard. nullopt if it cannot
// be found.
std::optional<std::string_view> peek_client_id(base::Bytes body);

// The version of a CONNECT, without judging the rest: the one to answer in when decode_connect fails. nullopt if it is
// none of ours.
std::optional<Version> peek_version(base::Bytes body);

}  // namespace vigil::mqtt
