// Names for the core's limits and policies, as transcripts and the swarm's traces write them: those of struct Limits.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "broker/limits.h"

namespace vigil::sim {

struct Settings {
  broker::Limits limits;
  broker::KeepAlivePolicy keep_alive;
};

// `max_inflight`, `10`; durations as `5s`; flags as 0 or 1. Also `tick`, `keep_alive_max`, `over_max_v3` (allow,
// enforce, reject) and `control_characters` (refuse, allow). An error is a sentence.
base::Result<void, std::string> set(Settings& settings, std::string_view name, std::string_view value);

}  // namespace vigil::sim
