// At most N of something in each second: connects that are accepted, lines of one kind in the log.
//
// A second begins with the first event after the one before has passed. So two neighbouring seconds may bring 2 * N
// within less than one; whoever needs a steady rate needs another class.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::base {

class RateWindow {
 public:
  // Counts one more event. False: it is more than `most` in this second. `most` may change from call to call.
  bool admits(std::uint32_t most, Instant now) {
    if (now - start_ >= seconds(1)) {
      start_ = now;
      count_ = 0;
    }
    return ++count_ <= most;
  }

 private:
  Instant start_;
  std::uint32_t count_ = 0;
};

}  // namespace vigil::base
