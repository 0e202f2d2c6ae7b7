// Clients that take turns, one after the other at equal distances, each once an interval.
#pragma once

#include <algorithm>
#include <cstddef>

#include "base/clock.h"

namespace vigil::load {

class Ring {
 public:
  Ring() = default;
  Ring(std::size_t first, std::size_t count, base::Duration interval)
      : first_(first),
        count_(count),
        step_(std::max(base::Duration(1), count == 0 ? interval : interval / static_cast<std::int64_t>(count))) {}

  // Calls on_turn(client, due) for each turn that has come since the last call; a ring that was held up makes up for
  // it.
  template <class OnTurn>
  void turn(base::Instant time, OnTurn&& on_turn) {
    if (count_ == 0) return;
    if (next_ == base::Instant{}) next_ = time;
    for (; next_ <= time; next_ += step_) {
      on_turn(first_ + cursor_, next_);
      cursor_ = (cursor_ + 1) % count_;
    }
  }
  // When the next turn is due.
  base::Instant next() const { return count_ == 0 ? base::Instant::never() : next_; }

 private:
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  base::Duration step_{1};
  base::Instant next_;
  std::size_t cursor_ = 0;
};

}  // namespace vigil::load
