// Hierarchical timing wheel: arm, move and cancel in O(1), whatever the number of timers.
//
// Resolution is one millisecond. A timer never fires early: it fires in the first advance(now) with now >= its due
// time, rounded up to a whole millisecond. Owned by one shard; not thread-safe; reads no clock.
//
// Shape: each level has 1024 slots, and its slots are 16 times as wide as those of the level below. A timer hangs in
// the lowest level that reaches it, so what one slot hands down at once is at most 1/64 of the timers armed for the
// same distance: a million sessions with one keep alive never cost one long stall. What is handed down lies within
// 1024 slots two levels lower, so each timer moves as seldom as with slots 256 times as wide. The levels reach
// 139 years; what is further off waits in the last slot of the top level and goes round again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/chunked.h"
#include "base/clock.h"
#include "base/slot_map.h"

namespace vigil::base {

struct TimerTag;
using TimerId = SlotId<TimerTag>;

// What a timer stands for; the wheel hands it back when the timer fires and does not look into it.
struct TimerOwner {
  std::uint32_t kind = 0;  // below 256
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

  // Fires what is due, in order of due millisecond (the same millisecond: in the order of arming or moving; due before
  // it was armed: as if due now), at most `limit` timers: the rest stays due, and next_due() says so. A `now` before
  // that of an earlier call counts as that one. The fired timers are gone before they are appended to `fired`,
  // so that their owners may arm new ones. Costs nothing for the time that has passed, only for timers.
  void advance(Instant now, std::vector<TimerOwner>& fired, std::size_t limit = SIZE_MAX);

  // No timer is due before this; never() when none is armed. May be earlier than the first due time (the caller then
  // advances for nothing, at most a few times a timer), never later. Costs a few bit scans after timers
  // fired or moved on, else nothing.
  Instant next_due() const {
    if (!next_known_) {
      next_due_ = find_next_due();
      next_known_ = true;
    }
    return next_due_;
  }

  std::size_t size() const { return live_; }

 private:
  static constexpr std::uint32_t kSlots = 1024;
  static constexpr unsigned kWords = kSlots / 64;
  static constexpr unsigned kLevelShift = 4;  // a level's slots are 16 times as wide as those below
  static constexpr unsigned kLevels = 9;      // 1024 slots of 2^32 ms at the top: 2^42 ms
  static constexpr std::uint32_t kDueList = kLevels * kSlots;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Node {
    std::int64_t due_ms = 0;
    std::uint64_t order = 0;  // of arming, and the owner's kind in the lowest byte
    std::uint64_t owner = 0;
    std::uint32_t next = kNone;
    std::uint32_t prev = kNone;  // of a list's first node: its last
    std::uint32_t generation = 1;
    std::uint32_t list = kNone;  // level * kSlots + slot, or kDueList; kNone when the node is free
    TimerOwner who() const { return {static_cast<std::uint32_t>(order & 0xFFU), owner}; }
  };
  using Bitmap = std::array<std::uint64_t, kWords>;

  // The first occupied slot of a level: where, and the millisecond it begins.
  struct Slot {
    unsigned level = 0;
    std::uint32_t list = kNone;
    std::int64_t begin_ms = 0;
  };
  Slot first_slot(unsigned level) const;
  Instant find_next_due() const;

  void link(std::uint32_t node);
  void append(std::uint32_t node, std::uint32_t list);
  void unlink(std::uint32_t node);
  void mark_empty(std::uint32_t list);
  void release(std::uint32_t node);
  // Hands the timers of a slot that has begun down to where they belong now.
  void cascade(std::uint32_t list);
  void sort_due_list();
  bool enter_next_slot(std::int64_t until_ms);
  Node* find(TimerId id);

  Chunked<Node, 512> nodes_;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> sorting_;
  std::uint32_t free_ = kNone;
  std::uint32_t occupied_levels_ = 0;  // a bit a level
  std::size_t live_ = 0;
  std::uint64_t sequence_ = 0;
  // What is due at or before this has fired or hangs in the due list; every slot in use begins later.
  std::int64_t now_ms_ = 0;
  // What was found last, made earlier by what was armed since; no slot in use begins before next_begin_ms_.
  mutable Instant next_due_;
  mutable std::int64_t next_begin_ms_ = 0;
  mutable bool next_known_ = false;
  std::array<std::uint32_t, kDueList + 1> heads_;
  std::array<Bitmap, kLevels> occupied_{};
};

}  // namespace vigil::base
