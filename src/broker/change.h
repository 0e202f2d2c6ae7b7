// Durable facts: what a shard asks of the store, and what the store tells it (docs/adr/0006-durable-facts.md).
//
// A turn's changes form one batch: it is written as a whole or not at all, in the order of its number, and answered by
// StoreReply::Stored. What acknowledges a change to a client waits for that answer. Values only: they cross threads by
// move, and messages are shared.
//
//   a turn ──► StoreBatch ──► (the store's thread) ──► Stored{number, joints} ──► ShardCore::stored()
//
// A joint change has parts on several shards (a message of QoS 2 whose receivers live elsewhere): the store holds back
// the parts until the batch that commits the joint comes, and writes them together with it. Parts are handed to the
// store before their shard's receipt is mailed, so they are always there before the commit.
//
// Moments in the store are of store time (store_time.h): a monotonic clock does not outlive a reboot, and the wall
// clock is set while we run. StoreBatch::at says how store time and the monotonic clock hang together.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/compact.h"
#include "broker/delivery.h"
#include "broker/expiry_counts.h"
#include "broker/ids.h"
#include "broker/message.h"
#include "broker/moment.h"
#include "broker/will.h"
#include "mqtt/packet.h"
#include "mqtt/types.h"

namespace vigil::broker {

// Names a stored session from its beginning to its end; a new session of the same client id gets a later one.
using SessionKey = Position;

// Names a joint change in this process. The shard that commits it gives it out. 0: none.
using JointId = std::uint64_t;

// Everything of a session but its subscriptions and messages. Replaces what was stored under its key.
struct PutSession {
  SessionKey key;
  std::string client_id;
  std::string user_name;
  std::uint64_t epoch = 0;
  std::uint32_t expiry_s = 0;
  bool connected = false;
  std::int64_t expires_ms = kNeverMs;  // while the client is away
  // Queued messages with a lower number have been sent on some connection, perhaps: DUP when they are sent again.
  std::uint64_t sent_below = 0;
  std::uint32_t next_subscription = 1;
  base::CompactVector<Will> will;       // none or one
  std::int64_t will_due_ms = kNeverMs;  // once its connection has ended

