// Filters and topic names against a definition that shares nothing with topic.cc: split into levels, then compare.
//
// Input: a filter and a topic, separated by the first byte 0xFF.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "mqtt/topic.h"

namespace {

using Levels = std::vector<std::string>;

Levels split(const std::string& text) {
  Levels levels(1);
  for (const char c : text) {
    if (c == '/') {
      levels.emplace_back();
    } else {
      levels.back() += c;
    }
  }
  return levels;
}

std::string join(const Levels& levels, std::size_t from) {
  std::string text;
  for (std::size_t i = from; i < levels.size(); ++i) text += (i > from ? "/" : "") + levels[i];
  return text;
}

bool contains(const std::string& text, char c) { return text.find(c) != std::string::npos; }

bool naive_filter(const std::string& text) {
  if (text.empty() || text.size() > 65'535 || contains(text, '\0')) return false;
  const Levels levels = split(text);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (contains(levels[i], '+') && levels[i] != "+") return false;
    if (contains(levels[i], '#') && (levels[i] != "#" || i + 1 != levels.size())) return false;
  }
  return true;
}

bool naive_name(const std::string& text) {
  return !text.empty() && text.size() <= 65'535 && !contains(text, '\0') && !contains(text, '+') &&
         !contains(text, '#');
}

bool naive_match(const Levels& filter, const Levels& topic, std::size_t at) {
  if (at == filter.size()) return at == topic.size();
  if (filter[at] == "#") return true;  // from the parent level downward
  if (at == topic.size()) return false;
  return (filter[at] == "+" || filter[at] == topic[at]) && naive_match(filter, topic, at + 1);
}

void check(const std::string& filter, const std::string& topic) {
  using namespace vigil::mqtt;
  CHECK(valid_topic_name(topic) == naive_name(topic));
  CHECK(topic_levels(topic) == split(topic).size());
  CHECK(has_wildcard(filter) == (contains(filter, '+') || contains(filter, '#')));

  const auto parsed = TopicFilter::parse(filter);
  const Levels levels = split(filter);
  if (levels[0] == "$share") {
    const bool named = levels.size() >= 3 && naive_name(levels[1]);
    const std::string rest = named ? join(levels, 2) : "";
    CHECK(parsed.has_value() == (filter.size() <= 65'535 && named && naive_filter(rest)));
    CHECK(!parsed || (parsed->shared() && parsed->group == levels[1] && parsed->filter == rest));
  } else {
    CHECK(parsed.has_value() == naive_filter(filter));
    CHECK(!parsed || (!parsed->shared() && parsed->filter == filter));
  }
  if (!parsed || !valid_topic_name(topic)) return;
  const Levels pattern = split(std::string(parsed->filter));
  const bool hidden = topic[0] == '$' && (pattern[0] == "+" || pattern[0] == "#");
  // Deep recursion is the naive matcher's own trouble.
  if (pattern.size() > 2'000) return;
  CHECK(matches(parsed->filter, topic) == (!hidden && naive_match(pattern, split(topic), 0)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const std::size_t end = text.find('\xFF');
  check(text.substr(0, end), end == std::string::npos ? text : text.substr(end + 1));
  return 0;
}
