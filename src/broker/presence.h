// What is known of every client id: alive or not, since when, and why. One shard's part of it; not thread-safe.
//
// A record outlives the connection and, within bounds, the session. Hearing from a client does not touch it: what
// changes with every packet (last seen, counters) is in the connection and is joined in when somebody asks (LiveView).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/container/devector.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include "base/clock.h"
#include "base/slot_map.h"
#include "base/tcp_evidence.h"
#include "broker/disconnect_reason.h"
#include "broker/flapping.h"
#include "broker/ids.h"
#include "broker/moment.h"
#include "mqtt/types.h"

namespace vigil::broker {

enum class PresenceEventKind : std::uint8_t {
  Connected,
  Disconnected,
  TakenOver,
  WillPublished,
  WillCancelled,
  AtRisk,
  Recovered,
  Flapping,
  SessionEnded
};

// "connected", "disconnected", "takenOver", ...
std::string_view name(PresenceEventKind kind);

// The heartbeat as it was really heard: the time between two reads that brought packets.
class Rhythm {
 public:
  void beat(base::Duration since_last) {
    const auto us = static_cast<float>(since_last.count()) / 1000.0F;
    if (beats_ == 0) {
      mean_us_ = us;
    } else {
      const float gain = beats_ < 15 ? 1.0F / static_cast<float>(beats_ + 1) : 1.0F / 16;
      const float off = us - mean_us_;
      mean_us_ += gain * off;
      jitter_us_ += gain * ((off < 0 ? -off : off) - jitter_us_);
    }
    if (beats_ < 16) ++beats_;
  }
  bool known() const { return beats_ > 0; }
  double mean_ms() const { return mean_us_ / 1000.0; }
  double jitter_ms() const { return jitter_us_ / 1000.0; }

 private:
  float mean_us_ = 0;
  float jitter_us_ = 0;  // mean deviation
  std::uint8_t beats_ = 0;
};

// Events in the last hour and day, by buckets of five minutes: never more than one bucket too many.
class RecentCount {
 public:
  struct Bucket {
    std::uint32_t slot = 0;  // five minutes since the epoch
    std::uint32_t count = 0;
    bool operator==(const Bucket&) const = default;
  };
  // Only slots in which something happened, oldest first; at most a day of them.
  using Buckets = boost::container::small_vector<Bucket, 1>;

  void add(std::int64_t unix_ms);
  std::uint32_t last_hour(std::int64_t unix_ms) const;
  std::uint32_t last_day(std::int64_t unix_ms) const;
  // As they were kept, to be kept for longer.
  const Buckets& buckets() const { return buckets_; }
  void restore(Buckets buckets) { buckets_ = std::move(buckets); }

 private:
  Buckets buckets_;
};

struct PresenceEvent {
  PresenceEventKind kind = PresenceEventKind::Connected;
  DisconnectReason reason = DisconnectReason::ConnectionClosed;  // of Disconnected
  std::int64_t unix_ms = 0;
  std::uint64_t incarnation = 0;
  std::string address;  // the client's; the newcomer's for TakenOver and Flapping
};

struct PresenceRecord {
  std::string client_id;
  // Rises with every connection of this client id: a consumer throws away what is lower than it has seen. It rises over
  // restarts, too, as long as the wall clock is not set back by more than the broker was away.
  std::uint64_t incarnation = 0;
  // Rises with every event of an incarnation.
  std::uint32_t sequence = 0;
  bool connected = false;
  bool has_session = false;
  bool at_risk = false;
  bool unstored = false;  // has changed since it was last handed to the store
  // The client's last session ended in this batch, or with this joint change (change.h).
  std::uint64_t ended_in = 0;
  std::uint64_t ended_with = 0;

  mqtt::Version version = mqtt::Version::V311;
  bool clean_start = true;
  std::uint32_t session_expiry_s = 0;
  std::uint32_t keep_alive_s = 0;
  std::string address;
  std::int64_t connected_at_ms = 0;
  std::int64_t disconnected_at_ms = 0;
  std::int64_t last_seen_ms = 0;  // of a client that is away
  std::optional<DisconnectReason> reason;
  std::string detail;  // of a protocol error
  std::optional<base::TcpEvidence> evidence;
  std::optional<base::TcpVerdict> verdict;
  bool proxied = false;

  Rhythm rhythm;
  RecentCount disconnects;
  Flapping flapping;
  std::uint32_t connects = 0;
  std::uint32_t takeovers = 0;
  std::uint32_t keep_alive_timeouts = 0;
  std::uint32_t wills_published = 0;
  std::uint32_t wills_cancelled = 0;
  std::uint64_t packets_received = 0;  // of earlier connections
  std::uint64_t packets_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;

  boost::container::devector<PresenceEvent> history;  // oldest first, bounded; nothing is allocated while it is empty
};

// What the connection and the session of a client know at this moment.
struct LiveView {
  bool connected = false;
  base::Instant last_heard;
  base::Instant deadline = base::Instant::never();
  std::uint64_t packets_received = 0;
  std::uint64_t packets_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::size_t subscriptions = 0;
  std::size_t queued = 0;
  std::size_t inflight = 0;
};

class Presence {
 public:
  struct Bounds {
    std::size_t records = 1'000'000;
    std::size_t history = 16;
  };
  explicit Presence(Bounds bounds) : bounds_(bounds) {}
  void set_bounds(Bounds bounds) { bounds_ = bounds; }

  // The record of a client id, made if there is none. May forget the client that has been away longest and has no
  // session.
  PresenceId open(std::string_view client_id);
  PresenceRecord* find(PresenceId id) { return records_.find(id); }
  PresenceRecord* find(std::string_view client_id);
  // Puts a record back that the store has kept. False if there is one of that client already, or no room.
  bool restore(PresenceRecord record);
  // The clients forgotten since this was last asked.
  std::vector<std::string> take_forgotten() { return std::exchange(forgotten_, {}); }
  // Appends to the bounded history and gives the event its sequence number.
  void note(PresenceRecord& record, PresenceEvent event);
  // The client is away and has no session any more: it may be forgotten when room is needed.
  void may_forget(PresenceId id);

  std::size_t size() const { return records_.size(); }
  // For a walk over all records that goes on over many turns.
  std::uint32_t slot_count() const { return records_.slot_count(); }
  std::pair<PresenceId, PresenceRecord*> at_index(std::uint32_t index) { return records_.at_index(index); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  Bounds bounds_;
  base::SlotMap<PresenceRecord, PresenceTag> records_;
  boost::unordered_flat_map<std::string, PresenceId, Hash, std::equal_to<>> by_client_;
  std::deque<std::pair<PresenceId, std::uint64_t>> forgettable_;  // with the incarnation at that time
  std::vector<std::string> forgotten_;
};

std::string_view name(base::TcpVerdict verdict);

// JSON texts of `$SYS/clients/<clientId>/state` and `.../event`. docs/presence.md lists the fields.
std::string state_json(const PresenceRecord& record, const LiveView& live, std::string_view node_id, const Moment& now);
std::string event_json(const PresenceRecord& record, const PresenceEvent& event, std::string_view node_id);

// A client id as one topic level: '/', '+', '#', '%', and '$' in front, as %XX.
std::string topic_level(std::string_view client_id);

}  // namespace vigil::broker
