// What subscriptions cost a broker: many filters, each of one client, and messages that match one of them.
#pragma once

#include <cstdint>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

struct SubscriptionsOptions {
  std::size_t filters = 200'000;
  std::size_t clients = 200;  // each has its share of them
  bool wildcard = false;      // "prefix/+/number/#" instead of "prefix/number"
  unsigned qos = 0;
  unsigned window = 100;  // messages under way
  unsigned warm_up_ms = 1'000;
  unsigned measure_ms = 5'000;
};
// Throws std::exception with a plain sentence, as traffic does.
Report run_subscriptions(const Target& target, const SubscriptionsOptions& options);

}  // namespace vigil::load
