// Cuts a stream of bytes into MQTT packets.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "mqtt/decoder.h"

namespace vigil::sim {

class Framer {
 public:
  struct Frame {
    mqtt::FrameHeader header;
    std::vector<std::uint8_t> bytes;  // the whole packet
    base::Bytes body() const { return base::Bytes(bytes).subspan(header.header_size); }
  };

  void add(base::Bytes bytes) { pending_.insert(pending_.end(), bytes.begin(), bytes.end()); }
  // The next whole packet; nullopt: not all there, or broken().
  std::optional<Frame> next();
  // The stream is no MQTT any more; why.
  const std::optional<mqtt::DecodeError>& broken() const { return broken_; }
  // Bytes of an unfinished packet.
  std::size_t pending() const { return pending_.size(); }

 private:
  std::vector<std::uint8_t> pending_;
  std::optional<mqtt::DecodeError> broken_;
};

}  // namespace vigil::sim
