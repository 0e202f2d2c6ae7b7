// Whether this node may still answer for its clients. Asked before a CONNECT is accepted; a single node always may.
#pragma once

#include "base/clock.h"

namespace vigil::broker {

class Fence {
 public:
  virtual ~Fence() = default;
  // Called on any shard's thread; must not block.
  virtual bool may_serve(base::Instant now) const = 0;
};

}  // namespace vigil::broker
