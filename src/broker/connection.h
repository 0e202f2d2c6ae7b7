// A network peer as the core sees it. Small while idle: what is rarely needed is out of line.
//
//   AwaitingConnect ──► Authenticating ──► Connected
//          ├───────────────────┼────────────────┘      (no enhanced authentication)
//          └──► TakingOver ◄───┘     └──► Connected    (the old connection's last bytes are read first)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/container/flat_set.hpp>

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

  State state = State::AwaitingConnect;
  mqtt::Version version = mqtt::Version::V311;
  bool problem_information = true;  // the client wants reason strings and user properties
  bool queued_to_send = false;      // is in Effects::sends
  bool at_risk = false;
  bool blocked = false;  // its output was full: deliveries wait
  bool reauthenticating = false;
  bool behind = false;  // complete packets wait in `unfinished` for Shard::catch_up()

  KeepAlive keep_alive;
  base::TimerId timer;        // connect timeout, then keep alive
  base::TimerId stall_timer;  // armed while output waits
  base::Instant opened_at;
  base::Instant connect_read_at;  // when its CONNECT was read from the socket, on whichever shard

  std::uint32_t pending_subacks = 0;  // that wait for other shards
  std::uint64_t held_until = 0;       // nothing is sent before this batch is stored: CONNACK stands first in its output
  SessionId session;
  PresenceId presence;
  std::uint16_t receive_maximum = 65535;  // the client's
  std::uint16_t topic_alias_maximum = 0;  // the client's
  std::uint32_t maximum_packet_size = 0;  // the client's; 0: none
  std::unique_ptr<Outbox> outbox;         // null while nothing waits
  std::vector<std::uint8_t> unfinished;   // the beginning of a packet
  AckQueue acks;
  // QoS 2 messages received on this connection and not released: with the owed PUBACKs, what counts against our Receive
  // Maximum (4.9).
  boost::container::flat_set<mqtt::PacketId> unreleased;
  std::unique_ptr<InboundAliases> aliases_in;
  std::unique_ptr<OutboundAliases> aliases_out;
  std::unique_ptr<PeerInfo> peer;
  std::unique_ptr<std::vector<std::uint8_t>> connect_packet;  // while authentication or a take-over is under way
  std::unique_ptr<std::string> auth_data;                     // for CONNACK, while a take-over is under way
  std::unique_ptr<std::string> auth_method;

  std::uint64_t packets_received = 0;
  std::uint64_t packets_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
};

}  // namespace vigil::broker
