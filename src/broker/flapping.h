// Two clients that fight over one client id: each CONNECT throws the other out. Seen by counting take-overs in a window
// of time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "broker/limits.h"

namespace vigil::broker {

class Flapping {
 public:
  // A take-over happened. True when this makes it `limits.flapping_takeovers` within `limits.flapping_window`: the
  // fight is then reported, and counting starts anew.
  bool taken_over(base::Instant now, const Limits& limits) {
    if (count_ == 0 || now - window_start_ > limits.flapping_window) {
      if (now - window_start_ > limits.flapping_window * 2) rounds_ = 0;
      window_start_ = now;
      count_ = 0;
    }
    if (++count_ < limits.flapping_takeovers) return false;
    count_ = 0;
    if (limits.flapping_hold_off) {
      const base::Duration wait = base::seconds(1) * (1U << std::min(rounds_, 16U));
      held_until_ = now + std::min<base::Duration>(wait, limits.flapping_hold_off_max);
    }
    ++rounds_;
    return true;
  }
  // Until when further take-overs of this id are refused; in the past if they are not.
  base::Instant held_until() const { return held_until_; }
  bool operator==(const Flapping&) const = default;

 private:
  base::Instant window_start_;
  base::Instant held_until_;
  std::uint32_t count_ = 0;
  unsigned rounds_ = 0;  // reports in a row
};

}  // namespace vigil::broker
