// How many connections are open, in the whole process and by listener: what max_connections counts.
//
// A connection that the broker has ended and only reads on (Lingering) has given its seat back: it keeps no client out.
// It is counted apart, because it is an open file still.
//
// Thread-safe: shards take seats, and give them back when a connection is gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace vigil::net {

class Seats {
  using Count = std::atomic<std::uint32_t>;
  struct Row {
    Seats* all = nullptr;
    Count taken = 0;
    std::uint16_t listener = 0;
  };

 public:
  explicit Seats(std::size_t listeners) : rows_(std::make_unique<Row[]>(listeners)) {
    for (std::size_t i = 0; i < listeners; ++i) {
      rows_[i].all = this;
      rows_[i].listener = static_cast<std::uint16_t>(i);
    }
  }
  Seats(const Seats&) = delete;
  Seats& operator=(const Seats&) = delete;

  // One seat, given back when this goes. Moves with its connection from shard to shard.
  class Seat {
   public:
    Seat() = default;
    Seat(Seat&& other) noexcept : row_(std::exchange(other.row_, nullptr)) {}
    Seat& operator=(Seat&& other) noexcept {
      std::swap(row_, other.row_);
      return *this;
    }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    ~Seat() {
      if (row_ == nullptr) return;
      row_->all->total_.fetch_sub(1, std::memory_order_relaxed);
      row_->taken.fetch_sub(1, std::memory_order_relaxed);
    }
    std::uint16_t listener() const { return row_->listener; }

   private:
    friend class Seats;
    explicit Seat(Row& row) : row_(&row) {}
    Row* row_ = nullptr;
  };

  // The place of a connection that has been ended and is read on for a moment.
  class Lingerer {
   public:
    Lingerer() = default;
    Lingerer(Lingerer&& other) noexcept : all_(std::exchange(other.all_, nullptr)) {}
    Lingerer& operator=(Lingerer&& other) noexcept {
      std::swap(all_, other.all_);
      return *this;
    }
    Lingerer(const Lingerer&) = delete;
    Lingerer& operator=(const Lingerer&) = delete;
    ~Lingerer() {
      if (all_ != nullptr) all_->lingering_.fetch_sub(1, std::memory_order_relaxed);
    }

   private:
    friend class Seats;
    explicit Lingerer(Seats& all) : all_(&all) {}
    Seats* all_ = nullptr;
  };

  struct Taken {
    Seat seat;
    std::uint32_t total = 0;     // seats taken, this one included
    std::uint32_t listener = 0;  // those of its listener
  };
  // Never refused: what is too many is the caller's to judge.
  Taken take(std::uint16_t listener) {
    const std::uint32_t total = total_.fetch_add(1, std::memory_order_relaxed) + 1;
    Row& row = rows_[listener];
    const std::uint32_t own = row.taken.fetch_add(1, std::memory_order_relaxed) + 1;
    return {Seat(row), total, own};
  }
  // Gives the seat back.
  Lingerer linger(Seat seat) {
    lingering_.fetch_add(1, std::memory_order_relaxed);
    static_cast<void>(std::exchange(seat, Seat()));
    return Lingerer(*this);
  }
  std::uint32_t lingering() const { return lingering_.load(std::memory_order_relaxed); }
  // Sockets of clients, ended ones included.
  std::uint64_t open_files() const { return std::uint64_t{total()} + lingering(); }
  std::uint32_t total() const { return total_.load(std::memory_order_relaxed); }

 private:
  Count total_ = 0;
  Count lingering_ = 0;
  std::unique_ptr<Row[]> rows_;
};

}  // namespace vigil::net
