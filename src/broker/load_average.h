// How much of something happens in a minute, averaged over the last 1, 5 and 15 minutes. A value.
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace vigil::broker {

// The averages are those of mosquitto, and of the load of a Unix machine: what was measured weighs less the older it
// is, by exp(-age / window). They begin at 0, so a steady rate shows in full after several windows.
class LoadAverage {
 public:
  static constexpr std::array<std::chrono::minutes, 3> kWindows = {std::chrono::minutes(1), std::chrono::minutes(5),
                                                                   std::chrono::minutes(15)};

  // The counter stands at `total`, `passed` after the last call. The first call counts from 0.
  void measure(std::uint64_t total, base::Duration passed) {
    if (passed <= base::Duration::zero()) return;
    using Minutes = std::chrono::duration<double, std::ratio<60>>;
    const double minutes = Minutes(passed).count();
    const double rate = static_cast<double>(total - total_) / minutes;
    for (std::size_t i = 0; i < kWindows.size(); ++i) {
      const double weight_of_past = std::exp(-minutes / Minutes(kWindows[i]).count());
      per_minute_[i] = rate + weight_of_past * (per_minute_[i] - rate);
    }
    total_ = total;
  }

  // In the order of kWindows.
  const std::array<double, kWindows.size()>& per_minute() const { return per_minute_; }

 private:
  std::uint64_t total_ = 0;
  std::array<double, kWindows.size()> per_minute_{};
};

}  // namespace vigil::broker
