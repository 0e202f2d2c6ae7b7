// A message on its way to one session: the message, which all receivers share, and the terms, which depend on the
// receiver.
#pragma once

#include <cstdint>

#include <boost/container/small_vector.hpp>

#include "broker/message.h"
#include "mqtt/types.h"

namespace vigil::broker {

using SubscriptionIds = boost::container::small_vector<std::uint32_t, 1>;

struct Terms {
  mqtt::QoS qos = mqtt::QoS::AtMostOnce;  // the lower of the message's and the subscription's [MQTT-3.8.4-8]
  bool retain = false;                    // the RETAIN flag to send [MQTT-3.3.1-8..13]
  bool retained_at_subscribe = false;     // waits for a new subscription's turn: later messages queue up behind it
  std::uint32_t share = 0;                // the session's shared subscription it came through, 0: none
  SubscriptionIds subscription_ids;
};

// Where the store has the message of an entry: who knows need not be looked up when the entry goes.
enum class Kept : std::uint8_t { Unknown, WithEntry, Apart };

struct Delivery {
  MessagePtr message;  // null once the client has it and only its number is left (QoS 2)
  Terms terms;
  // Its place among the messages of QoS 1 and 2 of its session; decides the packet identifier. 0: has none yet.
  std::uint64_t number = 0;
  // The batch that must be stored before the client may see it; 0: none (change.h).
  std::uint64_t needs = 0;
  bool stored = false;    // the store has it, or will
  bool released = false;  // came from the store as a QoS 2 message that the client has
  Kept kept = Kept::Unknown;
  mqtt::PacketId packet_id = 0;  // not that of its number, which an older message uses; 0: that of its number
};

}  // namespace vigil::broker
