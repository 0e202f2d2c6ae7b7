// QoS 1 and 2 messages on their way to one client, oldest first, until they are acknowledged (4.3, 4.4).
//
// Owned by its session; lives on over connections. A message's number gives its packet identifier, and numbers rise, so
// the list is in cyclic order of identifiers and an acknowledgement finds its message by bisection. The same number
// gives the same identifier after a restart.
//
//   QoS 1:  Published ── PUBACK ──► gone
//   QoS 2:  Published ── PUBREC ──► Released ── PUBCOMP ──► gone
#pragma once

#include <algorithm>
#include <cstdint>

#include <boost/container/devector.hpp>

#include "broker/delivery.h"
#include "mqtt/types.h"

namespace vigil::broker {

class Inflight {
 public:
  enum class State : std::uint8_t { Published, Released };
  struct Entry {
    mqtt::PacketId packet_id;
    State state = State::Published;
    bool sent_before = false;  // on any connection: DUP when it is sent again [MQTT-3.3.1-1]
    bool in_window = false;    // sent on this connection: counts against the client's Receive Maximum (4.9)
    Delivery delivery;         // no message any more once Released
  };

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Entry& operator[](std::size_t i) { return entries_[i]; }

  // The packet identifier of a number: 1..65535 in turn.
  static mqtt::PacketId packet_id_of(std::uint64_t number) {
    return static_cast<mqtt::PacketId>((number - 1) % kIdentifiers + 1);
  }
  // Whether the identifier of this number is free. Even with a window as large as the numbers, the oldest one is never
  // used twice.
  bool has_free_id(std::uint64_t number) const {
    return entries_.empty() || number - entries_.front().delivery.number < kIdentifiers;
  }
  // Its number is above all others here, and has_free_id(number).
  Entry& add(Delivery&& delivery) {
    Entry& entry = entries_.emplace_back();
    entry.packet_id = packet_id_of(delivery.number);
    entry.delivery = std::move(delivery);
    return entry;
  }
  // Null if nobody waits for this identifier.
  Entry* find(mqtt::PacketId id) {
    const std::size_t i = index_of(id);
    return i < entries_.size() ? &entries_[i] : nullptr;
  }
  void erase(mqtt::PacketId id) {
    const std::size_t i = index_of(id);
    if (i < entries_.size()) erase_at(i);
  }
  void erase_at(std::size_t i) {
    if (entries_[i].in_window) --in_window_;
    if (i == 0) {
      entries_.pop_front();
    } else {
      entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (i < resent_) --resent_;
  }
  // In one pass; returns how many.
  template <class F>
  std::size_t erase_if(F&& gone) {
    const std::size_t before = entries_.size();
    std::size_t at = 0;
    std::size_t resent = resent_;
    const auto end = std::remove_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
      const bool was_resent = at++ < resent_;
      if (!gone(entry)) return false;
      if (was_resent) --resent;
      if (entry.in_window) --in_window_;
      return true;
    });
    entries_.erase(end, entries_.end());
    resent_ = resent;
    return before - entries_.size();
  }
  // The message is on its way on this connection.
  void sent(Entry& entry) {
    entry.sent_before = true;
    entry.in_window = true;
    ++in_window_;
  }
  std::size_t in_window() const { return in_window_; }

  // On a new connection everything is to be sent again, in order [MQTT-4.4.0-1]; entries before this have been.
  std::size_t resent() const { return resent_; }
  void set_resent(std::size_t count) { resent_ = count; }
  void new_connection() {
    resent_ = 0;
    in_window_ = 0;
    for (Entry& entry : entries_) {
      // A message counts until its PUBCOMP, whichever connection brought its PUBLISH [MQTT-3.3.4-9].
      entry.in_window = entry.state == State::Released;
      if (entry.in_window) ++in_window_;
    }
  }

 private:
  std::size_t index_of(mqtt::PacketId id) const {
    if (entries_.empty() || id == 0) return SIZE_MAX;
    const mqtt::PacketId first = entries_.front().packet_id;
    // Identifiers go round 1..65535.
    const auto distance = [first](mqtt::PacketId to) -> unsigned {
      return to >= first ? to - first : 65535U - first + to;
    };
    const auto it = std::lower_bound(entries_.begin(), entries_.end(), distance(id),
                                     [&](const Entry& e, unsigned d) { return distance(e.packet_id) < d; });
    return it != entries_.end() && it->packet_id == id ? static_cast<std::size_t>(it - entries_.begin()) : SIZE_MAX;
  }

  static constexpr std::uint64_t kIdentifiers = 65'535;
  boost::container::devector<Entry> entries_;
  std::size_t resent_ = 0;
  std::size_t in_window_ = 0;
};

}  // namespace vigil::broker
