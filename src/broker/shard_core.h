// One shard of the broker as a pure machine: events go in as calls, effects come out as values, time is an argument.
//
// All of a client's life happens on the shard its client id hashes to: keep alive, take-over, session, will and
// delivery need no lock. A turn: any number of events, then the effects are applied once (effect.h gives the order).
// `now` never goes back between calls. Not thread-safe: one shard, one thread. Nothing here blocks, reads a clock, or
// throws for what a peer sends.
//
//   accepted socket ── opened ──► received* ──► CONNECT complete ──┬─ home: connected
//                                                                  └─ elsewhere: HandOver ──► adopted (home shard)
//   connected ── received / closed / judge / advance ──► Close
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/socket_end.h"
#include "base/tcp_evidence.h"
#include "broker/change.h"
#include "broker/disconnect_reason.h"
#include "broker/effect.h"
#include "broker/fence.h"
#include "broker/ids.h"
#include "broker/limits.h"
#include "broker/mail.h"
#include "broker/outbox.h"
#include "broker/stats.h"
#include "broker/store_time.h"
#include "mqtt/reason_code.h"

namespace vigil::broker {

struct ShardSetup {
  ShardId id = 0;
  unsigned shards = 1;
  std::string node_id = "vigil-1";
  std::string version = "0.0.0";  // of the broker, for $SYS/broker/version
  std::uint64_t incarnation = 1;  // of the node: rises with every start; client incarnations begin above it
  std::uint64_t seed = 1;         // for assigned client ids
  Limits limits;
  KeepAlivePolicy keep_alive;
  std::vector<std::string> auth_methods;  // enhanced authentication methods that somebody outside answers for
  const Fence* fence = nullptr;           // null: may always serve
  bool durable = false;                   // somebody answers Effects::store
  // Positions begin above this: above all that an earlier run has given out and stored.
  std::uint64_t first_position = 0;
  WallTime wall;  // how times are told to people
};

using base::SocketEnd;

// The answer to an AuthRequest.
struct AuthVerdict {
  enum class Kind : std::uint8_t { Continue, Success, Failure } kind = Kind::Failure;
  mqtt::ReasonCode reason = mqtt::ReasonCode::NotAuthorized;  // of a failure
  std::vector<std::uint8_t> data;                             // Authentication Data for the client
};

// How much the core may take in before its effects are applied. One message may bring about thousands of changes, so
// bytes read are no measure of it.
struct Intake {
  std::size_t changes = SIZE_MAX;  // durable facts; who sends more messages beyond them waits
  bool connects = true;            // false: whoever comes is asked to come later, as what it changes finds no room
};

class Shard;  // the state behind it; shard.h

class ShardCore {
 public:
  ShardCore(ShardSetup setup, base::Instant start);
  ~ShardCore();
  ShardCore(const ShardCore&) = delete;
  ShardCore& operator=(const ShardCore&) = delete;

  // A number for a client id: the same on every machine and in every version. Never 0.
  static std::uint64_t client_hash(std::string_view client_id);
  // The home shard of a client id.
  static ShardId home_of(std::string_view client_id, unsigned shards);

  // --- events
  // A socket was accepted on this shard.
  ConnectionId opened(PeerInfo peer, base::Instant now);
  // A handover arrived: the connection's unread bytes (its CONNECT first) are processed at once.
  ConnectionId adopted(HandOver handover, base::Instant now);
  // Bytes were read from the socket at `now`. Nothing for a stale id.
  // What exceeds the intake is heard now, and acted upon in catch_up().
  void received(ConnectionId id, base::Bytes bytes, base::Instant now);
  // From now on so much is taken in.
  void allow(const Intake& intake);
  // Durable facts so far, ever.
  std::uint64_t changes_made() const;
  // Whether anybody's packets wait for room; whether this connection's do, so that no more should be read of it.
  bool behind() const;
  bool behind(ConnectionId id) const;
  // Acts upon what waits, one connection after the other, as far as the intake allows.
  void catch_up(base::Instant now);
  // The socket ended without our doing.
  void closed(ConnectionId id, SocketEnd end, const std::optional<base::TcpEvidence>& evidence, base::Instant now);
  // The socket took `written` bytes of outbox(id). What is left of it, or null.
  const Outbox* wrote(ConnectionId id, std::size_t written, SocketRoom room, base::Instant now);
  void mail(Mail&& mail, base::Instant now);
  // Time has come to `now`: fires what is due, at most a bounded number (next_deadline() then is not later than now).
  void advance(base::Instant now);
  // A suspect's socket has been read once more, with what the kernel knows of it: if it is still silent for too long,
  // it is closed.
  void judge(ConnectionId id, const std::optional<base::TcpEvidence>& evidence, base::Instant now);
  // A suspect has more to say, and is not read because it is behind: it is not to blame.
  void waits_to_be_read(ConnectionId id, base::Instant now);
  void authenticated(ConnectionId id, AuthVerdict verdict, base::Instant now);
  // What waited in the old connection's socket has been received.
  void take_over(const TakeOver& takeover, base::Instant now);
  // Store time is `store_ms` at `now`; it never goes back. To be told at the start, and again when the machine may have
  // slept: the clock of `now` stands still then.
  void store_time(std::int64_t store_ms, base::Instant now);
  // The wall clock was set. Used for what people read, never for a decision.
  void wall_time(WallTime wall);
  // An administrator ends a connection (0x98). False if the client is not connected here.
  bool kick(std::string_view client_id, base::Instant now);
  // What the store answered.
  void stored(Stored&& stored, base::Instant now);
  void loaded(Loaded&& loaded, base::Instant now);
  void swept(const Swept& swept, base::Instant now);
  // At the start, before anybody connects: what the store held. Sessions go to their home shard, retained messages to
  // every shard, presence before sessions.
  void recover(RecoveredFact&& recovered, base::Instant now);
  // All of it is back, on all shards, and each has heard of the others' interests: from now on what is due happens.
  void recovered(base::Instant now);
  // What is below is not worth the effort: nobody reads it.
  void log_from(LogLevel level);
  // New limits for what comes from now on.
  void reconfigure(const Limits& limits, const KeepAlivePolicy& keep_alive);
  // The broker stops: every connection gets DISCONNECT 0x8B, at most `limit` in this call; true when none is left.
  bool shut_down(std::size_t limit, base::Instant now);

  // --- what to do
  Effects& effects();
  // Call before effects are taken: puts into them what is written once a turn.
  void end_turn();
  // The outbox of a live connection, or null. After writing, tell wrote().
  const Outbox* outbox(ConnectionId id) const;
  // PeerInfo::socket of a live connection; 0 for a stale id.
  std::uint64_t socket(ConnectionId id) const;
  // When advance() is to be called next, at the latest.
  base::Instant next_deadline() const;
  const Stats& stats() const;

  // --- for tests and for the simulator's oracle
  struct ClientView {
    bool exists = false;
    bool connected = false;
    ConnectionId connection;
    std::uint64_t epoch = 0;
    std::size_t subscriptions = 0;
    std::size_t inflight = 0;
    std::size_t queued = 0;
    bool has_will = false;
    base::Instant last_heard;
    base::Instant deadline = base::Instant::never();
  };
  ClientView client(std::string_view client_id) const;
  std::size_t connections() const;
  std::size_t sessions() const;

 private:
  std::unique_ptr<Shard> shard_;
};

}  // namespace vigil::broker
