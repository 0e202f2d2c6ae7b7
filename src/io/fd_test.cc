#include "io/fd.h"

#include <fcntl.h>

namespace vigil::io {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }
Fd some() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST(Fd, ClosesWhenItsOwnerGoes) {
  int number = -1;
  {
    const Fd fd = some();
    number = fd.get();
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, HasOneOwner) {
  Fd a = some();
  const int number = a.get();
  Fd b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): that is the question
  EXPECT_EQ(b.get(), number);
  Fd c = some();
  const int other = c.get();
  c = std::move(b);
  EXPECT_FALSE(is_open(other));
  EXPECT_EQ(c.get(), number);
  EXPECT_EQ(c.release(), number);
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(Fd, OwnsNothingByDefault) {
  Fd none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.release(), -1);
}

}  // namespace
}  // namespace vigil::io
