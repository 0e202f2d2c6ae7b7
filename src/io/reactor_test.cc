#include "io/reactor.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/mailbox.h"
#include "io/clock.h"

namespace vigil::io {
namespace {

using base::Instant;
using base::milliseconds;
using base::seconds;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Pair {
  Fd here;
  Fd there;
};
Pair socket_pair() {
  std::array<int, 2> fds{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}
void send_byte(const Fd& fd) { ASSERT_EQ(::write(fd.get(), "x", 1), 1); }
void take_byte(const Fd& fd) {
  char byte = 0;
  ASSERT_EQ(::read(fd.get(), &byte, 1), 1);
}

class ReactorTest : public testing::TestWithParam<Reactor::Precision> {
 protected:
  // What is ready now.
  std::vector<Ready> look() { return wait(Instant::from_ns(0)); }
  std::vector<Ready> wait(std::optional<Instant> until) {
    std::vector<Ready> ready;
    EXPECT_TRUE(reactor.wait(until, ready));
    return ready;
  }
  Reactor reactor = Reactor::create(GetParam()).value();
};
INSTANTIATE_TEST_SUITE_P(, ReactorTest, testing::Values(Reactor::Precision::Automatic, Reactor::Precision::TimerFd),
                         [](const auto& precision) {
                           return precision.param == Reactor::Precision::TimerFd ? "TimerFd" : "Automatic";
                         });

TEST_P(ReactorTest, ReportsByToken) {
  Pair a = socket_pair();
  Pair b = socket_pair();
  ASSERT_TRUE(reactor.add(a.here.get(), 7, Interest::Read));
  ASSERT_TRUE(reactor.add(b.here.get(), UINT64_MAX - 2, Interest::Read));
  EXPECT_THAT(look(), IsEmpty());
  send_byte(b.there);
  EXPECT_THAT(look(), ElementsAre(Ready{.token = UINT64_MAX - 2, .readable = true}));
}

TEST_P(ReactorTest, LevelReportsAsLongAsItIsSo) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Read));
  send_byte(pair.there);
  EXPECT_THAT(look(), SizeIs(1));
  EXPECT_THAT(look(), SizeIs(1));
  take_byte(pair.here);
  EXPECT_THAT(look(), IsEmpty());
}

TEST_P(ReactorTest, EdgeReportsWhatIsNew) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Read, Trigger::Edge));
  send_byte(pair.there);
  EXPECT_THAT(look(), SizeIs(1));
  EXPECT_THAT(look(), IsEmpty());
  send_byte(pair.there);
  EXPECT_THAT(look(), SizeIs(1));
  EXPECT_THAT(look(), IsEmpty());
  ASSERT_TRUE(reactor.modify(pair.here.get(), 1, Interest::Read, Trigger::Edge));
  EXPECT_THAT(look(), SizeIs(1));
}

TEST_P(ReactorTest, InterestCanChange) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Write));
  send_byte(pair.there);
  EXPECT_THAT(look(), ElementsAre(Ready{.token = 1, .writable = true}));
  ASSERT_TRUE(reactor.modify(pair.here.get(), 2, Interest::ReadWrite));
  EXPECT_THAT(look(), ElementsAre(Ready{.token = 2, .readable = true, .writable = true}));
  ASSERT_TRUE(reactor.modify(pair.here.get(), 2, Interest::None));
  EXPECT_THAT(look(), IsEmpty());
  ASSERT_TRUE(reactor.remove(pair.here.get()));
  EXPECT_EQ(reactor.remove(pair.here.get()).error(), std::errc::no_such_file_or_directory);
}

TEST_P(ReactorTest, ReportsAPeerThatSendsNoMoreOnlyToWhoReads) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::None));
  ::shutdown(pair.there.get(), SHUT_WR);
  EXPECT_THAT(look(), IsEmpty());
  ASSERT_TRUE(reactor.modify(pair.here.get(), 1, Interest::Read));
  EXPECT_THAT(look(), ElementsAre(Ready{.token = 1, .readable = true, .hangup = true}));
}

TEST_P(ReactorTest, ReportsAClosedPeerToEverybody) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::None));
  pair.there.reset();
  EXPECT_THAT(look(), ElementsAre(Ready{.token = 1, .hangup = true}));
}

TEST_P(ReactorTest, AClosedDescriptorIsForgotten) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Write));
  pair.here.reset();
  EXPECT_THAT(look(), IsEmpty());
}

TEST_P(ReactorTest, ReportsManyInSeveralBatches) {
  std::vector<Pair> pairs;
  for (std::uint64_t i = 0; i < 600; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(reactor.add(pairs.back().here.get(), i, Interest::Write, Trigger::Edge));
  }
  EXPECT_THAT(look(), SizeIs(512));
  EXPECT_THAT(look(), SizeIs(88));
}

