// What is known of every client id: alive or not, since when, and why. One shard's part of it; not thread-safe.
//
// A record outlives the connection and, within bounds, the session. Hearing from a client does not touch it: what
// changes with every packet (last seen, counters) is in the connection and is joined in when somebody asks (LiveView).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include "base/clock.h"
#include "base/compact.h"
#include "base/slot_map.h"
#include "base/tcp_evidence.h"
#include "base/text.h"
#include "broker/disconnect_reason.h"
#include "broker/flapping.h"
#include "broker/ids.h"
#include "broker/moment.h"
#include "broker/rhythm.h"
#include "broker/store_time.h"
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
  bool operator==(const RecentCount&) const = default;

 private:
  Buckets buckets_;
};

struct PresenceEvent {
  PresenceEventKind kind = PresenceEventKind::Connected;
  DisconnectReason reason = DisconnectReason::ConnectionClosed;  // of Disconnected
  std::int64_t unix_ms = 0;
  std::uint64_t incarnation = 0;
  base::Text address;  // the client's; the newcomer's for TakenOver and Flapping
  bool operator==(const PresenceEvent&) const = default;
};

// What only a client has whose connection ended or was taken over, or whose session ended.
struct PresencePast {
  // The client's last session ended in this batch, or with this joint change (change.h).
  std::uint64_t ended_in = 0;
  std::uint64_t ended_with = 0;

  std::int64_t disconnected_at_ms = 0;
  std::int64_t last_seen_ms = 0;
  std::string detail;  // of a protocol error
  std::optional<base::TcpEvidence> evidence;
  std::optional<base::TcpVerdict> verdict;

  Rhythm rhythm;  // of the last connection
  RecentCount disconnects;
  Flapping flapping;
  std::uint32_t takeovers = 0;
  std::uint32_t keep_alive_timeouts = 0;
  std::uint32_t wills_published = 0;
  std::uint32_t wills_cancelled = 0;
  std::uint64_t packets_received = 0;  // of earlier connections
  std::uint64_t packets_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;

  bool operator==(const PresencePast&) const = default;
};

// Small while nothing has happened to the client yet: there is one of each client that was ever seen.
struct PresenceRecord {
  base::Text client_id;
  // Rises with every connection of this client id: a consumer throws away what is lower than it has seen. It rises over
  // restarts, too; without a store, unless the wall clock is set back by more than the broker was away.
  std::uint64_t incarnation = 0;
  // Rises with every event of an incarnation.
  std::uint32_t sequence = 0;
  std::uint32_t session_expiry_s = 0;
  std::uint32_t keep_alive_s = 0;
  std::uint32_t connects = 0;
  bool connected : 1 = false;
  bool has_session : 1 = false;
  bool unstored : 1 = false;  // has changed since it was last handed to the store
  bool clean_start : 1 = true;
  bool proxied : 1 = false;

 private:
  bool only_connected_ : 1 = false;  // the history is one event, and the record itself says all of it

 public:
  mqtt::Version version = mqtt::Version::V311;
  std::optional<DisconnectReason> reason;
  SessionId session;  // on this shard; where a crash left two of them, the newest
  std::int64_t connected_at_ms = 0;
  base::Text address;

  const PresencePast& past() const;
  PresencePast& change_past();

  // The history: oldest first, and only so many of the newest.
  void append(PresenceEvent event, std::size_t most);
  std::size_t event_count() const { return only_connected_ ? 1 : history_ ? history_->size() : 0; }
  template <class F>
  void for_each_event(F&& f) const {
    if (only_connected_) f(connected_event());
    if (!history_) return;
    for (const PresenceEvent& event : *history_) f(event);
  }
  // To be called before what the record says of its last CONNECT changes: the history keeps how it was.
  void keep_history();

 private:
  PresenceEvent connected_event() const {
    return {.kind = PresenceEventKind::Connected,
            .unix_ms = connected_at_ms,
            .incarnation = incarnation,
            .address = address};
  }

  std::unique_ptr<base::CompactQueue<PresenceEvent>> history_;
  std::unique_ptr<PresencePast> past_;
};

// What the connection and the session of a client know at this moment.
struct LiveView {
  bool connected = false;
  bool at_risk = false;
  Rhythm rhythm;
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
  PresenceRecord* find(std::string_view client_id) { return records_.find(id_of(client_id)); }
  const PresenceRecord* find(std::string_view client_id) const { return records_.find(id_of(client_id)); }
  // Puts a record back that the store has kept. No id if there is one of that client already, or no room.
  PresenceId restore(PresenceRecord record);
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
  // A record by its client id: its place and a hash, so that the id itself is kept once.
  struct Entry {
    std::uint32_t hash;
    std::uint32_t index;
  };
  struct Key {
    std::uint32_t hash;
    std::string_view client_id;
    const Presence* presence;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Entry& entry) const { return entry.hash; }
    std::size_t operator()(const Key& key) const { return key.hash; }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Entry& left, const Entry& right) const { return left.index == right.index; }
    bool operator()(const Key& key, const Entry& entry) const {
      return key.hash == entry.hash && key.presence->records_.at_index(entry.index).second->client_id == key.client_id;
    }
    bool operator()(const Entry& entry, const Key& key) const { return (*this)(key, entry); }
  };
  Key key_of(std::string_view client_id) const;
  PresenceId id_of(std::string_view client_id) const;

  Bounds bounds_;
  base::SlotMap<PresenceRecord, PresenceTag> records_;
  boost::unordered_flat_set<Entry, Hash, Equal> by_client_;
  std::deque<std::pair<PresenceId, std::uint64_t>> forgettable_;  // with the incarnation at that time
  std::vector<std::string> forgotten_;
};

std::string_view name(base::TcpVerdict verdict);

// JSON texts of `$SYS/clients/<clientId>/state` and `.../event`. docs/presence.md lists the fields.
// `wall` turns the store time of all that is kept into what people are told.
std::string state_json(const PresenceRecord& record, const LiveView& live, std::string_view node_id, const Moment& now,
                       const WallTime& wall);
std::string event_json(const PresenceRecord& record, const PresenceEvent& event, std::string_view node_id,
                       const WallTime& wall);

// A client id as one topic level: '/', '+', '#', '%', and '$' in front, as %XX.
std::string topic_level(std::string_view client_id);

}  // namespace vigil::broker
