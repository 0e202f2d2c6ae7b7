// Mail between shards: many producers put items in, one consumer takes all of them out.
//
// The only thing of two shards that is shared, so the only one here that is thread-safe. Items cross by move; one short
// lock a batch, none an item, and none for a consumer that finds nothing.
//
// Nothing is ever refused: what one shard owes another (an acknowledgement, a message that was accepted) must not be
// lost. The bound is the producers' duty: they ask size() and stop taking input from the network while it is too high.
//
// Waking: the consumer says when it goes to sleep, and a producer learns from push() whether it is the one to wake it.
// While the consumer is awake, or somebody was told to wake it, no further wake-up (a system call) is asked for:
//
//   consumer:  if (mail.prepare_sleep()) { wait } ; mail.awake(); mail.drain(in); ...
//   producer:  if (mail.push(batch)) notify the consumer
#pragma once

#include <atomic>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

namespace vigil::base {

template <class T>
class Mailbox {
 public:
  // Any thread. Moves the batch in, behind what is there and in its order, and leaves it empty. True if the caller must
  // now wake the consumer.
  [[nodiscard]] bool push(std::vector<T>& batch) {
    if (batch.empty()) return false;
    {
      const std::lock_guard lock(mutex_);
      if (items_.empty()) {
        items_.swap(batch);
      } else {
        items_.insert(items_.end(), std::make_move_iterator(batch.begin()), std::make_move_iterator(batch.end()));
        batch.clear();
      }
      size_.store(items_.size());
    }
    // Sequentially consistent, as in prepare_sleep(): one of the two sees what the other has done.
    return asleep_.load() && asleep_.exchange(false);
  }

  // The consumer. Replaces `out` by all the mail there is; false if there is none. The room of `out` is used for the
  // mail to come, so the same vector should be handed in each time.
  bool drain(std::vector<T>& out) {
    out.clear();
    if (size() == 0) return false;
    const std::lock_guard lock(mutex_);
    items_.swap(out);
    size_.store(0, std::memory_order_relaxed);
    return !out.empty();
  }

  // The consumer, before it waits. False, and then it must not wait, if there is mail. After true, exactly one push is
  // told to wake it.
  [[nodiscard]] bool prepare_sleep() {
    asleep_.store(true);
    if (size_.load() == 0) return true;
    asleep_.store(false);
    return false;
  }

  // The consumer, after it waited, for whatever reason it came back.
  void awake() {
    if (asleep_.load(std::memory_order_relaxed)) asleep_.store(false, std::memory_order_relaxed);
  }

  // Any thread: how many items wait, as of a moment ago.
  std::size_t size() const { return size_.load(std::memory_order_acquire); }

 private:
  std::mutex mutex_;
  std::vector<T> items_;
  std::atomic<bool> asleep_ = false;
  std::atomic<std::size_t> size_ = 0;
};

}  // namespace vigil::base
