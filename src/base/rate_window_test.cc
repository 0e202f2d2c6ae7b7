#include "base/rate_window.h"

#include <gtest/gtest.h>

namespace vigil::base {
namespace {

class RateWindowTest : public testing::Test {
 protected:
  int admitted_of(int events, std::uint32_t most) {
    int admitted = 0;
    for (int i = 0; i < events; ++i) admitted += window_.admits(most, clock_.now()) ? 1 : 0;
    return admitted;
  }
  RateWindow window_;
  ManualClock clock_;
};

TEST_F(RateWindowTest, AdmitsNInASecond) {
  EXPECT_EQ(admitted_of(5, 3), 3);
  clock_.advance(seconds(1) - Duration(1));
  EXPECT_EQ(admitted_of(1, 3), 0);
}

TEST_F(RateWindowTest, AdmitsAgainInTheNextSecond) {
  EXPECT_EQ(admitted_of(5, 3), 3);
  clock_.advance(seconds(1));
  EXPECT_EQ(admitted_of(5, 3), 3);
}

TEST_F(RateWindowTest, ASecondBeginsWithItsFirstEvent) {
  clock_.advance(milliseconds(700));
  EXPECT_EQ(admitted_of(2, 2), 2);
  clock_.advance(milliseconds(999));
  EXPECT_EQ(admitted_of(1, 2), 0);
  clock_.advance(milliseconds(1));
  EXPECT_EQ(admitted_of(2, 2), 2);
}

TEST_F(RateWindowTest, TheNumberMayChangeWithinASecond) {
  EXPECT_EQ(admitted_of(3, 2), 2);
  EXPECT_EQ(admitted_of(2, 5), 2);
  EXPECT_EQ(admitted_of(1, 5), 0);
}

TEST_F(RateWindowTest, ZeroAdmitsNothing) { EXPECT_EQ(admitted_of(1, 0), 0); }

}  // namespace
}  // namespace vigil::base
