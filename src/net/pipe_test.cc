#include "net/pipe.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <string_view>

#include "io/socket.h"

namespace vigil::net {
namespace {

constexpr int kPatienceMs = 10'000;

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, kPatienceMs) == 1;
}

// A connection over loopback, whose listener went by the default policy.
class PipeTest : public testing::Test {
 protected:
  Pipe accept() {
    const io::Fd listener = io::listen(io::Endpoint::parse("127.0.0.1:0").value(), 1).value();
    prepare_for_peers(listener.get(), policy_);
    client_ = io::connect(io::local_endpoint(listener.get()).value()).value();
    EXPECT_TRUE(readable(listener.get()));
    return Pipe(std::move(io::accept(listener.get()).value()->fd), seats_.take(0).seat);
  }
  void client_sends(std::string_view bytes) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    ASSERT_EQ(io::write(client_.get(), {&piece, 1}).n, bytes.size());
  }
  // What comes until the end, and the error that was the end.
  std::pair<std::string, std::error_code> client_reads() {
    std::string all;
    std::array<std::uint8_t, 64> buffer{};
    while (readable(client_.get())) {
      const io::Transfer got = io::read(client_.get(), buffer);
      if (got.eof || got.error) return {all, got.error};
      all += base::as_text(base::Bytes(buffer).first(got.n));
    }
    return {all, std::make_error_code(std::errc::timed_out)};
  }

  const TcpPolicy policy_;
  const base::Bytes bye_ = base::as_bytes("bye");
  std::array<std::uint8_t, 64> scratch_{};
  Seats seats_{1};
  io::Fd client_;
};

TEST_F(PipeTest, ReadsWhatComesUntilThePeerCloses) {
  Pipe pipe = accept();
  client_sends("hello");
  ASSERT_TRUE(readable(pipe.fd()));
  EXPECT_EQ(base::as_text(pipe.read(scratch_).bytes), "hello");
  EXPECT_FALSE(pipe.read(scratch_).ended) << "nothing is there now";
  client_ = io::Fd();
  ASSERT_TRUE(readable(pipe.fd()));
  EXPECT_TRUE(pipe.read(scratch_).ended);
  EXPECT_EQ(pipe.end(), base::SocketEnd::Closed);
}

TEST_F(PipeTest, TellsAResetFromAClose) {
  Pipe pipe = accept();
  io::close_with_reset(std::move(client_));
  ASSERT_TRUE(readable(pipe.fd()));
  EXPECT_TRUE(pipe.read(scratch_).ended);
  EXPECT_EQ(pipe.end(), base::SocketEnd::Reset);
}

TEST_F(PipeTest, AnEndThatThePeerDoesNotExpectIsWorthReadingOn) {
  Pipe pipe = accept();
  const Pipe::Goodbye goodbye = pipe.finish(bye_, Closing::PeerDoesNotExpectIt, scratch_);
  EXPECT_EQ(goodbye.written, bye_.size());
  EXPECT_TRUE(goodbye.read_on);
  EXPECT_FALSE(goodbye.was_sending);
  EXPECT_TRUE(pipe.give_up_socket()) << "still open";
}

TEST_F(PipeTest, APeerThatWasToldNothingIsNotReadOn) {
  Pipe pipe = accept();
  EXPECT_FALSE(pipe.finish({}, Closing::PeerDoesNotExpectIt, scratch_).read_on);
}

TEST_F(PipeTest, InputThatIsLeftDoesNotDestroyTheLastBytes) {
  {
    Pipe pipe = accept();
    client_sends("more");
    ASSERT_TRUE(readable(pipe.fd()));
    const Pipe::Goodbye goodbye = pipe.finish(bye_, Closing::Plain, scratch_);
    EXPECT_TRUE(goodbye.was_sending);
    EXPECT_FALSE(goodbye.read_on);
  }
  EXPECT_EQ(client_reads(), std::pair(std::string("bye"), std::error_code()));
}

TEST_F(PipeTest, AStuckPeerIsReset) {
  Pipe pipe = accept();
  EXPECT_FALSE(pipe.finish({}, Closing::PeerIsStuck, scratch_).read_on);
  EXPECT_EQ(client_reads().second, std::errc::connection_reset);
}

// Linux takes one lost probe for the end once the timeout has passed: the short one is for data only.
TEST_F(PipeTest, TheTimeoutOfDataInFlightGivesWayToThatOfIdleConnections) {
  Pipe pipe = accept();
  const auto timeout_ms = [&] {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(pipe.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(timeout_ms(), 120'000);
  pipe.set_tcp_timeouts(policy_, 0);
  EXPECT_TRUE(pipe.hasten());
  EXPECT_FALSE(pipe.hasten()) << "is set already";
  EXPECT_EQ(timeout_ms(), 30'000);
  EXPECT_TRUE(pipe.relax());
  EXPECT_EQ(timeout_ms(), 120'000);
  pipe.set_tcp_timeouts(policy_, 10);
  EXPECT_FALSE(pipe.hasten()) << "the keep alive is the shorter";
  EXPECT_EQ(timeout_ms(), 15'000);
}

}  // namespace
}  // namespace vigil::net
