// Durations collected one by one; percentiles at the end.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/clock.h"

namespace vigil::load {

class Samples {
 public:
  void add(base::Duration value) { values_.push_back(value); }
  std::size_t size() const { return values_.size(); }
  bool empty() const { return values_.empty(); }
  void clear() { values_.clear(); }

  // By nearest rank, so a value that was really measured; q from 0 to 1. Zero when there are none.
  base::Duration quantile(double q) const {
    if (values_.empty()) return {};
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values_.size())));
    std::vector<base::Duration> sorted = values_;
    const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(rank == 0 ? 0 : rank - 1);
    std::nth_element(sorted.begin(), at, sorted.end());
    return *at;
  }
  base::Duration min() const { return values_.empty() ? base::Duration{} : *std::ranges::min_element(values_); }
  base::Duration max() const { return values_.empty() ? base::Duration{} : *std::ranges::max_element(values_); }

 private:
  std::vector<base::Duration> values_;
};

}  // namespace vigil::load
