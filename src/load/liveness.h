// The crowd of the liveness measurement: clients that ping, clients that fall silent, and one that waits for the last
// wills.
//
// Phases: everybody connects; a steady time in which all ping; then each silent client sends a last PINGREQ at its own
// moment and nothing more. From there the broker is on its own, and the swarm notes when it closes whom.
//
// Lateness is counted from just before the last PINGREQ was written, plus 1.5 x K [MQTT-3.1.2-22], to when the close
// (or the will) was seen. The broker cannot have read that packet sooner, nor closed later than was seen: this lateness
// is an upper bound. Counted from the PINGRESP instead, it is a lower bound. The lateness of the swarm's own 1 ms beat
// tells how late it sees things.
#pragma once

#include <cstdint>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

struct LivenessOptions {
  unsigned pingers = 10'000;
  unsigned silent = 2'000;
  std::uint16_t pinger_keep_alive_s = 20;
  unsigned ping_interval_ms = 5'000;
  std::uint16_t silent_keep_alive_s = 2;
  unsigned spread_ms = 6'000;  // the last PINGREQs fall evenly into this time
  unsigned steady_ms = 3'000;
  unsigned measure_ms = 12'000;  // from the moment the first may fall silent; longer while closes or wills are missing
  unsigned give_up_ms = 40'000;  // but no longer than this
  std::uint64_t seed = 1;
};

struct LivenessResult {
  Report report;
  // Nobody was closed early, forgotten or closed for nothing, and every will came once.
  bool clean = false;
};

// Runs once, in one thread. Throws std::exception with a plain sentence when the broker refuses a client or does not
// answer in time.
LivenessResult run_liveness(const Target& target, const LivenessOptions& options);

}  // namespace vigil::load
