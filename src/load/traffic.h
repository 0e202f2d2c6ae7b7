// What a message costs a broker, and how long it takes: publishers and subscribers in groups, each group with a bounded
// number of messages under way, or all of them at a fixed rate.
//
//   pairs     500 groups of one publisher and one subscriber
//   fan-out   one group of one publisher and many subscribers
//   fan-in    one group of many publishers, in turn, and one subscriber
//   shared    the same with several subscribers that share the messages
//
// The bound makes the load follow the broker: what is compared is CPU time for each delivered message, not who drops
// most. At a fixed rate a message's latency is counted from when it was to be sent, so that a broker which holds the
// load up is not excused.
#pragma once

#include <cstdint>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

struct TrafficOptions {
  unsigned groups = 500;
  unsigned publishers = 1;   // in each group
  unsigned subscribers = 1;  // in each group
  bool shared = false;       // the subscribers of a group share its messages
  unsigned qos = 0;          // of publication and subscription
  unsigned burst = 1;        // messages of one publisher before the next one's turn comes
  unsigned window = 10;      // messages of a group that are not delivered to all its subscribers yet
  double rate = 0;           // messages a second, of all groups in turn; 0: as the window allows
  unsigned payload_bytes = 64;
  unsigned warm_up_ms = 1'000;
  unsigned measure_ms = 5'000;
};

// Runs once, in one thread. Throws std::exception with a plain sentence when the broker refuses a client, closes a
// connection, delivers nothing for ten seconds (a lost message leaves its window full), or does not keep up with the
// rate.
Report run_traffic(const Target& target, const TrafficOptions& options);

}  // namespace vigil::load
