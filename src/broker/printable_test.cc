#include "broker/printable.h"

#include <gtest/gtest.h>

#include "mqtt/utf8.h"

namespace vigil::broker {
namespace {

TEST(Printable, EscapesControlCharacters) { EXPECT_EQ(printable("a\nb\xC2\x85"), "a\\x0ab\\u0085"); }

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
