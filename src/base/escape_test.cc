#include "base/escape.h"

#include <gtest/gtest.h>

namespace vigil::base {
namespace {

std::string whole(std::string_view text) { return escaped(text, text.size()); }

TEST(Escape, ShowsControlCharactersByNumber) {
  EXPECT_EQ(whole("a\nb\x1F\x7F"), "a\\x0ab\\x1f\\x7f");
  EXPECT_EQ(whole("a\xC2\x85z\xC2\x9F"), "a\\u0085z\\u009f");
  EXPECT_EQ(whole(std::string_view("\0", 1)), "\\x00");
}

TEST(Escape, LeavesAllElseAsItIs) {
  for (const char* text : {"", "a/b", "a b~", "\\n\"", "\xC2\xA0\xC3\xA9", "\xE2\x82\xAC", "\xC2", "\xFF\x85"}) {
    EXPECT_EQ(whole(text), text);
  }
}

TEST(Escape, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(escaped("abcd", 4), "abcd");
  EXPECT_EQ(escaped("abcde", 4), "abcd...");
  EXPECT_EQ(escaped("ab\xE2\x82\xAC", 5), "ab\xE2\x82\xAC");
  for (const std::size_t most : {2U, 3U, 4U}) EXPECT_EQ(escaped("ab\xE2\x82\xAC", most), "ab...") << most;
  EXPECT_EQ(escaped("a\xC2\x85z", 2), "a...");
  EXPECT_EQ(escaped("\x80\x80", 1), "...");
}

TEST(Escape, CountsBytesBeforeTheyAreEscaped) { EXPECT_EQ(escaped("\n\n\n", 2), "\\x0a\\x0a..."); }

TEST(Escape, AppendsToWhatIsThere) {
  std::string line = "id=";
  append_escaped(line, "a\t");
  append_escaped(line, "bcd", 2);
  EXPECT_EQ(line, "id=a\\x09bc...");
}

}  // namespace
}  // namespace vigil::base
