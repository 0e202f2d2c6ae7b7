#include "broker/stats.h"

#include <algorithm>

namespace vigil::broker {

void Stats::add(const Stats& other) {
  clients_connected += other.clients_connected;
  clients_disconnected += other.clients_disconnected;
  subscriptions += other.subscriptions;
  shared_subscriptions += other.shared_subscriptions;
  retained_messages = std::max(retained_messages, other.retained_messages);
  retained_bytes = std::max(retained_bytes, other.retained_bytes);
  queued_messages += other.queued_messages;
  queued_bytes += other.queued_bytes;
  inflight_messages += other.inflight_messages;
  at_risk += other.at_risk;
  presence_records += other.presence_records;
  presence_bytes += other.presence_bytes;
  sockets_opened += other.sockets_opened;
  connects += other.connects;
  connects_refused += other.connects_refused;
  messages_received += other.messages_received;
  messages_sent += other.messages_sent;
  publish_received += other.publish_received;
  publish_sent += other.publish_sent;
  publish_dropped += other.publish_dropped;
  publish_expired += other.publish_expired;
  publish_bytes_received += other.publish_bytes_received;
  publish_bytes_sent += other.publish_bytes_sent;
  bytes_received += other.bytes_received;
  bytes_sent += other.bytes_sent;
  clients_expired += other.clients_expired;
  keep_alive_timeouts += other.keep_alive_timeouts;
  takeovers += other.takeovers;
  wills_published += other.wills_published;
  wills_cancelled += other.wills_cancelled;
  protocol_errors += other.protocol_errors;
  write_stalls += other.write_stalls;
}

}  // namespace vigil::broker
