// How many connections are open, in the whole process and by listener: what max_connections counts.
//
// Thread-safe: shards take seats, and give them back when a connection is gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace vigil::server {

class Seats {
 public:
  explicit Seats(std::size_t listeners) : by_listener_(std::make_unique<Count[]>(listeners)) {}

  // One seat, given back when this goes. Moves with its connection from shard to shard.
  class Seat {
   public:
    Seat() = default;
    Seat(Seat&& other) noexcept : seats_(std::exchange(other.seats_, nullptr)), listener_(other.listener_) {}
    Seat& operator=(Seat&& other) noexcept {
      std::swap(seats_, other.seats_);
      std::swap(listener_, other.listener_);
      return *this;
    }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    ~Seat() {
      if (seats_ == nullptr) return;
      seats_->total_.fetch_sub(1, std::memory_order_relaxed);
      seats_->by_listener_[listener_].fetch_sub(1, std::memory_order_relaxed);
    }
    std::uint16_t listener() const { return listener_; }

   private:
    friend class Seats;
    Seat(Seats& seats, std::uint16_t listener) : seats_(&seats), listener_(listener) {}
    Seats* seats_ = nullptr;
    std::uint16_t listener_ = 0;
  };

  struct Taken {
    Seat seat;
    std::uint32_t total = 0;     // seats taken, this one included
    std::uint32_t listener = 0;  // those of its listener
  };
  // Never refused: what is too many is the caller's to judge.
  Taken take(std::uint16_t listener) {
    const std::uint32_t total = total_.fetch_add(1, std::memory_order_relaxed) + 1;
    const std::uint32_t own = by_listener_[listener].fetch_add(1, std::memory_order_relaxed) + 1;
    return {Seat(*this, listener), total, own};
  }
  std::uint32_t total() const { return total_.load(std::memory_order_relaxed); }

 private:
  using Count = std::atomic<std::uint32_t>;
  Count total_ = 0;
  std::unique_ptr<Count[]> by_listener_;
};

}  // namespace vigil::server
