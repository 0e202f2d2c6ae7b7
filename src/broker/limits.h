// Every bound and every policy number of the broker's core, with its default. The server's configuration table fills it
// in.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace vigil::broker {

// What to do with a 3.x client that asks for more keep alive than `KeepAlivePolicy::max_s`: it cannot be told of
// another value.
enum class OverMaxV3 : std::uint8_t { Allow, Enforce, Reject };

// What becomes of a connection of 3.x that publishes at QoS 1 or 2 what the broker does not pass on: it cannot be told.
enum class V3Denied : std::uint8_t { Disconnect, Acknowledge };

// What to do with control characters in client identifiers, user names, topics and filters (1.5.4 leaves it open).
enum class ControlCharacters : std::uint8_t { Refuse, Allow };

struct KeepAlivePolicy {
  base::Duration tick = base::milliseconds(1000);  // the monitoring delay; at least 1 ms
  std::uint32_t max_s = 0;                         // 0: no cap
  OverMaxV3 over_max_v3 = OverMaxV3::Allow;
};

struct Limits {
  // connections
  std::uint32_t max_connections = 0;        // 0: as many as file descriptors allow (the server sets it)
  std::uint32_t max_connections_per_s = 0;  // a shard's share of the broker's; 0: no bound
  base::Duration connect_timeout = base::seconds(10);
  std::uint32_t max_packet_size = 1'048'576;  // bytes, both ways as far as the broker is concerned
  std::uint32_t max_connect_size = 131'072;   // bytes, the first packet of a connection
  std::uint32_t min_receive_rate = 1024;  // bytes/s, averaged over the keep alive, that keep an unfinished packet alive
  base::Duration write_stall_timeout = base::seconds(60);

  // sessions
  std::uint32_t max_sessions = 1'000'000;            // a broker's; each shard holds its share
  std::uint32_t max_session_expiry_s = 0xFFFF'FFFF;  // the most a client gets; 0xFFFFFFFF: for ever
  std::uint32_t v3_session_expiry_s = 0xFFFF'FFFF;   // of a 3.x session with Clean Session 0
  std::uint32_t max_client_id_bytes = 1024;
  std::uint32_t max_subscriptions_per_session = 100'000;
  std::uint32_t max_subscriptions = 4'000'000;  // a broker's
  std::uint32_t max_topic_levels = 128;
  std::uint16_t receive_maximum = 65'535;  // unacknowledged QoS 1/2 messages that a client may send
  std::uint16_t max_inflight = 1024;  // unacknowledged QoS 1/2 messages that the broker sends, at most, to one client
  std::uint16_t topic_alias_maximum = 64;         // aliases that a client may set
  std::uint16_t topic_alias_out_maximum = 64;     // aliases that the broker sets, where the client takes them
  std::uint32_t max_queued_messages = 10'000;     // QoS 1/2 messages that wait in one session
  std::uint64_t max_queued_bytes = 64ULL << 20U;  // and their bytes
  bool queue_qos0_offline = false;
  std::uint32_t max_output_bytes =
      1U << 20U;  // bytes waiting for one connection's socket: beyond, QoS 0 is dropped, QoS 1/2 wait
  std::uint8_t maximum_qos = 2;
  bool retain_available = true;
  bool wildcard_available = true;
  bool shared_available = true;
  bool subscription_ids_available = true;
  V3Denied v3_denied = V3Denied::Disconnect;
  ControlCharacters control_characters = ControlCharacters::Refuse;

  // messages
  std::uint32_t max_retained_messages = 1'000'000;
  std::uint64_t max_retained_bytes = 1ULL << 30U;  // of retained messages, payload and topic
  std::uint32_t max_message_expiry_s = 0;          // 0: as the publisher says
  std::uint32_t max_will_delay_s = 0xFFFF'FFFF;
  std::uint32_t will_restart_grace_s = 30;  // for clients that were connected when the broker died

  // presence
  std::uint32_t presence_history = 16;                        // events kept for a client
  std::uint32_t presence_max_records = 1'000'000;             // clients remembered, with and without a session
  std::uint64_t presence_max_bytes = 512ULL << 20U;           // what is remembered of them
  base::Duration presence_keep = base::seconds(30 * 86'400);  // of clients without a session; 0: for ever
  bool sys_enabled = true;                                    // $SYS/broker
  bool sys_clients_enabled = true;                            // $SYS/clients
  base::Duration sys_interval = base::seconds(10);

  // two clients that fight over one id
  std::uint32_t flapping_takeovers = 5;  // within flapping_window: seen as flapping
  base::Duration flapping_window = base::seconds(60);
  bool flapping_hold_off = false;  // refuse for a growing time
  base::Duration flapping_hold_off_max = base::seconds(60);
};

}  // namespace vigil::broker
