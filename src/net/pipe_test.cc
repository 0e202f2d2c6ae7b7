#include "net/pipe.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "io/socket.h"

namespace vigil::net {
namespace {

constexpr int kPatienceMs = 10'000;

// Linux takes one lost probe for the end once the timeout has passed: the short one is for data only.
TEST(PipeTest, TheTimeoutOfDataInFlightGivesWayToThatOfIdleConnections) {
  const TcpPolicy policy;
  const io::Fd listener = io::listen(io::Endpoint::parse("127.0.0.1:0").value(), 1).value();
  prepare_for_peers(listener.get(), policy);
  const io::Fd client = io::connect(io::local_endpoint(listener.get()).value()).value();
  pollfd one{listener.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&one, 1, kPatienceMs), 1);
  Seats seats(1);
  Pipe pipe(std::move(io::accept(listener.get()).value()->fd), seats.take(0).seat);
  const auto timeout_ms = [&] {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(pipe.fd(), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(timeout_ms(), 120'000);
  pipe.set_tcp_timeouts(policy, 0);
  EXPECT_TRUE(pipe.hasten());
  EXPECT_FALSE(pipe.hasten()) << "is set already";
  EXPECT_EQ(timeout_ms(), 30'000);
  EXPECT_TRUE(pipe.relax());
  EXPECT_EQ(timeout_ms(), 120'000);
  pipe.set_tcp_timeouts(policy, 10);
  EXPECT_FALSE(pipe.hasten()) << "the keep alive is the shorter";
  EXPECT_EQ(timeout_ms(), 15'000);
}

}  // namespace
}  // namespace vigil::net
