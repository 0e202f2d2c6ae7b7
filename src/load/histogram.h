// Durations counted in buckets: any number of them in 34 KiB, percentiles to within 1 %.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/clock.h"

namespace vigil::load {

class Histogram {
 public:
  // Below zero counts as zero; above 18 minutes as that.
  void add(base::Duration value) {
    const auto ns = static_cast<std::uint64_t>(std::clamp<std::int64_t>(value.count(), 0, (std::int64_t{1} << 40) - 1));
    ++counts_[bucket(ns)];
    ++total_;
    least_ = std::min(least_, ns);
    most_ = std::max(most_, ns);
  }
  std::uint64_t size() const { return total_; }
  bool empty() const { return total_ == 0; }
  void clear() { *this = {}; }

  base::Duration min() const { return base::Duration(empty() ? 0 : static_cast<std::int64_t>(least_)); }
  base::Duration max() const { return base::Duration(static_cast<std::int64_t>(most_)); }
  // By nearest rank; the upper end of its bucket. q from 0 to 1.
  base::Duration quantile(double q) const {
    auto left = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(total_)));
    left = std::max<std::uint64_t>(left, 1);
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] >= left) {
        return base::Duration(static_cast<std::int64_t>(std::clamp(upper_end(i), least_, most_)));
      }
      left -= counts_[i];
    }
    return {};
  }

 private:
  static constexpr unsigned kBits = 7;  // 128 buckets from each power of two to the next
  static constexpr std::uint64_t kEach = std::uint64_t{1} << kBits;

  static std::size_t bucket(std::uint64_t ns) {
    if (ns < kEach) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kBits;
    return (shift + 1) * kEach + ((ns >> shift) - kEach);
  }
  static std::uint64_t upper_end(std::size_t bucket) {
    if (bucket < kEach) return bucket;
    const std::uint64_t shift = bucket / kEach - 1;
    return ((kEach + bucket % kEach + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (40 - kBits + 1) * kEach> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t least_ = UINT64_MAX;
  std::uint64_t most_ = 0;
};

}  // namespace vigil::load
