// Sessions that ended while parts of joint changes (change.h) are held back: by a shard until the other shards'
// receipts have come, by the store until the commit has. What a held change says of such a session is void: written, it
// would stay in the store for nobody.
//
//   a session's end is written        add()
//   a held change is let go           is_void(change): leave it out
//   nothing is held any more          clear()
//
// With joint changes always under way the set would only grow. prune_if_large(), called after add(), keeps only the
// sessions that a held change still names. It does nothing until the set is large, and then has doubled since last
// time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include <boost/unordered/unordered_flat_set.hpp>

#include "broker/change.h"

namespace vigil::broker {

class EndedSessions {
 public:
  static constexpr std::size_t kPruneFrom = 1'024;

  void add(const SessionKey& key) { keys_.insert(key); }
  bool empty() const { return keys_.empty(); }
  std::size_t size() const { return keys_.size(); }
  void clear() { keys_.clear(); }

  bool is_void(const Change& change) const {
    if (keys_.empty()) return false;
    const SessionKey* session = session_of(change);
    return session != nullptr && keys_.contains(*session);
  }

  // `for_each_held(f)` calls f(change) for every change that is held back.
  template <class ForEachHeld>
  void prune_if_large(ForEachHeld&& for_each_held) {
    if (keys_.size() < prune_at_) return;
    Keys named;
    for_each_held([&](const Change& change) {
      if (is_void(change)) named.insert(*session_of(change));
    });
    keys_ = std::move(named);
    prune_at_ = std::max(kPruneFrom, 2 * keys_.size());
  }

 private:
  using Keys = boost::unordered_flat_set<SessionKey, PositionHash>;
  Keys keys_;
  std::size_t prune_at_ = kPruneFrom;
};

}  // namespace vigil::broker
