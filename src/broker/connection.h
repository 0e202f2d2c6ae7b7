// A network peer as the core sees it. Small while idle: what is rarely needed is out of line.
//
//   AwaitingConnect ──► Authenticating ──► Connected
//          ├───────────────────┼────────────────┘      (no enhanced authentication)
//          └──► TakingOver ◄───┘     └──► Connected    (the old connection's last bytes are read first)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/compact.h"
#include "base/timer_wheel.h"
#include "broker/ack_queue.h"
#include "broker/effect.h"
#include "broker/ids.h"
#include "broker/keep_alive.h"
#include "broker/outbox.h"
#include "broker/pending_suback.h"
#include "broker/topic_alias.h"
#include "mqtt/types.h"

namespace vigil::broker {

struct Connection {
  enum class State : std::uint8_t { AwaitingConnect, Authenticating, TakingOver, Connected };

  // Until it is connected.
  struct Opening {
    PeerInfo peer;
    base::Instant opened_at;
    std::vector<std::uint8_t> connect_packet;  // while authentication or a take-over is under way
    std::string auth_data;                     // for CONNACK, while a take-over is under way
  };
  // What waits to be written.
  struct Output : Outbox {
    base::TimerId stall_timer;     // armed while the socket does not take all of it
    std::uint64_t held_until = 0;  // nothing is sent before this batch is stored: CONNACK stands first in it
  };
  // What few connections have.
  struct Extras {
    std::unique_ptr<Opening> opening;  // null once it is connected
    InboundAliases aliases_in;
    OutboundAliases aliases_out;
    // QoS 2 messages received on this connection and not released: with the owed PUBACKs, what counts against our
    // Receive Maximum (4.9).
    base::CompactSet<mqtt::PacketId> unreleased;
    std::string auth_method;
    base::CompactQueue<PendingSubAck> ready;       // answers that wait for their turn only
    std::uint32_t held_pings = 0;                  // PINGRESPs that stay behind other answers
    base::CompactVector<std::uint8_t> unfinished;  // the beginning of a packet
  };

  State state = State::AwaitingConnect;
  mqtt::Version version = mqtt::Version::V311;
  bool loopback : 1 = false;
  bool problem_information : 1 = true;  // the client wants reason strings and user properties
  bool queued_to_send : 1 = false;      // is in Effects::sends
  bool at_risk : 1 = false;
  bool blocked : 1 = false;  // its output was full: deliveries wait
  bool reauthenticating : 1 = false;
  bool behind : 1 = false;     // complete packets wait as unfinished for Shard::catch_up()
  bool owed_much : 1 = false;  // many answers: what it says waits until it is owed fewer
  bool bridge : 1 = false;     // said with a bit of CONNECT that it is a bridge
  bool subscription_limit_logged : 1 = false;
  bool asked_for_expiry : 1 = false;      // CONNECT had a Session Expiry Interval other than 0
  std::uint16_t receive_maximum = 65535;  // the client's
  std::uint16_t topic_alias_maximum = 0;  // the client's
  std::uint32_t maximum_packet_size = 0;  // the client's; 0: none
  std::uint32_t pending_answers = 0;      // SUBACK, UNSUBACK and PUBREL that wait for other shards or for the store

  KeepAlive keep_alive;
  base::TimerId timer;            // connect timeout, then keep alive
  base::Instant connect_read_at;  // when its CONNECT was read from the socket, on whichever shard
  SessionId session;
  std::uint64_t socket = 0;        // PeerInfo::socket
  std::unique_ptr<Output> outbox;  // null while nothing waits
  AckQueue acks;
  std::unique_ptr<Extras> extras;

  // What goes beyond is added to its record: Shard::count().
  std::uint32_t packets_received = 0;
  std::uint32_t packets_sent = 0;
  std::uint32_t bytes_received = 0;
  std::uint32_t bytes_sent = 0;

  Extras& with_extras() {
    if (!extras) extras = std::make_unique<Extras>();
    return *extras;
  }
  Opening& opening() { return *extras->opening; }
  const Opening& opening() const { return *extras->opening; }
  void opened() {
    extras->opening.reset();
    if (extras->auth_method.empty() && extras->unfinished.empty()) extras.reset();
  }
  bool held(std::uint64_t stored) const { return outbox && outbox->held_until > stored; }
  bool has_unreleased(mqtt::PacketId id) const { return extras && extras->unreleased.contains(id); }
  std::size_t unreleased() const { return extras ? extras->unreleased.size() : 0; }
  void release(mqtt::PacketId id) {
    if (extras) extras->unreleased.erase(id);
  }
  base::Bytes unfinished() const { return extras ? base::Bytes(extras->unfinished) : base::Bytes(); }
  void set_unfinished(base::Bytes bytes) { with_extras().unfinished.assign(bytes.begin(), bytes.end()); }
  void add_unfinished(base::Bytes bytes) {
    auto& unfinished = with_extras().unfinished;
    unfinished.insert(unfinished.end(), bytes.begin(), bytes.end());
  }
  base::CompactVector<std::uint8_t> take_unfinished() {
    return extras ? std::exchange(extras->unfinished, {}) : base::CompactVector<std::uint8_t>();
  }
  bool has_auth_method() const { return extras && !extras->auth_method.empty(); }
};

}  // namespace vigil::broker
