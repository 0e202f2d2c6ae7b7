#include "mqtt/topic.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace vigil::mqtt {
namespace {

using namespace std::string_view_literals;

// [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3] [MQTT3-4.7.1-1] [MQTT3-4.7.3-1, MQTT3-4.7.3-2,
// MQTT3-4.7.3-3]
TEST(Topic, NameHasNoWildcardAndIsNotEmpty) {
  for (const auto good : {"a"sv, "/"sv, "a/b"sv, "/a"sv, "a/"sv, "a//b"sv, "$SYS/x"sv, "with space"sv, "ACCOUNTS"sv}) {
    EXPECT_TRUE(valid_topic_name(good)) << good;
  }
  for (const auto bad : {""sv, "#"sv, "+"sv, "a/#"sv, "a+b"sv, "sport/+/player"sv, "a\0b"sv}) {
    EXPECT_FALSE(valid_topic_name(bad)) << bad;
  }
  EXPECT_TRUE(valid_topic_name(std::string(65'535, 'a')));
  EXPECT_FALSE(valid_topic_name(std::string(65'536, 'a')));
}

TEST(Topic, NameIsSearchedAtEveryOffset) {
  for (std::size_t length = 1; length <= 24; ++length) {
    for (std::size_t at = 0; at < length; ++at) {
      for (const char bad : {'+', '#', '\0'}) {
        std::string text(length, 'x');
        text[at] = bad;
        EXPECT_FALSE(valid_topic_name(text)) << length << " " << at;
      }
      for (const char good : {'"', '$', '*', ',', '\x01', '\xA3', '\xAB', '\x80'}) {
        std::string text(length, 'x');
        text[at] = good;
        EXPECT_TRUE(valid_topic_name(text)) << length << " " << at;
      }
    }
  }
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT3-4.7.1-2] [MQTT3-4.7.1-3]
TEST(Topic, FilterWildcardsStandAloneAndTheLastIsHash) {
  for (const auto good : {"a"sv, "/"sv, "#"sv, "+"sv, "+/+"sv, "/+"sv, "+/"sv, "a/+/b"sv, "a/#"sv, "/#"sv, "+/#"sv,
                          "$SYS/#"sv, "a//b"sv, "$shared/x"sv}) {
    const auto filter = TopicFilter::parse(good);
    ASSERT_TRUE(filter) << good;
    EXPECT_EQ(filter->filter, good);
    EXPECT_FALSE(filter->shared());
  }
  for (const auto bad : {""sv, "a#"sv, "#a"sv, "a/#/b"sv, "#/"sv, "##"sv, "a+"sv, "+a"sv, "a/b+/c"sv, "++"sv, "+#"sv,
                         "a/b\0"sv, "\0"sv}) {
    EXPECT_FALSE(TopicFilter::parse(bad)) << bad;
  }
  EXPECT_TRUE(TopicFilter::parse(std::string(65'535, 'a')));
  EXPECT_FALSE(TopicFilter::parse(std::string(65'536, 'a')));
}

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
TEST(Topic, SharedFilterNamesAGroupAndAFilter) {
  EXPECT_EQ(TopicFilter::parse("$share/g/a/b"), (TopicFilter{"a/b", "g"}));
  EXPECT_EQ(TopicFilter::parse("$share/g/#"), (TopicFilter{"#", "g"}));
  EXPECT_EQ(TopicFilter::parse("$share/g//"), (TopicFilter{"/", "g"}));
  EXPECT_EQ(TopicFilter::parse("$share/g/$SYS/+"), (TopicFilter{"$SYS/+", "g"}));
  for (const auto bad :
       {"$share"sv, "$share/"sv, "$share//a"sv, "$share/g"sv, "$share/g/"sv, "$share/+/a"sv, "$share/#/a"sv,
        "$share/g+/a"sv, "$share/g#/a"sv, "$share/g/a#"sv, "$share/g\0/a"sv, "$share/#"sv}) {
    EXPECT_FALSE(TopicFilter::parse(bad)) << bad;
  }
}

TEST(Topic, SaysWhatIsWrongWithAFilter) {
  struct Case {
    std::string_view text;
    std::string_view clause;
  };
  for (const Case& c : {
           Case{"", "MQTT-4.7.3-1"},
           Case{"a#", "MQTT-4.7.1-1"},
           Case{"#/a", "MQTT-4.7.1-1"},
           Case{"##", "MQTT-4.7.1-1"},
           Case{"+#", "MQTT-4.7.1-1"},
           Case{"a/b+", "MQTT-4.7.1-2"},
           Case{"++", "MQTT-4.7.1-2"},
           Case{"$share", "MQTT-4.8.2-2"},
           Case{"$share/", "MQTT-4.8.2-2"},
           Case{"$share/g", "MQTT-4.8.2-2"},
           Case{"$share/g/", "MQTT-4.8.2-2"},
           Case{"$share//f", "MQTT-4.8.2-1"},
           Case{"$share/g+/f", "MQTT-4.8.2-2"},
           Case{"$share/#/f", "MQTT-4.8.2-2"},
           Case{"$share/g/f#", "MQTT-4.7.1-1"},
           Case{"$share/g/+f", "MQTT-4.7.1-2"},
           Case{"a\0b"sv, "MQTT-4.7.3-2"},
       }) {
    ASSERT_FALSE(TopicFilter::parse(c.text)) << c.text;
    EXPECT_EQ(fault_of_filter(c.text).clause, c.clause) << c.text;
    EXPECT_FALSE(fault_of_filter(c.text).detail.empty()) << c.text;
  }
}

TEST(Topic, CountsLevels) {
  EXPECT_EQ(topic_levels("a/b/c"), 3U);
  EXPECT_EQ(topic_levels("/"), 2U);
  EXPECT_EQ(topic_levels("a"), 1U);
  EXPECT_EQ(topic_levels("/a//"), 4U);
}

TEST(Topic, SeesWildcards) {
  EXPECT_TRUE(has_wildcard("a/+/b"));
  EXPECT_TRUE(has_wildcard("#"));
  EXPECT_FALSE(has_wildcard("a/b"));
}

struct Match {
  std::string_view filter;
  std::string_view topic;
  bool expected;
};

// The examples of 4.7, and their neighbours.  [MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT3-4.7.2-1] [MQTT3-4.7.3-4]
TEST(Topic, MatchesLevelByLevel) {
  constexpr std::array kCases = {
      Match{"sport/tennis/player1/#", "sport/tennis/player1", true},
      Match{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
      Match{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
      Match{"sport/tennis/player1/#", "sport/tennis/player10", false},
      Match{"sport/#", "sport", true},
      Match{"sport/#", "sport/", true},
      Match{"sport/#", "sports", false},
      Match{"#", "a", true},
      Match{"#", "/", true},
      Match{"sport/tennis/+", "sport/tennis/player1", true},
      Match{"sport/tennis/+", "sport/tennis/player1/ranking", false},
      Match{"sport/+", "sport", false},
      Match{"sport/+", "sport/", true},
      Match{"+/+", "/finance", true},
      Match{"/+", "/finance", true},
      Match{"+", "/finance", false},
      Match{"+", "finance", true},
      Match{"+/#", "finance", true},
      Match{"+/tennis/#", "sport/tennis", true},
      Match{"a/+/c", "a/b/c", true},
      Match{"a/+/c", "a//c", true},
      Match{"a/+/c", "a/b/d", false},
      Match{"a/b", "a/b/c", false},
      Match{"a/b/c", "a/b", false},
      Match{"a/b/", "a/b", false},
      Match{"a", "A", false},
      Match{"#", "$SYS/x", false},
      Match{"+/monitor/Clients", "$SYS/monitor/Clients", false},
      Match{"+", "$SYS", false},
      Match{"$SYS/#", "$SYS/monitor/Clients", true},
      Match{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
      Match{"$SYS/#", "$SYS", true},
      Match{"a/#", "a/$b", true},
      Match{"a/+", "a/$b", true},
  };
  for (const Match& c : kCases) EXPECT_EQ(matches(c.filter, c.topic), c.expected) << c.filter << " " << c.topic;
}

}  // namespace
}  // namespace vigil::mqtt
