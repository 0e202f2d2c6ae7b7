// Suggestions for words that were written wrong.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vigil::config {

// The candidate nearest to what was written, or the one that ends in it; empty where none is near.
std::string nearest(std::string_view written, const std::vector<std::string>& candidates);

// ", did you mean X?", or nothing.
std::string did_you_mean(std::string_view written, const std::vector<std::string>& candidates);

}  // namespace vigil::config
