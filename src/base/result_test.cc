#include "base/result.h"

#include <memory>
#include <string>

namespace vigil::base {
namespace {

using IntOrText = Result<int, std::string>;

IntOrText parse(int value) {
  if (value < 0) return Err(std::string("negative"));
  return value;
}

IntOrText sum(int a, int b, int* steps) {
  TRY(const int x, parse(a));
  ++*steps;
  TRY(const int y, parse(b));
  ++*steps;
  return x + y;
}

Result<void, std::string> both(int a, int b, int* steps) {
  TRY_VOID(parse(a));
  ++*steps;
  TRY_VOID(parse(b));
  ++*steps;
  return {};
}

Result<std::unique_ptr<int>, int> made(bool good) {
  if (!good) return Err(5);
  return std::make_unique<int>(3);
}

Result<std::string, int> uses_what_only_moves(bool good) {
  TRY(const std::unique_ptr<int> p, made(good));
  return std::string(static_cast<std::size_t>(*p), 'x');
}

TEST(Result, TryGivesTheValue) {
  int steps = 0;
  EXPECT_EQ(sum(1, 2, &steps), 3);
  EXPECT_EQ(steps, 2);
}

TEST(Result, TryReturnsTheFirstErrorAtOnce) {
  int steps = 0;
  const IntOrText failed = sum(1, -2, &steps);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), "negative");
  EXPECT_EQ(steps, 1);
}

TEST(Result, TryVoidPassesErrorsOn) {
  int steps = 0;
  EXPECT_TRUE(both(1, 2, &steps));
  EXPECT_EQ(steps, 2);
  steps = 0;
  const auto failed = both(-1, 2, &steps);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error(), "negative");
  EXPECT_EQ(steps, 0);
}

TEST(Result, TryMovesValuesAndConvertsTheResultType) {
  EXPECT_EQ(uses_what_only_moves(true), "xxx");
  ASSERT_FALSE(uses_what_only_moves(false));
  EXPECT_EQ(uses_what_only_moves(false).error(), 5);
}

TEST(Result, ErrTakesCopiesOfNamedErrors) {
  const std::string why = "why";
  const Result<int, std::string> failed = Err(why);
  EXPECT_EQ(failed.error(), "why");
  EXPECT_EQ(why, "why");
}

}  // namespace
}  // namespace vigil::base
