// Remembers what repeated topics matched, so that a topic published again costs one hash and one comparison.
//
// Two-way set associative with a bound on topics and on bytes; an entry of another generation of the tree counts as
// empty, so that a change of the tree costs nothing here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vigil::topics {

template <class Value>
class MatchCache {
 public:
  static constexpr std::size_t kMaxTopics = 4096;
  static constexpr std::size_t kMaxBytes = std::size_t{2} << 20U;  // of topics and matches, beyond the slots themselves
  static constexpr std::size_t kMaxTopicLength = 512;
  static constexpr std::size_t kMaxMatches = 1024;

  // Null when the topic is not known at this generation. Valid until the next call of put.
  const std::vector<Value*>* find(std::uint64_t hash, std::string_view topic, std::uint64_t generation) {
    if (slots_.empty()) return nullptr;
    const std::size_t first = set_of(hash);
    for (std::size_t at = first; at < first + 2; ++at) {
      Slot& slot = slots_[at];
      if (slot.hash == hash && slot.generation == generation && slot.topic == topic) {
        slots_[first].recent = slots_[first + 1].recent = false;
        slot.recent = true;
        return &slot.matches;
      }
    }
    return nullptr;
  }

  // What a topic that find does not know matches at a generation (never 0).
  void put(std::uint64_t hash, std::string_view topic, std::uint64_t generation, const std::vector<Value*>& matches) {
    if (topic.size() > kMaxTopicLength || matches.size() > kMaxMatches) return;
    if (slots_.empty()) reset(kFewTopics);
    const std::size_t first = set_of(hash);
    Slot* slot = &slots_[first];
    if (slot->generation == generation) {
      Slot* other = &slots_[first + 1];
      if (other->generation == generation && ++evictions_ > slots_.size() / 4 && slots_.size() < kMaxTopics) {
        reset(slots_.size() * 2);
        put(hash, topic, generation, matches);
        return;
      }
      if (other->generation != generation || slot->recent) std::swap(slot, other);
    }
    bytes_ -= slot->bytes();
    slot->hash = hash;
    slot->generation = generation;
    slot->topic = topic;
    slot->matches = matches;
    slot->recent = false;
    bytes_ += slot->bytes();
    if (bytes_ > kMaxBytes) reset(slots_.size());
  }

  // Of topics and matches, as bounded by kMaxBytes.
  std::size_t bytes() const { return bytes_; }
  // Places for topics, taken or free.
  std::size_t capacity() const { return slots_.size(); }

 private:
  static constexpr std::size_t kFewTopics = 64;

  struct Slot {
    std::uint64_t hash = 0;
    std::uint64_t generation = 0;
    std::string topic;
    std::vector<Value*> matches;
    bool recent = false;
    std::size_t bytes() const { return topic.capacity() + matches.capacity() * sizeof(Value*); }
  };

  std::size_t set_of(std::uint64_t hash) const { return hash & (slots_.size() - 1) & ~std::size_t{1}; }

  void reset(std::size_t slots) {
    slots_ = std::vector<Slot>(slots);
    bytes_ = slots * Slot().bytes();
    evictions_ = 0;
  }

  std::vector<Slot> slots_;  // a power of two, or none before the first use
  std::size_t bytes_ = 0;
  std::size_t evictions_ = 0;
};

}  // namespace vigil::topics
