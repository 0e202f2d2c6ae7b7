// Hierarchical timing wheel: arm, move and cancel in O(1), whatever the number of timers.
//
// Resolution is one millisecond. A timer never fires early: it fires in the first advance(now) with now >= its due time, rounded up to
// a whole millisecond. Owned by one shard; not thread-safe; reads no clock.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/slot_map.h"

namespace vigil::base {

struct TimerTag;
using TimerId = SlotId<TimerTag>;

// What a timer stands for; the wheel hands it back when the timer fires and does not look into it.
struct TimerOwner {
  std::uint32_t kind = 0;
  std::uint64_t id = 0;

  bool operator==(const TimerOwner&) const = default;
};

class TimerWheel {
 public:
  explicit TimerWheel(Instant start);

  // The timer fires once, at `due` or in the next advance() if that has passed, and is then gone.
  TimerId arm(Instant due, TimerOwner owner);
  // Moves an armed timer; false if it has fired or was cancelled.
  bool move(TimerId id, Instant due);
  // False if it has fired or was cancelled.
  bool cancel(TimerId id);

  // Fires what is due, in order of due millisecond, at most `limit` timers: the rest stays due, and next_due() says so.
  // The fired timers are gone before they are appended to `fired`, so that their owners may arm new ones.
  void advance(Instant now, std::vector<TimerOwner>& fired, std::size_t limit = SIZE_MAX);

  // No timer is due before this; never() when none is armed. May be earlier than the first due time (the caller then advances for nothing),
  // never later. Costs a few bit scans.
  Instant next_due() const;

  std::size_t size() const { return live_; }

 private:
  static constexpr unsigned kBits = 8;
  static constexpr std::uint32_t kSlots = 1U << kBits;
  static constexpr unsigned kLevels = 5;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Node {
    std::int64_t due_ms = 0;
    TimerOwner owner;
    std::uint32_t next = kNone;
    std::uint32_t prev = kNone;
    std::uint32_t generation = 1;
    // Level * kSlots + slot of the list it hangs in; kNone when the node is free.
    std::uint32_t list = kNone;
  };

  void link(std::uint32_t node);
  void unlink(std::uint32_t node);
  void release(std::uint32_t node);
  void cascade(unsigned level);
  Node* find(TimerId id);

  std::vector<Node> nodes_;
  std::uint32_t free_ = kNone;
  std::size_t live_ = 0;
  std::int64_t now_ms_ = 0;  // everything due at or before this millisecond has fired
  std::array<std::uint32_t, std::size_t{kLevels} * kSlots> heads_;
  std::array<std::array<std::uint64_t, kSlots / 64>, kLevels> occupied_{};
};

}  // namespace vigil::base
