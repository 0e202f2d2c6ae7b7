// What a configuration says against itself, although each value by itself is allowed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace vigil::config {

// Values that do not go together. The first key is the one to name; the place is that of the first one that was set.
struct Conflict {
  std::vector<std::string> keys;
  std::string message;
};

// All there are in it.
std::vector<Conflict> conflicts(const Config& config);

// A listener's key, as suggestions and messages name it: "listener.0.bind".
std::string listener_path(std::size_t index, std::string_view name);

}  // namespace vigil::config
