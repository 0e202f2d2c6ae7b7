#include "net/lingering.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/socket.h"

namespace vigil::net {
namespace {

using base::Instant;

constexpr std::uint64_t kToken = 1'000;

// A connection over loopback: what the client does to its end, and what the broker's end does in its turn.
class LingeringTest : public testing::Test {
 protected:
  struct Client {
    io::Fd fd;
    // What comes until the end of the stream; the error that ended it, if it was one.
    std::pair<std::string, std::error_code> read_all() const {
      std::string all;
      std::array<std::uint8_t, 4096> buffer{};
      for (;;) {
        pollfd one{.fd = fd.get(), .events = POLLIN, .revents = 0};
        if (::poll(&one, 1, 5'000) != 1) return {all, std::make_error_code(std::errc::timed_out)};
        const io::Transfer got = io::read(fd.get(), buffer);
        if (got.eof || got.error) return {all, got.error};
        all.append(base::as_text(base::Bytes(buffer).first(got.n)));
      }
    }
    io::Transfer send(std::string_view bytes) const {
      const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
      return io::write(fd.get(), {&piece, 1});
    }
  };

  Client linger(std::uint64_t token, std::string_view unsent = {}, Instant now = kStart) {
    io::Fd listener = io::listen(*io::Endpoint::parse("127.0.0.1:0"), 16).value();
    Client client{io::connect(io::local_endpoint(listener.get()).value()).value()};
    pollfd one{.fd = listener.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&one, 1, 5'000), 1);
    io::Fd socket = std::move(io::accept(listener.get()).value()->fd);
    EXPECT_TRUE(reactor_.add(socket.get(), token, io::Interest::Read).has_value());
    lingering_.add(token, std::move(socket), seats_.linger(seats_.take(0).seat), base::as_bytes(unsent), now);
    return client;
  }
  // One turn: what the reactor reports is served. False if nothing came.
  bool turn() {
    std::vector<io::Ready> ready;
    EXPECT_TRUE(reactor_.wait(io::monotonic_now() + base::seconds(5), ready).has_value());
    std::array<std::uint8_t, 64> scratch{};
    for (const io::Ready& event : ready) lingering_.serve(event, scratch);
    return !ready.empty();
  }

  static constexpr Instant kStart = Instant::from_ns(1'000'000'000);
  Seats seats_{1};
  io::Reactor reactor_ = io::Reactor::create().value();
  Lingering lingering_{reactor_, {.sockets = 2, .time = base::seconds(2), .bytes = 1'000, .unsent = 100}};
};

TEST_F(LingeringTest, ThePeerReadsTheLastBytesAndTheEndAlthoughItSends) {
  const Client client = linger(kToken, "bye");
  EXPECT_EQ(client.send("still talking").n, 13U);
  EXPECT_TRUE(turn());
  EXPECT_EQ(client.read_all(), std::pair(std::string("bye"), std::error_code()));
  EXPECT_FALSE(client.send("and on").error);
  EXPECT_EQ(lingering_.size(), 1U);
}

TEST_F(LingeringTest, EndsWhenThePeerCloses) {
  {
    const Client client = linger(kToken);
    EXPECT_EQ(seats_.lingering(), 1U);
    EXPECT_EQ(seats_.total(), 0U) << "it is no client any more";
  }
  EXPECT_TRUE(turn());
  EXPECT_TRUE(lingering_.empty());
  EXPECT_EQ(seats_.lingering(), 0U);
}

TEST_F(LingeringTest, EndsWhenItsTimeIsOver) {
  const Client client = linger(kToken);
  EXPECT_EQ(lingering_.next_deadline(), kStart + base::seconds(2));
  lingering_.advance(kStart + base::milliseconds(1'999));
  EXPECT_EQ(lingering_.size(), 1U);
  lingering_.advance(kStart + base::seconds(2));
  EXPECT_TRUE(lingering_.empty());
  EXPECT_TRUE(lingering_.next_deadline().is_never());
}

TEST_F(LingeringTest, APeerThatSendsTooMuchIsReadNoMore) {
  const Client client = linger(kToken, "bye");
  EXPECT_EQ(client.send(std::string(2'000, 'x')).n, 2'000U);
  // 64 bytes a turn, 1,000 at most.
  for (int turns = 0; turns < 16; ++turns) EXPECT_TRUE(turn());
  std::vector<io::Ready> ready;
  EXPECT_TRUE(reactor_.wait(Instant::from_ns(0), ready).has_value());
  EXPECT_TRUE(ready.empty()) << "the reactor would not wait";
  EXPECT_EQ(client.read_all(), std::pair(std::string("bye"), std::error_code()));
}

TEST_F(LingeringTest, APeerThatSentTooMuchAndClosesIsForgotten) {
  {
    const Client client = linger(kToken);
    EXPECT_EQ(client.send(std::string(2'000, 'x')).n, 2'000U);
    for (int turns = 0; turns < 16; ++turns) EXPECT_TRUE(turn());
    io::shutdown_write(client.fd.get());
    EXPECT_TRUE(turn());
  }
  EXPECT_TRUE(lingering_.empty());
}

TEST_F(LingeringTest, TheOldestGivesWayToTheNewest) {
  const Client first = linger(kToken);
  const Client second = linger(kToken + 1, {}, kStart + base::seconds(1));
  const Client third = linger(kToken + 2, {}, kStart + base::seconds(1));
  EXPECT_EQ(lingering_.size(), 2U);
  EXPECT_EQ(lingering_.next_deadline(), kStart + base::seconds(3));
}

TEST_F(LingeringTest, CanBeHurried) {
  const Client first = linger(kToken);
  lingering_.hurry(base::milliseconds(500), kStart + base::seconds(1));
  EXPECT_EQ(lingering_.next_deadline(), kStart + base::milliseconds(1'500));
  const Client second = linger(kToken + 1, {}, kStart + base::seconds(1));
  lingering_.advance(kStart + base::milliseconds(1'500));
  EXPECT_TRUE(lingering_.empty());
}

TEST_F(LingeringTest, GivesUpLastBytesThatAreTooMany) {
  const Client client = linger(kToken, std::string(101, 'x'));
  EXPECT_EQ(client.read_all(), std::pair(std::string(), std::error_code()));
}

TEST_F(LingeringTest, KnowsNothingOfTheTokensOfOthers) {
  const Client client = linger(kToken);
  std::array<std::uint8_t, 64> scratch{};
  lingering_.serve({.token = kToken + 7, .readable = true, .error = true}, scratch);
  EXPECT_EQ(lingering_.size(), 1U);
}

TEST_F(LingeringTest, CanBeClosedAtOnce) {
  const Client client = linger(kToken);
  lingering_.close_all();
  EXPECT_TRUE(lingering_.empty());
  EXPECT_EQ(seats_.lingering(), 0U);
}

}  // namespace
}  // namespace vigil::net
