// Topic names and topic filters (4.7, 4.8). Parsed once into a type, then trusted.
#pragma once

#include <optional>
#include <string_view>

namespace vigil::mqtt {

// 1..65535 bytes, no wildcard, no U+0000 [MQTT-4.7.1-1, 4.7.3-1..3]. UTF-8 is the decoder's business.
bool valid_topic_name(std::string_view topic);

// A filter and, for `$share/{group}/{filter}`, its group. Views of the text it was parsed from.
struct TopicFilter {
  std::string_view filter;  // without `$share/group/`
  std::string_view group;   // empty: not shared
  bool shared() const { return !group.empty(); }
  bool operator==(const TopicFilter&) const = default;

  // nullopt: wildcards in the wrong place, empty, too long; `$share` without a group or a filter, or with a wildcard in
  // the group's name [MQTT-4.8.2-1, -2].
  static std::optional<TopicFilter> parse(std::string_view text);
};

// What is wrong with a text that TopicFilter::parse() refuses, and the clause that says so.
struct FilterFault {
  std::string_view detail;
  std::string_view clause;
};
FilterFault fault_of_filter(std::string_view text);

bool has_wildcard(std::string_view filter);

// Levels: "a/b/c" has three, "/" two.
std::size_t topic_levels(std::string_view text);

// Whether a filter (not shared) matches a topic name; a leading wildcard does not match a topic that begins with `$`
// [MQTT-4.7.2-1]. The plain definition; the trees in `topics` are tested against it.
bool matches(std::string_view filter, std::string_view topic);

}  // namespace vigil::mqtt
