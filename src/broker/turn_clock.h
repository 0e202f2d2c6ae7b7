// What time it is in store time (store_time.h) at an instant of the monotonic clock, and the other way round. Of one
// shard: whoever keeps the clocks calls set() about once a second and whenever store time is corrected; between two
// calls both go equally fast.
//
// Until the first set(), store time is 0 at the instant that the clock was made with.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "broker/moment.h"

namespace vigil::broker {

class TurnClock {
 public:
  explicit TurnClock(base::Instant start) : last_{start, 0} {}

  void set(std::int64_t store_ms, base::Instant now) { last_ = {now, store_ms}; }
  // As set() was told: what all else is reckoned from.
  const Moment& last() const { return last_; }

  // `at` may be earlier than last(). Rounded down to a whole millisecond.
  Moment moment(base::Instant at) const {
    return {at, last_.unix_ms + std::chrono::floor<base::milliseconds>(at - last_.at).count()};
  }
  // The same for a deadline: kNeverMs for Instant::never().
  std::int64_t store_ms(base::Instant at) const;
  // Instant::never() for kNeverMs. What is out of the monotonic clock's range becomes its first or a far instant.
  base::Instant instant(std::int64_t store_ms) const;

 private:
  Moment last_;
};

}  // namespace vigil::broker
