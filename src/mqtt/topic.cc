#include "mqtt/topic.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace vigil::mqtt {
namespace {

constexpr std::size_t kMaxLength = 65'535;
constexpr std::string_view kShare = "$share";

constexpr std::uint64_t kOnes = 0x0101'0101'0101'0101ULL;
constexpr std::uint64_t kHighs = 0x8080'8080'8080'8080ULL;

// Not zero if one of the eight bytes is zero.
constexpr std::uint64_t zero_byte(std::uint64_t word) { return (word - kOnes) & ~word & kHighs; }

// Splits off the first level; `text` becomes what follows the slash. False when this was the last level.
bool next_level(std::string_view& text, std::string_view& level) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    level = text;
    text = {};
    return false;
  }
  level = text.substr(0, slash);
  text.remove_prefix(slash + 1);
  return true;
}

// A filter that is not shared: a wildcard stands alone in its level, '#' only in the last [MQTT-4.7.1-1, -2].
bool valid_filter(std::string_view text) {
  if (text.empty()) return false;
  bool more = true;
  while (more) {
    std::string_view level;
    more = next_level(text, level);
    if (level.find_first_of(std::string_view("+#\0", 3)) == std::string_view::npos) continue;
    if (level.size() != 1 || level[0] == '\0') return false;
    if (level[0] == '#' && more) return false;
  }
  return true;
}

// '+' and '#' differ in one bit.
constexpr unsigned kBetweenWildcards = '+' ^ '#';
static_assert(std::has_single_bit(kBetweenWildcards));

bool eight_valid(const char* p) {
  std::uint64_t word;
  std::memcpy(&word, p, 8);
  const std::uint64_t wildcards = (word | (kOnes * kBetweenWildcards)) ^ (kOnes * ('+' | '#'));
  return (zero_byte(word) | zero_byte(wildcards)) == 0;
}

}  // namespace

bool valid_topic_name(std::string_view topic) {
  if (topic.empty() || topic.size() > kMaxLength) return false;
  const char* p = topic.data();
  if (topic.size() < 8) {
    return std::all_of(p, p + topic.size(), [](char c) { return c != '+' && c != '#' && c != '\0'; });
  }
  // Eight at once; the last look overlaps.
  const char* last = p + topic.size() - 8;
  for (; p < last; p += 8) {
    if (!eight_valid(p)) return false;
  }
  return eight_valid(last);
}

std::optional<TopicFilter> TopicFilter::parse(std::string_view text) {
  if (text.size() > kMaxLength) return std::nullopt;
  TopicFilter result{.filter = text, .group = {}};
  std::string_view rest = text;
  std::string_view first;
  const bool more = next_level(rest, first);
  if (first == kShare) {
    if (!more || !next_level(rest, result.group)) return std::nullopt;
    if (result.group.empty() || result.group.find_first_of(std::string_view("+#\0", 3)) != std::string_view::npos) {
      return std::nullopt;
    }
    result.filter = rest;
  }
  if (!valid_filter(result.filter)) return std::nullopt;
  return result;
}

FilterFault fault_of_filter(std::string_view text) {
  std::string_view rest = text;
  std::string_view level;
  const bool more = next_level(rest, level);
  if (level == kShare) {
    std::string_view group;
    if (!more || !next_level(rest, group) || rest.empty())
      return {"$share without a group's name and a filter behind it", "MQTT-4.8.2-2"};
    if (group.empty()) return {"$share with an empty group's name", "MQTT-4.8.2-1"};
    if (has_wildcard(group)) return {"a wildcard in the name of the share group", "MQTT-4.8.2-2"};
    text = rest;
  }
  if (text.empty()) return {"empty", "MQTT-4.7.3-1"};
  for (bool another = true; another;) {
    another = next_level(text, level);
    if (level.find('#') != std::string_view::npos && (level.size() != 1 || another))
      return {"'#' must be the last level, alone in it", "MQTT-4.7.1-1"};
    if (level.find('+') != std::string_view::npos && level.size() != 1)
      return {"'+' must be alone in its level", "MQTT-4.7.1-2"};
  }
  return {"longer than 65535 bytes, or holds U+0000", "MQTT-4.7.3-2"};
}

bool has_wildcard(std::string_view filter) { return filter.find_first_of("+#") != std::string_view::npos; }

std::size_t topic_levels(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '/')) + 1;
}

bool matches(std::string_view filter, std::string_view topic) {
  if (topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'))) return false;
  for (;;) {
    std::string_view wanted;
    std::string_view given;
    const bool more_filter = next_level(filter, wanted);
    const bool more_topic = next_level(topic, given);
    if (wanted == "#") return true;
    if (wanted != "+" && wanted != given) return false;
    if (!more_filter) return !more_topic;
    // "sport/#" matches "sport" too: '#' includes the parent level.
    if (!more_topic) return filter == "#";
  }
}

}  // namespace vigil::mqtt
