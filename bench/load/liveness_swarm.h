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

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "mqtt_wire.h"
#include "net.h"
#include "process_usage.h"
#include "samples.h"

namespace vigil::bench {

struct LivenessOptions {
  Address broker;
  Version version = Version::V311;
  unsigned pingers = 10'000;
  unsigned silent = 2'000;
  std::uint16_t pinger_keep_alive_s = 20;
  unsigned ping_interval_ms = 5'000;
  std::uint16_t silent_keep_alive_s = 2;
  unsigned spread_ms = 6'000;      // the last PINGREQs fall evenly into this time
  unsigned connect_rate = 4'000;   // connections begun a second, at most
  unsigned connects_at_once = 64;  // begun and without CONNACK
  unsigned connect_limit_s = 180;  // for all of them
  unsigned steady_ms = 3'000;
  unsigned measure_ms = 12'000;  // from the moment the first may fall silent; longer while closes or wills are missing
  unsigned give_up_ms = 40'000;  // but no longer than this
  std::uint64_t seed = 1;
  pid_t broker_pid = 0;  // whose CPU and memory to read; 0: nobody's
};

struct LivenessReport {
  Samples close_lateness;
  Samples will_lateness;
  Samples close_after_answer;  // lateness counted from the PINGRESP to the last PINGREQ: the broker had read it by then
  Samples ping_answer;         // PINGREQ to PINGRESP of the pingers while measuring
  Samples last_ping_answer;    // the same for the last words of the silent
  Samples beat_lateness;       // the swarm's own noise while measuring

  unsigned early_closes = 0;  // before 1.5 x K, or before the client had fallen silent at all
  unsigned early_wills = 0;
  unsigned never_closed = 0;
  unsigned wills_missing = 0;
  unsigned wills_twice = 0;
  unsigned false_deaths = 0;  // pingers closed by the broker
  unsigned pings_unanswered = 0;
  unsigned told_keep_alive_timeout = 0;  // DISCONNECT 0x8D came before the close (5.0)
  unsigned told_otherwise = 0;           // DISCONNECT with another reason

  base::Duration connect_time{};
  base::Duration steady_wall{};
  base::Duration steady_cpu{};
  base::Duration measure_wall{};
  base::Duration measure_cpu{};
  base::Duration own_cpu{};  // of the load process while measuring
  std::uint64_t broker_resident_bytes = 0;

  // Nobody was closed early, forgotten or closed for nothing, and every will came once.
  bool clean() const {
    return early_closes + early_wills + never_closed + wills_missing + wills_twice + false_deaths == 0;
  }
};

// Runs once, in one thread, and says on stderr what it is doing. Throws std::exception with a plain sentence when the
// broker refuses a client or does not answer in time.
LivenessReport run_liveness(const LivenessOptions& options);

}  // namespace vigil::bench
