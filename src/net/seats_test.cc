#include "net/seats.h"

#include <gtest/gtest.h>

namespace vigil::net {
namespace {

TEST(SeatsTest, AreCountedByListenerAndGivenBack) {
  Seats seats(2);
  Seats::Taken first = seats.take(0);
  {
    const Seats::Taken second = seats.take(1);
    EXPECT_EQ(second.total, 2U);
    EXPECT_EQ(second.listener, 1U);
    const Seats::Seat moved = std::move(first.seat);
    EXPECT_EQ(seats.total(), 2U);
  }
  EXPECT_EQ(seats.total(), 0U);
}

}  // namespace
}  // namespace vigil::net
