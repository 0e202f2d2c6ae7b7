#include "base/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace vigil::base {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;

std::int64_t floor_ms(Instant t) { return t.ns() / kNsPerMs - (t.ns() % kNsPerMs < 0 ? 1 : 0); }
std::int64_t ceil_ms(Instant t) { return t.ns() / kNsPerMs + (t.ns() % kNsPerMs > 0 ? 1 : 0); }
Instant from_ms(std::int64_t ms) {
  return ms > INT64_MAX / kNsPerMs ? Instant::never() : Instant::from_ns(ms * kNsPerMs);
}

}  // namespace

TimerWheel::TimerWheel(Instant start) : now_ms_(floor_ms(start)) { heads_.fill(kNone); }

TimerId TimerWheel::arm(Instant due, TimerOwner owner) {
  std::uint32_t index = free_;
  if (index != kNone) {
    free_ = nodes_[index].next;
  } else {
    CHECK(nodes_.size() < kNone);
    index = static_cast<std::uint32_t>(nodes_.size());
    nodes_.emplace_back();
  }
  Node& node = nodes_[index];
  CHECK(owner.kind < 256);
  node.due_ms = ceil_ms(due);
  node.owner = owner.id;
  node.order = sequence_++ << 8U | owner.kind;
  link(index);
  ++live_;
  return {index, node.generation};
}

bool TimerWheel::move(TimerId id, Instant due) {
  Node* node = find(id);
  if (node == nullptr) return false;
  unlink(id.index);
  node->due_ms = ceil_ms(due);
  node->order = sequence_++ << 8U | (node->order & 0xFFU);
  link(id.index);
  return true;
}

bool TimerWheel::cancel(TimerId id) {
  if (find(id) == nullptr) return false;
  unlink(id.index);
  release(id.index);
  return true;
}

void TimerWheel::advance(Instant now, std::vector<TimerOwner>& fired, std::size_t limit) {
  const std::int64_t until_ms = std::max(floor_ms(now), now_ms_);
  if (next_known_ && until_ms < next_begin_ms_) {
    now_ms_ = until_ms;
    return;
  }
  next_known_ = false;
  do {
    while (heads_[kDueList] != kNone) {
      if (limit-- == 0) return;
      const std::uint32_t index = heads_[kDueList];
      fired.push_back(nodes_[index].who());
      unlink(index);
      release(index);
    }
  } while (enter_next_slot(until_ms));
}

Instant TimerWheel::find_next_due() const {
  next_begin_ms_ = now_ms_;
  if (heads_[kDueList] != kNone) return from_ms(now_ms_);
  std::int64_t first = INT64_MAX;
  next_begin_ms_ = INT64_MAX;
  for (std::uint32_t levels = occupied_levels_; levels != 0; levels &= levels - 1) {
    const Slot slot = first_slot(static_cast<unsigned>(std::countr_zero(levels)));
    const unsigned shift = slot.level * kLevelShift;
    const Node& head = nodes_[heads_[slot.list]];
    // A timer alone in its slot is known exactly, unless it is only parked there for being out of reach.
    const bool exact = head.next == kNone && head.due_ms >> shift == slot.begin_ms >> shift;
    first = std::min(first, exact ? head.due_ms : slot.begin_ms);
    next_begin_ms_ = std::min(next_begin_ms_, slot.begin_ms);
  }
  return from_ms(first);
}

// Moves on to the next slot in use that begins by `until_ms`; false, standing at `until_ms`, if there is none.
bool TimerWheel::enter_next_slot(std::int64_t until_ms) {
  std::int64_t begin_ms = INT64_MAX;
  std::array<std::uint32_t, kLevels> lists;
  unsigned count = 0;
  for (std::uint32_t levels = occupied_levels_; levels != 0; levels &= levels - 1) {
    const Slot slot = first_slot(static_cast<unsigned>(std::countr_zero(levels)));
    if (slot.begin_ms > until_ms || slot.begin_ms > begin_ms) continue;
    if (slot.begin_ms < begin_ms) count = 0;
    begin_ms = slot.begin_ms;
    lists[count++] = slot.list;
  }
  if (count == 0) {
    now_ms_ = until_ms;
    return false;
  }
  now_ms_ = begin_ms;
  for (unsigned i = 0; i < count; ++i) cascade(lists[i]);
  sort_due_list();
  return true;
}

