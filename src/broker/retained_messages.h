// The retained messages of the broker: the last message of each topic, for those who subscribe later.
//
// Every shard has an index of all of them, so that a subscription is served without asking other shards. Shards hear of
// messages in different orders; the message with the highest position wins on each of them. A deleted message is
// remembered for a while as a tombstone, so that an older one that is still under way from another shard does not come
// back.
//
// The owner (Shard) calls keep() for each message with RETAIN, in any order, restore() for what the store held at the
// start, and expired() when the wheel fires a timer of the kind that it gave. The answers say what is to be stored and
// logged: this class knows neither the store, nor sessions, nor the log.
//
// What is published by the broker itself ($SYS, access.h) is kept like any other message, but counts for nothing: not
// for the bounds, and not for count() and bytes().
//
// Costs: keep() and expired() take time in proportion to the levels of the topic, and O(1) in the timing wheel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/slot_map.h"
#include "base/timer_wheel.h"
#include "broker/message.h"
#include "topics/retained_tree.h"

namespace vigil::broker {

class RetainedMessages {
 public:
  // How much clients may have retained, on the whole broker: every shard counts the same messages.
  struct Bounds {
    std::size_t messages = SIZE_MAX;
    std::size_t bytes = SIZE_MAX;  // as Message::size() counts
  };
  struct Setup {
    base::TimerWheel& wheel;  // outlives this object
    std::uint32_t timer_kind = 0;
    unsigned shards = 1;  // of the broker; a single one needs no tombstones
    Bounds bounds;
  };
  // Tombstones that are kept at once. Beyond these bounds a deleted message is not remembered.
  static constexpr std::size_t kMostTombstones = 10'000;
  static constexpr std::size_t kMostTombstoneBytes = std::size_t{1} << 20U;
  static constexpr base::Duration kTombstoneLife = base::seconds(5);
  static constexpr base::Duration kFullLoggedEvery = base::seconds(10);

  explicit RetainedMessages(const Setup& setup)
      : wheel_(setup.wheel), timer_kind_(setup.timer_kind), shards_(setup.shards), bounds_(setup.bounds) {}
  // What is there stays, even if it is more.
  void set_bounds(Bounds bounds) { bounds_ = bounds; }

  enum class What {
    Kept,       // the message is what its topic retains now
    Deleted,    // its payload is empty: the topic retains nothing now [MQTT-3.3.1-6]
    DidNotFit,  // it exceeds the bounds: the topic retains nothing now, as the old message is no longer true
    Older,      // nothing was done: a newer message is there, or was deleted
  };
  struct Answer {
    What what = What::Kept;
    bool was_there = false;  // the topic retained a message, which has been replaced or deleted
  };
  // REQUIRES: message->retain().
  Answer keep(const MessagePtr& message, base::Instant now);

  // Puts a message back that the store held, whatever the bounds are. REQUIRES: called at the start, before keep().
  void restore(const MessagePtr& message) { put(tree_.find(message->topic()), message); }

  // A timer with this id fired. The topic, if its message has expired and is gone; nothing if it was a tombstone.
  std::optional<std::string> expired(std::uint64_t timer_id, base::Instant now);

  // Deletes what the broker itself has published, without tombstones.
  void forget_brokers_own();

  // Calls f(const MessagePtr&) for each message whose topic the filter (valid, not shared) matches, except for those
  // that have expired; in the order of RetainedTree. `f` must not change this object. Returns how many topics were
  // looked at.
  template <class F>
  std::size_t for_each_match(std::string_view filter, base::Instant now, F&& f) {
    std::size_t looked_at = 0;
    tree_.for_each_match(filter, [&](std::string_view /*topic*/, Entry& entry) {
      ++looked_at;
      if (entry.message && !entry.message->expired(now)) f(entry.message);
    });
    return looked_at;
  }

  // No topic has a message or a tombstone.
  bool empty() const { return tree_.size() == 0; }
  // Messages of clients, and their bytes.
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return bytes_; }

  // Whether the log is to say now that a message did not fit: once in a while, however many do not.
  bool may_log_full(base::Instant now);

 private:
  struct TimerTag;
  struct Entry {
    MessagePtr message;  // null: a tombstone
    Position position;
    base::TimerId timer;
    base::SlotId<TimerTag> timer_slot;
    std::size_t tombstone = 0;  // bytes that a tombstone counts for
  };
  bool fits(const Message& message, const Entry* replaced) const;
  void put(Entry* entry, const MessagePtr& message);
  void arm(Entry& entry, std::string_view topic, base::Instant due);
  void clear(Entry& entry);

  base::TimerWheel& wheel_;
  std::uint32_t timer_kind_;
  unsigned shards_;
  Bounds bounds_;
  topics::RetainedTree<Entry> tree_;
  base::SlotMap<std::string, TimerTag> timers_;  // topics, by the id that the wheel hands back
  std::size_t count_ = 0;                        // messages of clients
  std::size_t bytes_ = 0;
  std::size_t tombstones_ = 0;
  std::size_t tombstone_bytes_ = 0;
  base::Instant full_logged_;
};

}  // namespace vigil::broker
