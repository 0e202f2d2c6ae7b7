#include "config/did_you_mean.h"

#include <algorithm>

#include <fmt/format.h>

namespace vigil::config {
namespace {

// What is longer is no word that somebody meant to write.
constexpr std::size_t kLongestWord = 100;

// Levenshtein's distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view written, const std::vector<std::string>& candidates) {
  if (written.size() > kLongestWord) return "";
  std::string_view best;
  // Of a short word, two letters are too much to be a slip.
  std::size_t least = (written.size() < 5 ? 1 : std::max<std::size_t>(2, written.size() / 4)) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(written, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  const std::string_view last = written.substr(written.rfind('.') + 1);
  for (const std::string& candidate : candidates) {
    if (best.empty() && !last.empty() && candidate.ends_with(fmt::format(".{}", last))) best = candidate;
  }
  return std::string(best);
}

std::string did_you_mean(std::string_view written, const std::vector<std::string>& candidates) {
  const std::string best = nearest(written, candidates);
  return best.empty() ? "" : fmt::format(", did you mean {}?", best);
}

}  // namespace vigil::config
