#include "server/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>

#include "io/fd.h"

namespace vigil::server {
namespace {

TEST(OutputTest, WritesEverything) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const io::Fd in(ends[0]);
  io::Fd out(ends[1]);
  const std::string text(40'000, 'x');
  {
    Output output(out.get());
    output.stream() << "first\n" << text;
    EXPECT_FALSE(output.finish());
    EXPECT_TRUE(output.stream());
  }
  out.reset();
  std::string got;
  std::array<char, 4'096> piece{};
  for (ssize_t n = 0; (n = ::read(in.get(), piece.data(), piece.size())) > 0;) {
    got.append(piece.data(), static_cast<std::size_t>(n));
  }
  EXPECT_EQ(got, "first\n" + text);
}

TEST(OutputTest, NoticesAFullDisk) {
  const io::Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  Output output(full.get());
  output.stream() << "little";
  EXPECT_EQ(output.finish(), std::errc::no_space_on_device);
  EXPECT_FALSE(output.stream());
}

TEST(OutputTest, NoticesWhileItWrites) {
  const io::Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  Output output(full.get());
  const std::string line(1'000, 'x');
  int lines = 0;
  while (output.stream() && lines < 100) {
    output.stream() << line << '\n';
    ++lines;
  }
  EXPECT_LT(lines, 20);
  EXPECT_EQ(output.finish(), std::errc::no_space_on_device);
}

TEST(OutputTest, NoticesThatTheReaderIsGone) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  const io::Fd out(ends[1]);
  Output output(out.get());
  output.stream() << "nobody reads this";
  EXPECT_EQ(output.finish(), std::errc::broken_pipe);
}

}  // namespace
}  // namespace vigil::server
