// A random scenario, all of it from one seed: shards, ticks, limits, clients and what happens to them. Runs it under
// the oracle's eyes.
#pragma once

#include <cstdint>
#include <string>

#include "sim/oracle.h"

namespace vigil::sim {

struct SwarmResult {
  bool ok = false;
  std::string violation;
  std::uint64_t trace = 0;  // the same for the same seed
  std::uint64_t events = 0;
  double virtual_s = 0;
  Oracle::Counts counts;
};

SwarmResult run_swarm(std::uint64_t seed, bool verbose = false);

}  // namespace vigil::sim
