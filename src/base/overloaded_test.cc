#include "base/overloaded.h"

#include <string>
#include <utility>
#include <variant>

#include <gtest/gtest.h>

namespace vigil::base {
namespace {

TEST(Overloaded, CallsTheLambdaThatFitsBest) {
  const auto name = Overloaded{[](int) { return "int"; }, [](const std::string&) { return "string"; },
                               [](auto) { return "something else"; }};
  std::variant<int, std::string, double> value = 1;
  EXPECT_STREQ(std::visit(name, value), "int");
  value = "a";
  EXPECT_STREQ(std::visit(name, value), "string");
  value = 0.5;
  EXPECT_STREQ(std::visit(name, value), "something else");
}

TEST(Overloaded, LambdasMayChangeTheValueAndWhatTheyCapture) {
  std::variant<int, std::string> value = "abc";
  std::size_t seen = 0;
  std::visit(
      Overloaded{[&](int& number) { number = 0; }, [&](std::string& text) { seen = std::exchange(text, "").size(); }},
      value);
  EXPECT_EQ(seen, 3U);
  EXPECT_EQ(std::get<std::string>(value), "");
}

}  // namespace
}  // namespace vigil::base