TEST_P(ReactorTest, ComesBackAtTheTimeAndNotBefore) {
  // The second wait for the same time, and shorter and longer ones after it, must work too.
  for (const int us : {300, 2'500, 100, 60'000, 0, -5}) {
    const Instant until = monotonic_now() + std::chrono::microseconds(us);
    int rounds = 0;
    while (monotonic_now() < until) {
      EXPECT_THAT(wait(until), IsEmpty());
      ASSERT_LT(++rounds, 10) << "spins";
    }
    EXPECT_THAT(wait(until), IsEmpty());
    EXPECT_LT(monotonic_now() - until, seconds(2));
  }
}

TEST_P(ReactorTest, ShortTimesAreKeptToLessThanAMillisecond) {
  // The best of many: the machine may be busy. A wait in whole milliseconds would take 1 ms at least.
  base::Duration best = seconds(1);
  for (int i = 0; i < 200; ++i) {
    const Instant begin = monotonic_now();
    wait(begin + std::chrono::microseconds(200));
    best = std::min(best, monotonic_now() - begin);
  }
  EXPECT_GE(best, std::chrono::microseconds(200));
  EXPECT_LT(best, std::chrono::microseconds(900));
}

TEST_P(ReactorTest, ASocketEndsTheWait) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Read));
  std::thread sender([&] { send_byte(pair.there); });
  EXPECT_THAT(wait(monotonic_now() + seconds(30)), SizeIs(1));
  sender.join();
}

TEST_P(ReactorTest, NotifyEndsTheCurrentWaitOrTheNext) {
  reactor.notify();
  reactor.notify();
  const Instant far = monotonic_now() + seconds(30);
  EXPECT_THAT(wait(far), IsEmpty());
  EXPECT_LT(monotonic_now(), far);
  std::thread other([&] { reactor.notify(); });
  EXPECT_THAT(wait(std::nullopt), IsEmpty());
  other.join();
  // Both are used up.
  const Instant soon = monotonic_now() + milliseconds(1);
  wait(soon);
  EXPECT_GE(monotonic_now(), soon);
}

TEST_P(ReactorTest, CarriesMailBetweenThreadsWithoutLosingAWakeUp) {
  constexpr int kRounds = 20'000;
  base::Mailbox<int> mail;
  std::thread producer([&] {
    std::vector<int> batch;
    for (int i = 0; i < kRounds; ++i) {
      batch.push_back(i);
      if (mail.push(batch)) reactor.notify();
      if (i % 16 == 0) std::this_thread::yield();
    }
  });
  std::vector<int> in;
  std::vector<Ready> ready;
  int received = 0;
  while (received < kRounds) {
    const bool sleep = mail.prepare_sleep();
    const Instant until = sleep ? monotonic_now() + seconds(20) : Instant::from_ns(0);
    ASSERT_TRUE(reactor.wait(until, ready));
    mail.awake();
    ASSERT_TRUE(!sleep || monotonic_now() < until) << "a wake-up was lost";
    mail.drain(in);
    received += static_cast<int>(in.size());
  }
  producer.join();
  EXPECT_EQ(received, kRounds);
}

TEST_P(ReactorTest, SharesAListenerExclusively) {
  Reactor other = Reactor::create(GetParam()).value();
  Fd shared(::eventfd(0, EFD_NONBLOCK));
  ASSERT_TRUE(reactor.add(shared.get(), 1, Interest::Read, Trigger::Level, Sharing::Exclusive));
  ASSERT_TRUE(other.add(shared.get(), 2, Interest::Read, Trigger::Level, Sharing::Exclusive));
  EXPECT_EQ(reactor.modify(shared.get(), 1, Interest::None).error(), std::errc::invalid_argument);
  ASSERT_EQ(::eventfd_write(shared.get(), 1), 0);
  EXPECT_THAT(look(), ElementsAre(Ready{.token = 1, .readable = true}));
  EXPECT_TRUE(reactor.remove(shared.get()));
}

TEST_P(ReactorTest, SurvivesAMove) {
  Pair pair = socket_pair();
  ASSERT_TRUE(reactor.add(pair.here.get(), 1, Interest::Write));
  Reactor moved = std::move(reactor);
  moved.notify();
  std::vector<Ready> ready;
  ASSERT_TRUE(moved.wait(std::nullopt, ready));
  EXPECT_THAT(ready, SizeIs(1));
}

TEST(Reactor, RefusesWhatCannotBeWaitedFor) {
  Reactor reactor = Reactor::create().value();
  Fd file(::open("/proc/self/exe", O_RDONLY));
  EXPECT_EQ(reactor.add(file.get(), 1, Interest::Read).error(), std::errc::operation_not_permitted);
}

}  // namespace
}  // namespace vigil::io
