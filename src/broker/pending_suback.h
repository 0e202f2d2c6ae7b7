// An answer to SUBSCRIBE or UNSUBSCRIBE that has to wait: for other shards to know the new interest, for the store, or
// for the connection's turn (subscribe.cc).
#pragma once

#include <cstdint>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "base/text.h"
#include "broker/ids.h"
#include "mqtt/reason_code.h"
#include "mqtt/types.h"
#include "topics/subscription_tree.h"

namespace vigil::broker {

// A new subscription that is owed what is retained.
struct RetainedWish {
  base::Text filter;
  std::uint32_t number = 0;  // OwnSubscription::number: one that is taken back and made again is another
  topics::Subscription subscription;
};
using RetainedWishes = boost::container::small_vector<RetainedWish, 1>;

struct PendingSubAck {
  ConnectionId connection;
  SessionId session;
  mqtt::PacketId packet_id = 0;
  boost::container::small_vector<mqtt::ReasonCode, 4> reasons;  // of a SUBACK
  std::vector<std::uint8_t> unsuback;                           // the whole packet; empty: it is a SUBACK
  std::uint64_t needs = 0;                                      // what every other shard must have applied
  std::uint64_t needs_batch = 0;                                // what must be stored
  RetainedWishes wishes;
};

}  // namespace vigil::broker
