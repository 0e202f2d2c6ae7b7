#include "base/text.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace vigil::base {
namespace {

TEST(Text, KeepsWhatItWasGiven) {
  std::string source = "sensors/7/temperature";
  const Text text(source);
  source.assign(source.size(), 'x');
  EXPECT_EQ(text, "sensors/7/temperature");
  EXPECT_EQ(text.size(), 21U);
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text.str(), "sensors/7/temperature");
}

TEST(Text, MayBeEmptyAndMayHoldAnyByte) {
  EXPECT_TRUE(Text().empty());
  EXPECT_EQ(Text(), Text(""));
  EXPECT_EQ(Text().view(), "");
  const std::string bytes("a\0b", 3);
  EXPECT_EQ(Text(bytes).view(), bytes);
  EXPECT_FALSE(Text(bytes) == Text("a"));
}

TEST(Text, CopiesShareWhatOutlivesTheFirst) {
  Text copy;
  {
    const Text first("shared");
    copy = first;
    EXPECT_EQ(copy.view().data(), first.view().data());
  }
  EXPECT_EQ(copy, "shared");
  const Text moved = std::move(copy);
  EXPECT_EQ(moved, "shared");
}

TEST(Text, IsReplacedAsAWhole) {
  Text text("one");
  const Text other = text;
  text = std::string_view("two");
  EXPECT_EQ(text, "two");
  EXPECT_EQ(other, "one");
  text = text.view();  // what it holds itself
  EXPECT_EQ(text, "two");
  text = Text();
  EXPECT_TRUE(text.empty());
}

}  // namespace
}  // namespace vigil::base
