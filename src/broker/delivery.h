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

struct Delivery {
  MessagePtr message;
  Terms terms;
};

}  // namespace vigil::broker
