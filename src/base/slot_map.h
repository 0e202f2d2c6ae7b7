// Things referred to by id: an index and a generation, so that a stale id finds nothing.
//
// Insert, find and erase are O(1). Pointers from find() live until that thing is erased. A slot is 16 bytes; what was
// in it is freed with erase(), so that a burst of short-lived things leaves little behind. Owned by one shard; not
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/chunked.h"

namespace vigil::base {

// An id of its own type for each kind of thing; Tag keeps them apart. The default id finds nothing.
template <class Tag>
struct SlotId {
  std::uint32_t index = UINT32_MAX;
  std::uint32_t generation = 0;

  bool operator==(const SlotId&) const = default;
  explicit operator bool() const { return index != UINT32_MAX; }
  std::uint64_t value() const { return (std::uint64_t{generation} << 32U) | index; }
  static SlotId from_value(std::uint64_t value) {
    return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32U)};
  }
};

template <class T, class Tag>
class SlotMap {
 public:
  using Id = SlotId<Tag>;

  template <class... Args>
  Id emplace(Args&&... args) {
    std::uint32_t index = free_;
    if (index != kNone) {
      free_ = slots_[index].next_free;
    } else {
      CHECK(slots_.size() < kNone);
      index = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    }
    Slot& slot = slots_[index];
    slot.value = std::make_unique<T>(std::forward<Args>(args)...);
    ++size_;
    return {index, slot.generation};
  }
  T* find(Id id) {
    if (id.index >= slots_.size()) return nullptr;
    Slot& slot = slots_[id.index];
    return slot.generation == id.generation ? slot.value.get() : nullptr;
  }
  const T* find(Id id) const { return const_cast<SlotMap*>(this)->find(id); }
  T& at(Id id) {
    T* found = find(id);
    CHECK(found != nullptr);
    return *found;
  }
  // False if the id was stale already.
  bool erase(Id id) {
    if (find(id) == nullptr) return false;
    Slot& slot = slots_[id.index];
    slot.value.reset();
    ++slot.generation;
    slot.next_free = free_;
    free_ = id.index;
    --size_;
    return true;
  }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Slots ever used; a walk over all things goes by index below this (at_index).
  std::uint32_t slot_count() const { return static_cast<std::uint32_t>(slots_.size()); }
  // The thing in a slot, with its id, or null where the slot is free.
  std::pair<Id, T*> at_index(std::uint32_t index) {
    Slot& slot = slots_[index];
    return {{index, slot.generation}, slot.value.get()};
  }
  std::pair<Id, const T*> at_index(std::uint32_t index) const { return const_cast<SlotMap*>(this)->at_index(index); }
  template <class F>
  void for_each(F&& f) {
    for (std::uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].value) f(Id{i, slots_[i].generation}, *slots_[i].value);
    }
  }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Slot {
    std::unique_ptr<T> value;
    std::uint32_t generation = 1;
    std::uint32_t next_free = kNone;
  };
  Chunked<Slot, 512> slots_;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace vigil::base

template <class Tag>
struct std::hash<vigil::base::SlotId<Tag>> {
  std::size_t operator()(const vigil::base::SlotId<Tag>& id) const { return std::hash<std::uint64_t>()(id.value()); }
};
