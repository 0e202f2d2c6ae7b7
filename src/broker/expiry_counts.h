// How many of the messages that wait in one queue have expired by a given moment, without a look at them: a queue that
// is full of expired messages still has room.
//
// Bounded: expiries are gathered at up to kMost moments, each at the latest of those it stands for. So a message is
// never counted as expired before it is; it may be counted somewhat late.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "base/compact.h"

namespace vigil::broker {

class ExpiryCounts {
 public:
  static constexpr std::size_t kMost = 32;

  struct Sum {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    bool operator==(const Sum&) const = default;
  };

  bool empty() const { return moments_.empty(); }
  // When the first of them expires; never if there is none.
  base::Instant earliest() const { return empty() ? base::Instant::never() : moments_.front().at; }

  // A message that expires joined the queue. One that never does is not counted.
  void add(base::Instant expires, std::uint64_t bytes) {
    if (expires.is_never()) return;
    auto at = std::ranges::lower_bound(moments_, expires, {}, &Moment::at);
    if (at == moments_.end() || at->at != expires) at = moments_.insert(at, Moment{.at = expires, .sum = {}});
    ++at->sum.messages;
    at->sum.bytes += bytes;
    if (moments_.size() > kMost) merge_cheapest();
  }
  // It left. The same values as when it was added.
  void remove(base::Instant expires, std::uint64_t bytes) {
    if (expires.is_never() || empty()) return;
    auto at = std::ranges::lower_bound(moments_, expires, {}, &Moment::at);
    // Its moment may have been merged into another one. Totals stay right.
    if (at == moments_.end()) --at;
    take(at, 1, bytes);
  }
  // This many of those that expire first left.
  void remove_first(std::uint64_t messages, std::uint64_t bytes) {
    while (messages > 0 && !empty()) {
      const std::uint64_t now = std::min(messages, moments_.front().sum.messages);
      const std::uint64_t their_bytes = std::min(bytes, moments_.front().sum.bytes);
      take(moments_.begin(), now, their_bytes);
      messages -= now;
      bytes -= their_bytes;
    }
  }
  void clear() { moments_.clear(); }

  Sum expired(base::Instant now) const {
    Sum sum;
    for (const Moment& moment : moments_) {
      if (moment.at > now) break;
      sum.messages += moment.sum.messages;
      sum.bytes += moment.sum.bytes;
    }
    return sum;
  }

 private:
  struct Moment {
    base::Instant at;
    Sum sum;
  };
  using Moments = base::CompactVector<Moment>;

  void take(Moments::iterator at, std::uint64_t messages, std::uint64_t bytes) {
    at->sum.messages -= std::min(messages, at->sum.messages);
    // Where moments have been merged, some of the bytes may be counted with a later one.
    for (auto from = at; bytes > 0 && from != moments_.end(); ++from) {
      const std::uint64_t here = std::min(bytes, from->sum.bytes);
      from->sum.bytes -= here;
      bytes -= here;
    }
    if (at->sum.messages > 0) return;
    const std::uint64_t rest = at->sum.bytes;
    const auto next = moments_.erase(at);
    if (next != moments_.end()) next->sum.bytes += rest;
  }
  // Two neighbours become one, at the later moment: those that make the fewest messages late for the shortest time. In
  // a steady stream the moments so stay spread over all of it.
  void merge_cheapest() {
    const auto cost = [](Moments::iterator at) {
      return static_cast<double>(at->sum.messages) * static_cast<double>(((at + 1)->at - at->at).count());
    };
    auto cheapest = moments_.begin();
    double least = cost(cheapest);
    for (auto at = cheapest + 1; at + 1 != moments_.end(); ++at) {
      if (const double its = cost(at); its < least) {
        cheapest = at;
        least = its;
      }
    }
    (cheapest + 1)->sum.messages += cheapest->sum.messages;
    (cheapest + 1)->sum.bytes += cheapest->sum.bytes;
    moments_.erase(cheapest);
  }

  Moments moments_;  // by time
};

}  // namespace vigil::broker
