// Outboxes that nobody uses at present, with the memory that they have grown to: a connection has an outbox only while
// something waits to be written, and most have nothing most of the time.
//
// Of one shard: with_outbox() takes one, wrote() gives it back once it is empty. Bounded in number and in bytes; what
// does not fit is freed.
#pragma once

#include <memory>
#include <vector>

#include "broker/connection.h"

namespace vigil::broker {

class OutboxPool {
 public:
  using Output = Connection::Output;

  static constexpr std::size_t kMostSpare = 4'096;
  static constexpr std::size_t kMostBytes = std::size_t{4} << 20U;

  // A spare one, or a new one if there is none.
  std::unique_ptr<Output> take() {
    if (spare_.empty()) return std::make_unique<Output>();
    std::unique_ptr<Output> output = std::move(spare_.back());
    spare_.pop_back();
    bytes_ -= output->memory();
    return output;
  }
  // REQUIRES: it is empty, its timer is stopped, and nothing holds it back.
  void give_back(std::unique_ptr<Output> output) {
    const std::size_t memory = output->memory();
    if (spare_.size() >= kMostSpare || bytes_ + memory > kMostBytes) return;
    bytes_ += memory;
    spare_.push_back(std::move(output));
  }

  std::size_t size() const { return spare_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<std::unique_ptr<Output>> spare_;
  std::size_t bytes_ = 0;  // what the spare ones occupy
};

}  // namespace vigil::broker
