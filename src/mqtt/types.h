// The small words of the protocol: versions, packet types, qualities of service.
#pragma once

#include <cstdint>

namespace vigil::mqtt {

enum class Version : std::uint8_t { V31 = 3, V311 = 4, V5 = 5 };

enum class PacketType : std::uint8_t {
  Connect = 1,
  ConnAck,
  Publish,
  PubAck,
  PubRec,
  PubRel,
  PubComp,
  Subscribe,
  SubAck,
  Unsubscribe,
  UnsubAck,
  PingReq,
  PingResp,
  Disconnect,
  Auth,
};

enum class QoS : std::uint8_t { AtMostOnce = 0, AtLeastOnce = 1, ExactlyOnce = 2 };

// Who sent a packet: some packets and properties are legal in one direction only.
enum class Sender : std::uint8_t { Client, Server };

// Never 0 on the wire.
using PacketId = std::uint16_t;

inline constexpr std::uint32_t kMaxRemainingLength = 268'435'455;
inline constexpr std::uint32_t kNoSessionExpiry = 0xFFFF'FFFF;  // a session expiry interval of "never"

}  // namespace vigil::mqtt
