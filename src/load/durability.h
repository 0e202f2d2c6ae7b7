// What keeping a message costs a broker: sessions that stay behind when their clients go, messages for them, and their
// way out when the clients come back.
//
//   make_sessions    clients connect with Clean Session 0, subscribe at QoS 1, and leave
//   enqueue          publishes at QoS 1, with a window or at a fixed rate, until all is acknowledged
//   drain            the clients come back and acknowledge what was kept for them
//   pass             the clients are there while messages are published for them
//
// Session i is subscribed to its own topic and to one that all share.
#pragma once

#include <cstdint>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

struct DurabilityOptions {
  unsigned sessions = 200;
  // enqueue, pass
  unsigned publishers = 20;
  unsigned window = 100;       // of a publisher: messages that are not acknowledged (pass: nor delivered)
  bool to_all = false;         // each message to all sessions instead of to one, in turn
  std::uint64_t messages = 0;  // 0: as many as measure_ms allows
  unsigned measure_ms = 0;
  double rate = 0;  // messages a second at fixed times; 0: as fast as the window allows
  unsigned payload_bytes = 64;
  // drain
  std::uint64_t expected = 0;
  // The broker's CPU is counted until so long after the end: what it put off belongs to the work.
  unsigned settle_ms = 1'000;
};

// Each runs once, in one thread. They throw std::exception with a plain sentence when the broker refuses a client,
// closes a connection, or does nothing for twenty seconds.
Report make_sessions(const Target& target, const DurabilityOptions& options);
Report enqueue(const Target& target, const DurabilityOptions& options);
Report drain(const Target& target, const DurabilityOptions& options);
Report pass(const Target& target, const DurabilityOptions& options);

}  // namespace vigil::load
