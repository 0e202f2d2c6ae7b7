// How many queue entries refer to each message that is stored once for several of them. In memory only: the queues
// themselves say it, and are read when the broker starts.
#pragma once

#include <cstdint>

#include <boost/unordered/unordered_flat_map.hpp>

#include "broker/ids.h"

namespace vigil::store {

using broker::PositionHash;

class References {
 public:
  bool contains(const broker::Position& message) const { return counts_.contains(message); }
  // True if these are the first ones.
  bool add(const broker::Position& message, std::uint32_t entries = 1) {
    std::uint32_t& count = counts_[message];
    count += entries;
    return count == entries;
  }
  // True if this was the last one: the message is to be deleted.
  bool drop(const broker::Position& message) {
    const auto it = counts_.find(message);
    if (it == counts_.end() || --it->second > 0) return false;
    counts_.erase(it);
    return true;
  }
  // Messages that are referred to.
  std::size_t size() const { return counts_.size(); }

 private:
  boost::unordered_flat_map<broker::Position, std::uint32_t, PositionHash> counts_;
};

}  // namespace vigil::store
