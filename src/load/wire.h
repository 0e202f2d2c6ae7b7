// The MQTT packets that a load client writes, and a splitter for what it reads. Made for being cheap, not for being
// complete: the broker's own codec is not used here, so that a mistake in it cannot hide from its own benchmark.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace vigil::load {

// The protocol level in CONNECT [MQTT-3.1.2-2].
enum class Version : std::uint8_t { V31 = 3, V311 = 4, V5 = 5 };

enum class PacketType : std::uint8_t {
  Connect = 1,
  Connack = 2,
  Publish = 3,
  Puback = 4,
  Pubrec = 5,
  Pubrel = 6,
  Pubcomp = 7,
  Subscribe = 8,
  Suback = 9,
  Pingreq = 12,
  Pingresp = 13,
  Disconnect = 14,
};

struct Will {
  std::string topic;
  std::string payload;
  unsigned qos = 0;
  bool retain = false;
};

struct ConnectFields {
  Version version = Version::V311;
  std::string client_id;
  std::uint16_t keep_alive_s = 0;
  std::optional<Will> will = {};
  std::string username = {};           // empty: none
  std::string password = {};           // empty: none
  bool clean = true;                   // Clean Start, Clean Session
  std::uint32_t session_expiry_s = 0;  // 5.0 only
};

std::string encode_connect(const ConnectFields& fields);
// One SUBSCRIBE with all the filters.
std::string encode_subscribe(Version version, std::uint16_t packet_id, std::span<const std::string> filters,
                             unsigned qos);

struct PublishFields {
  Version version = Version::V311;
  std::string_view topic;
  std::string_view payload;
  unsigned qos = 0;
  bool retain = false;
  std::uint16_t packet_id = 0;  // written for QoS 1 and 2 only
};
void append_publish(std::string& out, const PublishFields& fields);
// A packet that consists of its identifier: PUBACK, PUBREC, PUBREL, PUBCOMP.
void append_ack(std::string& out, PacketType type, std::uint16_t packet_id);
inline constexpr std::string_view kPingreq{"\xc0\x00", 2};
inline constexpr std::string_view kDisconnect{"\xe0\x00", 2};

// A complete packet as it lies in the read buffer. What its functions read is checked: they throw std::runtime_error
// when the packet is too short for it.
struct Frame {
  std::uint8_t first = 0;
  base::Bytes body;  // what follows the remaining length

  PacketType type() const { return static_cast<PacketType>(first >> 4U); }
  // Of a PUBLISH.
  unsigned publish_qos() const { return (first >> 1U) & 3U; }
  std::string_view publish_topic() const;
  std::uint16_t publish_packet_id() const;  // QoS 1 and 2
  base::Bytes publish_payload(Version version) const;
  // Of a packet that begins with it.
  std::uint16_t packet_id() const;
  // Of PUBACK, PUBREC and PUBCOMP: 0 where it is left out, as 3.1.1 always does.
  std::uint8_t ack_reason() const;
  // The code in CONNACK (any version), and the reason in DISCONNECT (5.0; 0 where it is left out).
  std::uint8_t code() const;
  // Of CONNACK.
  bool session_present() const { return !body.empty() && (body[0] & 1U) != 0; }
  // Of SUBACK: whether a filter was refused.
  bool refuses_a_filter(Version version) const;
};

// Size of the packet at the head of `bytes`, 0 while its length is not known yet. Throws when it cannot be MQTT.
struct FrameSize {
  std::size_t header = 0;
  std::size_t total = 0;
};
FrameSize frame_size(base::Bytes bytes);

// Cuts a byte stream into packets; keeps the unfinished rest between calls (nothing, most of the time).
class Framer {
 public:
  // Nothing is kept.
  bool idle() const { return rest_.empty(); }
  void clear() { rest_.clear(); }
  template <class OnFrame>
  void feed(base::Bytes chunk, OnFrame&& on_frame) {
    if (rest_.empty()) {
      const std::size_t used = split(chunk, on_frame);
      rest_.assign(chunk.begin() + static_cast<std::ptrdiff_t>(used), chunk.end());
      return;
    }
    rest_.insert(rest_.end(), chunk.begin(), chunk.end());
    const std::size_t used = split(rest_, on_frame);
    rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(used));
  }

 private:
  template <class OnFrame>
  static std::size_t split(base::Bytes bytes, OnFrame&& on_frame) {
    std::size_t used = 0;
    while (true) {
      const base::Bytes left = bytes.subspan(used);
      const FrameSize size = frame_size(left);
      if (size.total == 0 || size.total > left.size()) return used;
      on_frame(Frame{left[0], left.subspan(size.header, size.total - size.header)});
      used += size.total;
    }
  }

  std::vector<std::uint8_t> rest_;
};

}  // namespace vigil::load
