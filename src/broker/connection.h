// A network peer as the core sees it. Small while idle: what is rarely needed is out of line.
//
//   AwaitingConnect ──► Authenticating ──► Connected
//          ├───────────────────┼────────────────┘      (no enhanced authentication)
//          └──► TakingOver ◄───┘     └──► Connected    (the old connection's last bytes are read first)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/compact.h"
#include "base/timer_wheel.h"
#include "broker/ack_queue.h"
#include "broker/effect.h"
#include "broker/ids.h"
#include "broker/keep_alive.h"
#include "broker/outbox.h"
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
  // What few connections have.
  struct Extras {
    InboundAliases aliases_in;
    OutboundAliases aliases_out;
    // QoS 2 messages received on this connection and not released: with the owed PUBACKs, what counts against our
    // Receive Maximum (4.9).
    base::CompactSet<mqtt::PacketId> unreleased;
    std::string auth_method;
  };

  State state = State::AwaitingConnect;
  mqtt::Version version = mqtt::Version::V311;
  bool loopback = false;
  bool problem_information = true;  // the client wants reason strings and user properties
  bool queued_to_send = false;      // is in Effects::sends
  bool at_risk = false;
  bool blocked = false;  // its output was full: deliveries wait
  bool reauthenticating = false;
  bool behind = false;                    // complete packets wait in `unfinished` for Shard::catch_up()
  std::uint16_t receive_maximum = 65535;  // the client's
  std::uint16_t topic_alias_maximum = 0;  // the client's
  std::uint32_t maximum_packet_size = 0;  // the client's; 0: none
  std::uint32_t pending_subacks = 0;      // that wait for other shards

  KeepAlive keep_alive;
  base::TimerId timer;            // connect timeout, then keep alive
  base::TimerId stall_timer;      // armed while output waits
  base::Instant connect_read_at;  // when its CONNECT was read from the socket, on whichever shard
  std::uint64_t held_until = 0;   // nothing is sent before this batch is stored: CONNACK stands first in its output
  SessionId session;
  PresenceId presence;
  std::uint64_t socket = 0;                      // PeerInfo::socket
  std::unique_ptr<Outbox> outbox;                // null while nothing waits
  base::CompactVector<std::uint8_t> unfinished;  // the beginning of a packet
  AckQueue acks;
  std::unique_ptr<Opening> opening;
  std::unique_ptr<Extras> extras;

  std::uint64_t packets_received = 0;
  std::uint64_t packets_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;

  Extras& with_extras() {
    if (!extras) extras = std::make_unique<Extras>();
    return *extras;
  }
  bool has_unreleased(mqtt::PacketId id) const { return extras && extras->unreleased.contains(id); }
  std::size_t unreleased() const { return extras ? extras->unreleased.size() : 0; }
  void release(mqtt::PacketId id) {
    if (extras) extras->unreleased.erase(id);
  }
  bool has_auth_method() const { return extras && !extras->auth_method.empty(); }
};

}  // namespace vigil::broker