  bool operator==(const PutSession&) const = default;
};

// The session and all that belongs to it is gone: subscriptions, messages, identifiers.
struct EndSession {
  SessionKey key;
  bool alone = false;  // nothing but its record was ever stored
};

struct PutSubscription {
  SessionKey session;
  std::uint32_t number = 0;  // of the session; the same number replaces
  std::uint32_t subscription_id = 0;
  mqtt::SubscriptionOptions options;
  std::string text;  // as subscribed, `$share/...` included
};

struct DropSubscription {
  SessionKey session;
  std::uint32_t number = 0;
};

// A message for one session, behind all with a lower number. A message that goes to several sessions is stored once.
struct Enqueue {
  SessionKey session;
  std::uint64_t number = 0;  // rises within a session; used once
  MessagePtr message;
  Terms terms;
};

// It was sent at QoS 2, and the client has it: only its number is left.
struct Release {
  SessionKey session;
  std::uint64_t number = 0;
  Position message;
  Kept kept = Kept::Unknown;
};

// The message is done with: acknowledged, expired, or given to somebody else.
struct Dequeue {
  SessionKey session;
  std::uint64_t number = 0;
  Position message;       // of a message not released
  bool released = false;  // Release came before
  Kept kept = Kept::Unknown;
};

// A message of the queue goes to the client under another packet identifier than that of its number.
struct PutPacketId {
  SessionKey session;
  std::uint64_t number = 0;
  mqtt::PacketId packet_id = 0;
};

// The message is done with.
struct DropPacketId {
  SessionKey session;
  std::uint64_t number = 0;
};

// A QoS 2 message with this packet identifier was taken from the client, and has not been released [MQTT-4.3.3-10].
struct PutUnreleased {
  SessionKey session;
  mqtt::PacketId packet_id = 0;
};

struct DropUnreleased {
  SessionKey session;
  mqtt::PacketId packet_id = 0;
};

struct PutRetained {
  MessagePtr message;
};

struct DropRetained {
  std::string topic;
};

// presence_record.h says what the bytes are.
struct PutPresence {
  std::string client_id;
  std::vector<std::uint8_t> record;
};

struct DropPresence {
  std::string client_id;
};

using Change =
    std::variant<PutSession, EndSession, PutSubscription, DropSubscription, Enqueue, Release, Dequeue, PutPacketId,
                 DropPacketId, PutUnreleased, DropUnreleased, PutRetained, DropRetained, PutPresence, DropPresence>;

// The session that a change is about; none for those that are about no session, or about the whole of one.
inline const SessionKey* session_of(const Change& change) {
  return std::visit(
      [](const auto& c) -> const SessionKey* {
        if constexpr (requires { c.session; }) return &c.session;
        return nullptr;
      },
      change);
}

struct JointPart {
  JointId joint = 0;
  std::vector<Change> changes;
};

// The next messages of a session that are on disk only: from this number on, at most so many, and about so many bytes
// (at least one message). Sees all that this shard has asked to store before.
struct LoadRequest {
  SessionId session;
  SessionKey key;
  std::uint64_t from = 0;
  std::uint32_t most = 0;
  std::uint32_t most_bytes = 0;
};

// Takes what has expired out of the messages of a session that are on disk only: those from `from` on. Messages of QoS
// 2 with a number below `begun_below` may have been sent, and stay.
struct SweepRequest {
  SessionId session;
  SessionKey key;
  std::uint64_t from = 0;
  std::uint64_t begun_below = 0;
};

struct StoreBatch {
  std::uint64_t number = 0;  // rises by one a batch of a shard, from 1; 0: nothing to be written, loads only
  Moment at;
  std::vector<Change> changes;
  std::vector<JointPart> parts;    // held until their joint is committed
  std::vector<JointId> commits;    // this batch and the parts of these are written as one
  std::vector<LoadRequest> loads;  // answered after this batch is written, in order
  std::vector<SweepRequest> sweeps;

  bool empty() const { return number == 0 && loads.empty() && sweeps.empty(); }
  void clear() {
    number = 0;
    changes.clear();
    parts.clear();
    commits.clear();
    loads.clear();
    sweeps.clear();
  }
};

// --- what the store says

// Batches up to this number are stored, and so are these joints: the shard has a part in each, or committed it.
struct Stored {
  std::uint64_t number = 0;
  std::vector<JointId> joints;
};

struct StoredMessage {
  std::uint64_t number = 0;
  bool released = false;  // then there is no message any more
  MessagePtr message;
  Terms terms;
  Kept kept = Kept::Unknown;
};

struct Loaded {
  SessionId session;
  std::vector<StoredMessage> messages;  // by number
  // Where the next request begins; 0 if there was nothing behind these.
  std::uint64_t next = 0;
  // What stands from `next` on cannot be read at present. It is still there: ask again later.
  bool failed = false;
};

struct Swept {
  SessionId session;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;  // as Message::size() counts
};

using StoreReply = std::variant<Stored, Loaded, Swept>;

// --- what the store held when the broker started

struct RecoveredSession {
  PutSession session;
  std::vector<PutSubscription> subscriptions;
  std::vector<mqtt::PacketId> unreleased;
  std::vector<PutPacketId> packet_ids;
  // Its messages stay on disk until they are loaded.
  std::uint64_t queued = 0;
  std::uint64_t queued_bytes = 0;  // as Message::size() counts
  std::uint64_t first_number = 0;  // of those queued
  std::uint64_t last_number = 0;
  ExpiryCounts expiring;  // of those queued
};

struct RecoveredRetained {
  MessagePtr message;
};

struct RecoveredPresence {
  std::string client_id;
  std::vector<std::uint8_t> record;
};

using RecoveredFact = std::variant<RecoveredSession, RecoveredRetained, RecoveredPresence>;

}  // namespace vigil::broker
