// Acknowledgements that a connection owes, in the order of the packets they answer [MQTT-4.6.0-2, -3]. One that waits
// (for other shards to take the message, for the store to have it) holds back those behind it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/compact.h"
#include "broker/outcome.h"
#include "mqtt/packet.h"

namespace vigil::broker {

class AckQueue {
 public:
  struct Entry {
    mqtt::PacketType type = mqtt::PacketType::PubAck;
    mqtt::PacketId packet_id = 0;
    mqtt::ReasonCode reason = mqtt::ReasonCode::Success;
    std::uint32_t waiting = 0;  // receivers that have not answered
    Outcome outcome = Outcome::NoSubscriber;
    bool given_back = false;  // a PUBREC that refuses: its identifier is free again
    std::uint64_t needs = 0;  // the batch that must be stored before; 0: none
  };

  bool empty() const { return !entries_ || entries_->empty(); }
  std::size_t size() const { return entries_ ? entries_->size() : 0; }
  // The sequence number that the next entry gets: the token for its receipts.
  std::uint32_t next_sequence() const { return first_ + static_cast<std::uint32_t>(size()); }
  void push(const Entry& entry) {
    if (!entries_) entries_ = std::make_unique<base::CompactQueue<Entry>>();
    entries_->push_back(entry);
    if (entry.type == mqtt::PacketType::PubAck) ++pubacks_;
  }
  // Nothing waits and neither does this one: it leaves at once, and only its number is used up.
  void pass() { ++first_; }
  // QoS 1 messages received and not acknowledged yet.
  std::size_t pubacks() const { return pubacks_; }

  // A receiver has answered; `reason` is a failure, or Success. Unknown sequences are ignored.
  void receipt(std::uint32_t sequence, Outcome outcome, mqtt::ReasonCode reason = mqtt::ReasonCode::Success) {
    const std::uint32_t i = sequence - first_;
    if (i >= size()) return;
    Entry& entry = (*entries_)[i];
    if (entry.waiting == 0) return;
    --entry.waiting;
    entry.outcome = best(entry.outcome, outcome);
    if (reason != mqtt::ReasonCode::Success) entry.reason = reason;
  }
  // The next acknowledgement that may leave now that all batches up to `stored` are written, or null. It stays in the
  // queue, and may be made to wait again, until pop().
  Entry* ready(std::uint64_t stored) {
    if (empty() || entries_->front().waiting > 0 || entries_->front().needs > stored) return nullptr;
    return &entries_->front();
  }
  // REQUIRES: not empty.
  Entry pop() {
    const Entry entry = entries_->front();
    entries_->pop_front();
    ++first_;
    if (entry.type == mqtt::PacketType::PubAck) --pubacks_;
    return entry;
  }

 private:
  std::unique_ptr<base::CompactQueue<Entry>> entries_;  // null until something had to wait
  std::uint32_t pubacks_ = 0;
  std::uint32_t first_ = 0;  // sequence number of the front; wraps
};

}  // namespace vigil::broker
