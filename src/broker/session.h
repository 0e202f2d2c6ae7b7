// The state of a client id: outlives its connections by its expiry (3.1.2.11.2, 4.1). Lives on the client id's home
// shard.
//
//   (none) ── CONNECT ──► Live ── connection ends ──► Waiting (will delay, expiry) ── CONNECT, Clean Start 0 ──► Live
//                          │                            └── expired ──► (none)
//                          └── CONNECT, Clean Start 1 ──► ends, a new one begins
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <boost/container/deque.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

#include "base/compact.h"
#include "base/text.h"
#include "base/timer_wheel.h"
#include "broker/change.h"
#include "broker/delivery.h"
#include "broker/expiry_counts.h"
#include "broker/inflight.h"
#include "broker/presence.h"
#include "broker/will.h"
#include "mqtt/packet.h"

namespace vigil::broker {

// What the broker owes once the connection has ended otherwise than by a goodbye.
struct SessionWill : Will {
  base::Instant due = base::Instant::never();  // once owed
};

// A subscription as its session knows it; the tree has what matching needs.
struct OwnSubscription {
  base::Text text;           // as subscribed, `$share/...` included
  std::uint32_t number = 0;  // of this session, never 0: names the subscription a queued message came through
  bool shared = false;
};

// Finds a session's subscription by its text. Only sessions with many have one.
using OwnSubscriptionIndex = boost::unordered_flat_map<std::string_view, std::uint32_t>;

// Messages on their way to the client. Only sessions that have any have this.
struct DeliveryState {
  Inflight inflight;
  std::uint64_t next_number = 1;            // of the next message of QoS 1 or 2
  std::uint64_t sent_below = 0;             // what has a lower number has been sent on some connection, perhaps
  boost::container::deque<Delivery> queue;  // waits for room in the window or in the output
  // Behind the queue: what is on disk only.
  struct Tail {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
    std::uint64_t from = 0;         // no number of it is lower
    std::uint64_t asked_below = 0;  // all that have a lower number were stored, or had been handed over, at the request
    std::uint32_t unstored = 0;     // parts of joint changes that are not committed: cannot be loaded yet
    std::uint32_t ignore = 0;       // answers under way to requests that no longer matter
    bool loading = false;
    bool sweeping = false;
    bool paused = false;  // the disk could not be read: until a timer ends it nothing is asked for
    base::Duration pause = base::seconds(1);
    bool grew = false;  // since the last request
  } tail;
  std::size_t queued_bytes = 0;
  ExpiryCounts expiring;                          // of what waits, in memory and on disk
  base::Instant next_sweep;                       // of expired messages, at the earliest
  base::Duration sweep_every = base::seconds(1);  // longer when a sweep found nothing that may go
  base::TimerId sweep_timer;                      // while the client is away
  base::Instant sweep_due;                        // when it fires
  // Of messages that are on disk only: identifiers that are not those of their numbers.
  base::CompactVector<std::pair<std::uint64_t, mqtt::PacketId>> packet_ids;
  std::size_t retained_waiting = 0;    // entries of the queue that were retained when a subscription was made
  std::size_t unnumbered_waiting = 0;  // entries of QoS 0
  // What may have been sent at QoS 2 does not expire: the client may be half-way through it.
  bool expired(const Delivery& waiting, base::Instant now) const {
    const bool numbered = waiting.number != 0 && waiting.terms.qos == mqtt::QoS::ExactlyOnce;
    const bool begun = numbered && waiting.number < sent_below;
    return waiting.message && !begun && waiting.message->expired(now);
  }
  // Messages of QoS 0 pass a full window, but not each other, nor what a new subscription is still owed.
  bool holds_back_qos0() const { return retained_waiting > 0 || unnumbered_waiting > 0; }
};

// A walk over the states of all clients for a subscriber of `$SYS/clients/...`: asks one shard after the other, a page
// at a time.
struct SystemFeed {
  std::uint32_t id = 0;
  std::string filter;
  mqtt::SubscriptionOptions options;
  std::uint32_t subscription_id = 0;
  unsigned shard = 0;
  std::uint32_t cursor = 0;
  bool waiting = false;  // for an answer
};

struct Session {
  // What few sessions have.
  struct Extras {
    base::Text user_name;
    JointId joint = 0;  // its record is written when this is committed
    // Packet identifiers of QoS 2 messages that the client has sent and not released [MQTT-4.3.3-10].
    base::CompactSet<mqtt::PacketId> unreleased;
    base::CompactVector<SystemFeed> feeds;
    std::unique_ptr<OwnSubscriptionIndex> subscription_index;  // into Session::subscriptions
  };

  base::Text client_id;
  SessionKey key;           // in the store; none (sequence 0): nothing of it is stored
  Publisher self;           // as the publisher of messages
  ConnectionId connection;  // none while the client is away
  PresenceId presence;
  base::Instant expires = base::Instant::never();  // while away
  base::TimerId timer;                             // the earlier of expiry and will
  std::unique_ptr<SessionWill> will;
  base::CompactVector<OwnSubscription> subscriptions;  // changed by add_subscription() and remove_subscription() only
  std::uint32_t expiry_s = 0;
  std::uint32_t next_subscription = 1;
  std::uint32_t shared_subscriptions = 0;
  std::uint32_t match_index = 0;  // while a message is being matched: where its entry may be in the list of receivers
  std::unique_ptr<DeliveryState> delivery;
  std::unique_ptr<Extras> extras;
  bool durable = false;           // its subscriptions and messages are stored, not just its will
  bool recovered = false;         // comes from an earlier run: what it left in the store is not all known
  bool may_read_clients = false;  // $SYS/clients
  bool overflow_logged = false;

  Extras& with_extras() {
    if (!extras) extras = std::make_unique<Extras>();
    return *extras;
  }
  std::string_view user_name() const { return extras ? extras->user_name.view() : std::string_view(); }
  void set_user_name(std::string_view name) {
    if (name != user_name()) with_extras().user_name = name;
  }

  // From this many subscriptions on there is an index: one is found, added and removed in the same time, however many
  // there are.
  static constexpr std::size_t kIndexSubscriptionsFrom = 64;
  // Null if there is none. Valid until the next change.
  const OwnSubscription* find_subscription(std::string_view text) const;
  const OwnSubscription* find_shared(std::string_view group, std::string_view filter) const;
  // The same by its number. Looks at all of them.
  const OwnSubscription* find_subscription(std::uint32_t number) const;
  // REQUIRES: find_subscription(text) is null.
  const OwnSubscription& add_subscription(std::string_view text, std::uint32_t number, bool shared);
  // False if there is none. The last one takes its place.
  bool remove_subscription(std::string_view text);

  JointId joint() const { return extras ? extras->joint : 0; }
  bool has_feeds() const { return extras && !extras->feeds.empty(); }
  bool has_unreleased(mqtt::PacketId id) const { return extras && extras->unreleased.contains(id); }
  // Nothing but its record was ever stored.
  bool stored_alone() const { return !durable && !recovered; }
  bool connected() const { return static_cast<bool>(connection); }
  std::size_t queued() const { return delivery ? delivery->queue.size() + delivery->tail.messages : 0; }
  std::size_t inflight() const { return delivery ? delivery->inflight.size() : 0; }
};

}  // namespace vigil::broker
