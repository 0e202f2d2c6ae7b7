// QoS 1 and 2 messages on their way to one client, oldest first, until they are acknowledged (4.3, 4.4).
//
// Owned by its session; lives on over connections. Numbers rise, so a message is found by its number with a bisection.
// Its packet identifier is that of its number, 1 to 65535 in turn, so that the same message has the same identifier
// after a restart without anything being stored. Where that identifier is still used by an older message, which its
// client has not acknowledged, the caller chooses another one with free_id(), and stores which.
//
//   QoS 1:  Published ── PUBACK ──► gone
//   QoS 2:  Published ── PUBREC ──► Released ── PUBCOMP ──► gone
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include <boost/container/devector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include "base/check.h"
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

  // The identifier that goes with a number.
  static mqtt::PacketId packet_id_of(std::uint64_t number) {
    return static_cast<mqtt::PacketId>((number - 1) % kIdentifiers + 1);
  }
  // Whether the identifier that goes with this number is free. REQUIRES: the number is above all others here.
  bool has_free_id(std::uint64_t number) const {
    return (!ids_ && !spans_a_round(number)) || is_free(packet_id_of(number));
  }
  [[gnu::noinline]] bool is_free(mqtt::PacketId id) const { return index_of(id) == SIZE_MAX; }
  // An identifier that no message here uses [MQTT-2.2.1-4]. REQUIRES: size() < 65535.
  mqtt::PacketId free_id() {
    index_ids();
    do {
      last_free_ = last_free_ % kIdentifiers + 1;
    } while (ids_->contains(static_cast<mqtt::PacketId>(last_free_)));
    return static_cast<mqtt::PacketId>(last_free_);
  }
  // With the identifier that the delivery names, or the one of its number; it is free. REQUIRES: its number is above
  // all others here.
  Entry& add(Delivery&& delivery) {
    const bool regular = !ids_ && delivery.packet_id == 0 && !spans_a_round(delivery.number);
    const mqtt::PacketId id = regular ? packet_id_of(delivery.number) : take_id(delivery);
    Entry& entry = entries_.emplace_back();
    entry.packet_id = id;
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
  // One that is here.
  void erase(const Entry& entry) { erase_at(static_cast<std::size_t>(&entry - &entries_.front())); }
  void erase_at(std::size_t i) {
    if (entries_[i].in_window) --in_window_;
    if (ids_) forget_id(entries_[i]);
    if (i == 0) {
      entries_.pop_front();
    } else {
      entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (i < resent_) --resent_;
    if (ids_ && is_regular()) ids_.reset();
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
      if (ids_) forget_id(entry);
      return true;
    });
    entries_.erase(end, entries_.end());
    resent_ = resent;
    if (ids_ && is_regular()) ids_.reset();
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
  static constexpr std::uint64_t kIdentifiers = 65'535;
  // Numbers by identifier; kept only while identifiers are not in the cyclic order of the numbers.
  using Ids = boost::unordered_flat_map<mqtt::PacketId, std::uint64_t>;

  // The rare ways, kept out of the callers.
  bool spans_a_round(std::uint64_t number) const {
    return !entries_.empty() && number - entries_.front().delivery.number >= kIdentifiers;
  }
  bool is_regular() const {
    return unusual_ == 0 && (entries_.empty() || !spans_a_round(entries_.back().delivery.number));
  }
  [[gnu::noinline]] mqtt::PacketId take_id(const Delivery& delivery) {
    index_ids();
    const mqtt::PacketId usual = packet_id_of(delivery.number);
    const mqtt::PacketId id = delivery.packet_id != 0 ? delivery.packet_id : usual;
    if (id != usual) ++unusual_;
    CHECK(ids_->emplace(id, delivery.number).second);
    return id;
  }
  void index_ids() {
    if (ids_) return;
    ids_ = std::make_unique<Ids>();
    for (const Entry& entry : entries_) ids_->emplace(entry.packet_id, entry.delivery.number);
    // Far from the identifiers that come next: they would find it used.
    if (last_free_ == 0 && !entries_.empty())
      last_free_ = (entries_.back().packet_id + kIdentifiers / 2) % kIdentifiers;
  }
  void forget_id(const Entry& entry) {
    ids_->erase(entry.packet_id);
    if (entry.packet_id != packet_id_of(entry.delivery.number)) --unusual_;
  }

  [[gnu::noinline]] std::size_t index_by_number(mqtt::PacketId id) const {
    const auto known = ids_->find(id);
    if (known == ids_->end()) return SIZE_MAX;
    const auto at = std::lower_bound(entries_.begin(), entries_.end(), known->second,
                                     [](const Entry& e, std::uint64_t number) { return e.delivery.number < number; });
    return static_cast<std::size_t>(at - entries_.begin());
  }
  std::size_t index_of(mqtt::PacketId id) const {
    if (entries_.empty() || id == 0) return SIZE_MAX;
    if (ids_) return index_by_number(id);
    const mqtt::PacketId first = entries_.front().packet_id;
    // Identifiers go round 1..65535.
    const auto distance = [first](mqtt::PacketId to) -> unsigned {
      return to >= first ? to - first : 65535U - first + to;
    };
    const auto it = std::lower_bound(entries_.begin(), entries_.end(), distance(id),
                                     [&](const Entry& e, unsigned d) { return distance(e.packet_id) < d; });
    return it != entries_.end() && it->packet_id == id ? static_cast<std::size_t>(it - entries_.begin()) : SIZE_MAX;
  }

  boost::container::devector<Entry> entries_;
  std::size_t resent_ = 0;
  std::size_t in_window_ = 0;
  std::unique_ptr<Ids> ids_;
  std::uint32_t unusual_ = 0;  // entries whose identifier is not that of their number
  std::uint64_t last_free_ = 0;
};

}  // namespace vigil::broker
