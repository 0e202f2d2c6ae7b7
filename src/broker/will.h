// A client's will (3.1.2.5): the message that the broker publishes when the connection ends otherwise than by a
// goodbye. Its life:
//
//   CONNECT (mqtt::Will, a view of the packet) ── will_of() ──► Will, held by the session and stored in its record
//   (PutSession) ── will_message() ──► a message like any other
//
// When it is due is not part of it: a session knows that as an instant (SessionWill), the store as a time of its own
// (PutSession::will_due_ms).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "broker/limits.h"
#include "broker/message.h"
#include "mqtt/packet.h"
#include "mqtt/types.h"

namespace vigil::broker {

struct Will {
  std::string topic;
  std::vector<std::uint8_t> payload;
  std::vector<std::uint8_t> properties;  // encoded: what is passed on with the message
  mqtt::QoS qos = mqtt::QoS::AtMostOnce;
  bool retain = false;
  bool has_message_expiry = false;
  std::uint32_t message_expiry_s = 0;  // from its publication on
  std::uint32_t delay_s = 0;           // between the end of the connection and its publication

  bool operator==(const Will&) const = default;
};

// As the client asked for it, within the limits.
Will will_of(const mqtt::Will& packet, const Limits& limits);

// What is published at `now`. Refers to the will's bytes; has no publisher and no position yet.
Message::Spec will_message(const Will& will, base::Instant now);

}  // namespace vigil::broker
