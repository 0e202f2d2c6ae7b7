// Things referred to by id: an index and a generation, so that a stale id finds nothing.
//
// Find and erase are O(1), insert nearly so. Pointers from find() live until that thing is erased. Things lie in chunks
// of 32, without a pointer and a piece of the heap for each; a chunk in which nothing is left is freed, and the first
// free slot is used again first, so that a burst of short-lived things leaves little behind. Owned by one shard; not
// thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/check.h"

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
    const std::size_t c = open_chunk();
    Chunk& chunk = *chunks_[c];
    const auto slot = static_cast<std::uint32_t>(std::countr_one(chunk.used));
    ::new (chunk.room(slot)) T(std::forward<Args>(args)...);
    chunk.used |= 1U << slot;
    if (chunk.used == kAllUsed) open_[c / 64] &= ~(std::uint64_t{1} << c % 64);
    if (++last_generation_ == kFree) last_generation_ = 1;
    chunk.generations[slot] = last_generation_;
    ++size_;
    const auto index = static_cast<std::uint32_t>(c * kChunk) + slot;
    slot_count_ = std::max(slot_count_, index + 1);
    return {index, last_generation_};
  }
  T* find(Id id) {
    if (id.index >= slot_count_) return nullptr;
    Chunk* chunk = chunks_[id.index / kChunk].get();
    const std::uint32_t slot = id.index % kChunk;
    return chunk != nullptr && chunk->generations[slot] == id.generation ? chunk->room(slot) : nullptr;
  }
  const T* find(Id id) const { return const_cast<SlotMap*>(this)->find(id); }
  T& at(Id id) {
    T* found = find(id);
    CHECK(found != nullptr);
    return *found;
  }
  // False if the id was stale already.
  bool erase(Id id) {
    T* found = find(id);
    if (found == nullptr) return false;
    const std::size_t c = id.index / kChunk;
    Chunk& chunk = *chunks_[c];
    const std::uint32_t slot = id.index % kChunk;
    chunk.generations[slot] = kFree;
    std::destroy_at(found);
    chunk.used &= ~(1U << slot);
    open_[c / 64] |= std::uint64_t{1} << c % 64;
    first_open_ = std::min(first_open_, c / 64);
    --size_;
    ++erased_;
    // One is kept, so that a thing that comes and goes does not make and free a chunk each time.
    if (chunk.used == 0) spare_ = std::move(chunks_[c]);
    return true;
  }
  // How many were erased, ever: while it stays the same, pointers from find() hold.
  std::uint64_t erased() const { return erased_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Slots ever used; a walk over all things goes by index below this (at_index).
  std::uint32_t slot_count() const { return slot_count_; }
  // The thing in a slot, with its id, or null where the slot is free.
  std::pair<Id, T*> at_index(std::uint32_t index) {
    Chunk* chunk = chunks_[index / kChunk].get();
    const std::uint32_t slot = index % kChunk;
    if (chunk == nullptr || (chunk->used >> slot & 1U) == 0) return {{}, nullptr};
    return {{index, chunk->generations[slot]}, chunk->room(slot)};
  }
  std::pair<Id, const T*> at_index(std::uint32_t index) const { return const_cast<SlotMap*>(this)->at_index(index); }
  template <class F>
  void for_each(F&& f) {
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
      if (const auto [id, thing] = at_index(i); thing != nullptr) f(id, *thing);
    }
  }

 private:
  static constexpr std::uint32_t kChunk = 32;
  static constexpr std::uint32_t kAllUsed = UINT32_MAX;
  static constexpr std::uint32_t kFree = UINT32_MAX;  // no id has this generation

  struct Chunk {
    Chunk() { generations.fill(kFree); }
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;
    ~Chunk() {
      for (; used != 0; used &= used - 1) std::destroy_at(room(static_cast<std::uint32_t>(std::countr_zero(used))));
    }
    T* room(std::uint32_t slot) { return std::launder(reinterpret_cast<T*>(bytes.data() + slot * sizeof(T))); }

    std::uint32_t used = 0;  // a bit a slot
    std::array<std::uint32_t, kChunk> generations;
    alignas(T) std::array<std::byte, kChunk * sizeof(T)> bytes;
  };

  // The first that has room, so that what is left after many have gone stays close together.
  std::size_t open_chunk() {
    while (first_open_ < open_.size() && open_[first_open_] == 0) ++first_open_;
    if (first_open_ == open_.size()) {
      CHECK(chunks_.size() < kFree / kChunk);
      if (chunks_.size() == open_.size() * 64) open_.push_back(0);
      open_[chunks_.size() / 64] |= std::uint64_t{1} << chunks_.size() % 64;
      chunks_.emplace_back();
      first_open_ = open_.size() - 1;
    }
    const std::size_t c = first_open_ * 64 + static_cast<std::size_t>(std::countr_zero(open_[first_open_]));
    if (!chunks_[c]) chunks_[c] = spare_ ? std::move(spare_) : std::make_unique<Chunk>();
    return c;
  }

  std::vector<std::unique_ptr<Chunk>> chunks_;  // null: nothing in it
  std::unique_ptr<Chunk> spare_;
  std::vector<std::uint64_t> open_;  // a bit a chunk: it has room
  std::size_t first_open_ = 0;       // no word of open_ below has any
  std::uint32_t last_generation_ = 0;
  std::uint32_t slot_count_ = 0;
  std::size_t size_ = 0;
  std::uint64_t erased_ = 0;
};

}  // namespace vigil::base

template <class Tag>
struct std::hash<vigil::base::SlotId<Tag>> {
  std::size_t operator()(const vigil::base::SlotId<Tag>& id) const { return std::hash<std::uint64_t>()(id.value()); }
};
