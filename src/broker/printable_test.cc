#include "broker/printable.h"

#include <gtest/gtest.h>

#include "mqtt/utf8.h"

namespace vigil::broker {
namespace {

TEST(Printable, EscapesControlCharacters) {
  EXPECT_EQ(printable("a/b"), "a/b");
  EXPECT_EQ(printable("a\nb\x1F\x7F"), "a\\x0ab\\x1f\\x7f");
  EXPECT_EQ(printable("a\xC2\x85z\xC2\x9F"), "a\\u0085z\\u009f");
  EXPECT_EQ(printable("\xC2\xA0\xC3\xA9"), "\xC2\xA0\xC3\xA9");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Printable, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(printable(std::string(256, 'a')), std::string(256, 'a'));
  EXPECT_EQ(printable(std::string(257, 'a')), std::string(256, 'a') + "...");
  for (std::size_t ahead = 250; ahead <= 256; ++ahead) {
    const std::string cut = printable(std::string(ahead, 'a') + "\xE2\x82\xAC\xC2\x85 and so on");
    EXPECT_TRUE(mqtt::valid_utf8(cut)) << ahead;
    EXPECT_TRUE(cut.ends_with("...")) << ahead;
  }
}

}  // namespace
}  // namespace vigil::broker
