// The heartbeat of a client as it was really heard. A value.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::broker {

// The time between two reads that brought packets.
class Rhythm {
 public:
  void beat(base::Duration since_last) {
    const auto us = static_cast<float>(since_last.count()) / 1000.0F;
    if (beats_ == 0) {
      mean_us_ = us;
    } else {
      const float gain = beats_ < 15 ? 1.0F / static_cast<float>(beats_ + 1) : 1.0F / 16;
      const float off = us - mean_us_;
      mean_us_ += gain * off;
      jitter_us_ += gain * ((off < 0 ? -off : off) - jitter_us_);
    }
    if (beats_ < 16) ++beats_;
  }
  bool known() const { return beats_ > 0; }
  bool operator==(const Rhythm&) const = default;
  double mean_ms() const { return mean_us_ / 1000.0; }
  double jitter_ms() const { return jitter_us_ / 1000.0; }

 private:
  float mean_us_ = 0;
  float jitter_us_ = 0;  // mean deviation
  std::uint8_t beats_ = 0;
};

}  // namespace vigil::broker
