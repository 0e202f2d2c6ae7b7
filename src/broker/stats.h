// Counters of one shard; the broker's are their sums. Plain numbers: one thread writes them.
#pragma once

#include <cstdint>

namespace vigil::broker {

struct Stats {
  // now
  std::uint64_t clients_connected = 0;
  std::uint64_t clients_disconnected = 0;  // sessions whose client is away
  std::uint64_t subscriptions = 0;
  std::uint64_t shared_subscriptions = 0;
  std::uint64_t retained_messages = 0;  // of clients; the same on every shard, like the next
  std::uint64_t retained_bytes = 0;
  std::uint64_t queued_messages = 0;
  std::uint64_t queued_bytes = 0;
  std::uint64_t inflight_messages = 0;
  std::uint64_t at_risk = 0;
  std::uint64_t presence_records = 0;
  std::uint64_t presence_bytes = 0;
  // since the start
  std::uint64_t clients_maximum = 0;  // connected at once; of the whole broker, not counted by shards
  std::uint64_t sockets_opened = 0;
  std::uint64_t connects = 0;
  std::uint64_t connects_refused = 0;
  std::uint64_t messages_received = 0;  // packets of any type
  std::uint64_t messages_sent = 0;
  std::uint64_t publish_received = 0;
  std::uint64_t publish_sent = 0;
  std::uint64_t publish_dropped = 0;  // queue or output full, packet too large for the receiver
  std::uint64_t publish_expired = 0;
  std::uint64_t publish_bytes_received = 0;  // payloads
  std::uint64_t publish_bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t clients_expired = 0;  // sessions ended by their expiry
  std::uint64_t keep_alive_timeouts = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t wills_published = 0;
  std::uint64_t wills_cancelled = 0;
  std::uint64_t protocol_errors = 0;
  std::uint64_t write_stalls = 0;

  // Adds another shard's. What is the same everywhere is kept.
  void add(const Stats& other);
};

}  // namespace vigil::broker