TimerWheel::Slot TimerWheel::first_slot(unsigned level) const {
  const Bitmap& map = occupied_[level];
  const std::int64_t current = now_ms_ >> (level * kLevelShift);
  // Slots in use lie 1 to 1023 after the current one, round the ring.
  const auto start = static_cast<std::uint32_t>(current + 1) % kSlots;
  std::uint32_t word = start / 64;
  std::uint64_t bits = map[word] & (~std::uint64_t{0} << (start % 64));
  for (unsigned i = 0; bits == 0; ++i) {
    CHECK(i < kWords);
    word = (word + 1) % kWords;
    bits = map[word];
  }
  const std::uint32_t slot = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
  const std::int64_t ahead = 1 + (slot - start) % kSlots;
  return {level, level * kSlots + slot, (current + ahead) << (level * kLevelShift)};
}

void TimerWheel::cascade(std::uint32_t list) {
  std::uint32_t index = heads_[list];
  heads_[list] = kNone;
  mark_empty(list);
  while (index != kNone) {
    const std::uint32_t next = nodes_[index].next;
    link(index);
    index = next;
  }
}

// Timers of one millisecond may come together from several levels.
void TimerWheel::sort_due_list() {
  bool sorted = true;
  sorting_.clear();
  for (std::uint32_t i = heads_[kDueList]; i != kNone; i = nodes_[i].next) {
    sorted = sorted && (sorting_.empty() || sorting_.back().first < nodes_[i].order);
    sorting_.emplace_back(nodes_[i].order, i);
  }
  if (sorted) return;
  std::ranges::sort(sorting_);
  heads_[kDueList] = kNone;
  for (const auto& [order, index] : sorting_) append(index, kDueList);
}

void TimerWheel::link(std::uint32_t index) {
  const std::int64_t due_ms = nodes_[index].due_ms;
  next_due_ = std::min(next_due_, from_ms(std::max(due_ms, now_ms_)));
  if (due_ms <= now_ms_) {
    next_begin_ms_ = std::min(next_begin_ms_, now_ms_);
    return append(index, kDueList);
  }
  for (unsigned level = 0;; ++level) {
    const unsigned shift = level * kLevelShift;
    const std::int64_t current = now_ms_ >> shift;
    std::int64_t slot = due_ms >> shift;
    if (slot - current >= kSlots) {
      if (level + 1 < kLevels) continue;
      slot = current + kSlots - 1;
    }
    next_begin_ms_ = std::min(next_begin_ms_, slot << shift);
    const auto in_ring = static_cast<std::uint32_t>(slot) % kSlots;
    occupied_[level][in_ring / 64] |= std::uint64_t{1} << (in_ring % 64);
    occupied_levels_ |= 1U << level;
    return append(index, level * kSlots + in_ring);
  }
}

void TimerWheel::append(std::uint32_t index, std::uint32_t list) {
  Node& node = nodes_[index];
  node.list = list;
  node.next = kNone;
  const std::uint32_t head = heads_[list];
  if (head == kNone) {
    heads_[list] = index;
    node.prev = index;
    return;
  }
  node.prev = nodes_[head].prev;
  nodes_[node.prev].next = index;
  nodes_[head].prev = index;
}

void TimerWheel::unlink(std::uint32_t index) {
  const Node& node = nodes_[index];
  std::uint32_t& head = heads_[node.list];
  if (head == index) {
    head = node.next;
  } else {
    nodes_[node.prev].next = node.next;
  }
  if (node.next != kNone) {
    nodes_[node.next].prev = node.prev;
  } else if (head != kNone) {
    nodes_[head].prev = node.prev;
  }
  if (head == kNone && node.list != kDueList) mark_empty(node.list);
}

void TimerWheel::mark_empty(std::uint32_t list) {
  const unsigned level = list / kSlots;
  Bitmap& map = occupied_[level];
  map[list % kSlots / 64] &= ~(std::uint64_t{1} << (list % 64));
  if (std::ranges::all_of(map, [](std::uint64_t word) { return word == 0; })) occupied_levels_ &= ~(1U << level);
}

void TimerWheel::release(std::uint32_t index) {
  Node& node = nodes_[index];
  ++node.generation;
  node.list = kNone;
  node.next = free_;
  free_ = index;
  if (--live_ == 0) next_known_ = false;
}

TimerWheel::Node* TimerWheel::find(TimerId id) {
  if (id.index >= nodes_.size()) return nullptr;
  Node& node = nodes_[id.index];
  return node.generation == id.generation && node.list != kNone ? &node : nullptr;
}

}  // namespace vigil::base
