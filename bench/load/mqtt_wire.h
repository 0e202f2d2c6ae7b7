// The few MQTT packets that a load client writes, and a splitter for what it reads. Made for being cheap, not for being
// complete: the broker's own codec is not used here, so that a mistake in it cannot hide from its own benchmark.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace vigil::bench {

enum class Version : std::uint8_t { V311 = 4, V5 = 5 };

enum class PacketType : std::uint8_t {
  Connect = 1,
  Connack = 2,
  Publish = 3,
  Puback = 4,
  Subscribe = 8,
  Suback = 9,
  Pingreq = 12,
  Pingresp = 13,
  Disconnect = 14,
};

struct Will {
  std::string topic;
  std::string payload;
};

struct ConnectFields {
  Version version = Version::V311;
  std::string client_id;
  std::uint16_t keep_alive_s = 0;
  std::optional<Will> will;  // at QoS 0, not retained
  bool persistent = false;   // goes on with its session and leaves it behind (3.1.1 only)
};

std::string encode_connect(const ConnectFields& fields);
std::string encode_subscribe(Version version, std::string_view filter, unsigned qos);
// The packet id is written for QoS 1 only.
void append_publish(std::string& out, Version version, std::string_view topic, std::string_view payload, unsigned qos,
                    std::uint16_t packet_id);
void append_puback(std::string& out, std::uint16_t packet_id);
inline constexpr std::string_view kPingreq{"\xc0\x00", 2};
inline constexpr std::string_view kDisconnect{"\xe0\x00", 2};

// A complete packet as it lies in the read buffer.
struct Frame {
  std::uint8_t first = 0;
  base::Bytes body;  // what follows the remaining length

  PacketType type() const { return static_cast<PacketType>(first >> 4U); }
  unsigned publish_qos() const { return (first >> 1U) & 3U; }
  // The topic of a PUBLISH.
  std::string_view publish_topic() const;
  // The packet id of a PUBLISH with QoS 1 or 2.
  std::uint16_t publish_packet_id() const;
  // The code in CONNACK (either version) and the reason in DISCONNECT (5.0; 0 when left out).
  std::uint8_t code() const;
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

}  // namespace vigil::bench
