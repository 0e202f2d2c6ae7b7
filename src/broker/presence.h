// What is known of every client id: alive or not, since when, and why. One shard's part of it; not thread-safe.
//
// A record outlives the connection and, within bounds, the session. Hearing from a client does not touch it: what
// changes with every packet (last seen, counters) is in the connection and is joined in when somebody asks (LiveView).
//
//   open() ──► connected or with a session ── may_forget() ──► waits ── its age, or the bounds ──► forgotten
//                          ▲                                     │
//                          └───────────── CONNECT ───────────────┘
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
#include "base/random.h"
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
  SessionEnded,
  Forgotten  // never in a history
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
  bool stored : 1 = false;    // the store has a record of the client
  bool assigned : 1 = false;  // the client id has the form of those that the broker gives out

 private:
  bool only_connected_ : 1 = false;  // the history is one event, and the record itself says all of it

 public:
  mqtt::Version version = mqtt::Version::V311;
  std::optional<DisconnectReason> reason;
  SessionId session;  // on this shard; where a crash left two of them, the newest

 private:
  std::uint16_t texts_ = 0;    // of the history's addresses, in units of kMemoryUnit
  std::uint16_t counted_ = 0;  // what Presence counts for this record, in such units

 public:
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
  // When the last thing happened that is remembered of the client.
  std::int64_t last_event_ms() const;
  // What the record occupies, with all that belongs to it and its place in Presence. Of no more than about a mebibyte:
  // what is larger counts as that. O(1).
  std::size_t memory() const;

 private:
  friend class Presence;
  // What the heap hands out.
  static constexpr std::size_t kMemoryUnit = 16;
  void push_event(PresenceEvent event);
  void pop_event();
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
    std::size_t bytes = SIZE_MAX;  // of all records, as PresenceRecord::memory() counts
    std::size_t history = 16;
    base::Duration keep{};  // how long a client without a session is remembered; 0: until the bounds are reached
  };
  // A client id that the broker gave out is of no use to anybody once its session has ended.
  static constexpr base::Duration kKeepAssigned = base::seconds(300);

  explicit Presence(Bounds bounds) : bounds_(bounds) {}
  void set_bounds(Bounds bounds) { bounds_ = bounds; }

  // The record of a client id, made if there is none. Its incarnation then is as high as that of any client forgotten
  // so far. Forgets nobody: ask due().
  PresenceId open(std::string_view client_id);
  PresenceId id_of(std::string_view client_id) const;
  PresenceRecord* find(PresenceId id) { return records_.find(id); }
  PresenceRecord* find(std::string_view client_id) { return records_.find(id_of(client_id)); }
  const PresenceRecord* find(std::string_view client_id) const { return records_.find(id_of(client_id)); }
  // Appends to the bounded history and gives the event its sequence number.
  void note(PresenceRecord& record, PresenceEvent event);

  // --- forgetting: only clients that are away and have no session. First the one that has been away longest.

  // The client has no connection and no session from now on: it waits to be forgotten.
  void may_forget(PresenceId id, base::Instant now);
  // When forget() is to be called next; never() if nobody waits.
  base::Instant due(base::Instant now) const;
  // Forgets clients whose time has come, and those that exceed the bounds; looks at no more than `most` of those that
  // wait, in O(1) each. `may_go(record)` is called before a record goes; it must not open or forget any. If it says no,
  // the client waits as if it had left now.
  template <class F>
  void forget(base::Instant now, std::size_t most, F&& may_go) {
    for (; most > 0; --most) {
      Waiting* const queue = next_queue(now);
      if (queue == nullptr) return;
      const PresenceId id = queue->front().id;
      const bool waits = still_waits(queue->front());
      queue->pop_front();
      if (!waits) continue;
      if (may_go(records_.at(id))) {
        erase(id);
      } else {
        may_forget(id, now);
      }
    }
  }
  // Forgets this one now. REQUIRES: it has neither a connection nor a session.
  void forget(PresenceId id) { erase(id); }
  // Stored clients that were forgotten since this was last asked.
  std::vector<std::string> take_forgotten() { return std::exchange(forgotten_, {}); }

  // --- the start

  // Puts a record back that the store has kept. No id if there is one of that client already, or if the client is
  // forgotten: its time has passed, or others were there more recently. One that had a session, or was connected, stays
  // until restored() at least.
  PresenceId restore(PresenceRecord record, const Moment& now);
  // All sessions are back: who has none waits to be forgotten from now on, in the order of leaving. Looks at all
  // records.
  void restored(const Moment& now);

  // Of all records, as PresenceRecord::memory() counts.
  std::size_t memory() const { return counted_ * PresenceRecord::kMemoryUnit; }
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
  PresenceId add(PresenceRecord&& record);

  // A client that waits to be forgotten. If its record has another incarnation meanwhile, or a session, the entry says
  // nothing any more.
  struct Leaver {
    PresenceId id;
    std::uint64_t incarnation = 0;
    base::Instant since;  // before the start of the clock, perhaps
  };
  using Waiting = std::deque<Leaver>;
  base::Duration keep(bool assigned) const;
  bool over() const { return records_.size() > bounds_.records || memory() > bounds_.bytes; }
  base::Instant due_of(const Waiting& queue) const;
  bool still_waits(const Leaver& leaver) const;
  Waiting* next_queue(base::Instant now);
  static Leaver leaver(PresenceId id, const PresenceRecord& record, const Moment& now);
  void count(PresenceRecord& record);
  void erase(PresenceId id);

  Bounds bounds_;
  base::SlotMap<PresenceRecord, PresenceTag> records_;
  boost::unordered_flat_set<Entry, Hash, Equal> by_client_;
  Waiting own_;                    // clients with an id of their own, in the order of leaving
  Waiting assigned_;               // those with an id that the broker gave out
  std::vector<Leaver> returning_;  // a heap, until restored(): the one that left first on top
  std::vector<std::string> forgotten_;
  std::size_t counted_ = 0;    // the sum of the records' counted_
  std::uint64_t highest_ = 0;  // the highest incarnation of a client that was forgotten
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
// The client id that a topic level stands for.
std::string client_id_of(std::string_view level);

// A client id such as the broker gives to a client that has none: "auto-" and 20 hexadecimal digits.
std::string make_client_id(base::Random& random);
// Whether a client id has this form.
bool is_assigned(std::string_view client_id);

}  // namespace vigil::broker
