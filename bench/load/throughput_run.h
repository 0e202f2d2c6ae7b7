// What a message costs a broker: publishers and subscribers in groups, each group with a bounded number of messages
// under way.
//
//   pairs     500 groups of one publisher and one subscriber
//   fan-out   one group of one publisher and many subscribers
//   fan-in    one group of many publishers, in turn, and one subscriber
//
// The bound makes the load follow the broker: what is compared is CPU time for each delivered message, not who drops
// most.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "mqtt_wire.h"
#include "net.h"

namespace vigil::bench {

struct ThroughputOptions {
  Address broker;
  Version version = Version::V311;
  unsigned groups = 500;
  unsigned publishers = 1;   // in each group
  unsigned subscribers = 1;  // in each group
  unsigned qos = 0;          // 0 or 1, of publication and subscription
  unsigned burst = 1;        // messages of one publisher before the next one's turn comes
  unsigned window = 10;      // messages of a group that are not delivered to all its subscribers yet
  unsigned payload_bytes = 64;
  unsigned warm_up_ms = 1'000;
  unsigned measure_ms = 5'000;
  pid_t broker_pid = 0;
};

struct ThroughputReport {
  std::uint64_t delivered = 0;  // while measuring
  base::Duration wall{};
  base::Duration broker_user{};
  base::Duration broker_system{};
  base::Duration own_cpu{};

  double per_second() const { return static_cast<double>(delivered) * 1e9 / static_cast<double>(wall.count()); }
  double broker_us_per_message() const {
    const auto cpu = static_cast<double>((broker_user + broker_system).count());
    return delivered == 0 ? 0 : cpu / 1e3 / static_cast<double>(delivered);
  }
};

// Runs once, in one thread. Throws std::exception with a plain sentence when the broker refuses a client, closes a
// connection, or delivers nothing for five seconds (a lost message leaves its window full).
ThroughputReport run_throughput(const ThroughputOptions& options);

}  // namespace vigil::bench
