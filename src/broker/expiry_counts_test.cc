#include "broker/expiry_counts.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/random.h"

namespace vigil::broker {
namespace {

base::Instant at(std::int64_t s) { return base::Instant::from_ns(0) + base::seconds(s); }
using Sum = ExpiryCounts::Sum;

TEST(ExpiryCounts, CountsWhatHasExpired) {
  ExpiryCounts counts;
  EXPECT_TRUE(counts.empty());
  EXPECT_TRUE(counts.earliest().is_never());
  counts.add(at(10), 100);
  counts.add(at(5), 20);
  counts.add(at(10), 1);
  EXPECT_EQ(counts.earliest(), at(5));
  EXPECT_EQ(counts.expired(at(4)), (Sum{0, 0}));
  EXPECT_EQ(counts.expired(at(5)), (Sum{1, 20}));
  EXPECT_EQ(counts.expired(at(11)), (Sum{3, 121}));
  counts.remove(at(5), 20);
  EXPECT_EQ(counts.earliest(), at(10));
  counts.remove_first(2, 101);
  EXPECT_TRUE(counts.empty());
}

TEST(ExpiryCounts, LeavesOutWhatNeverExpires) {
  ExpiryCounts counts;
  counts.add(base::Instant::never(), 5);
  counts.remove(base::Instant::never(), 5);
  EXPECT_TRUE(counts.empty());
}

// However many different expiries there are: bounded, never too early, and nothing is left when all are gone.
TEST(ExpiryCounts, IsBoundedAndNeverTooEarly) {
  base::Random random(3);
  ExpiryCounts counts;
  struct Waiting {
    base::Instant expires;
    std::uint64_t bytes;
  };
  std::deque<Waiting> queue;
  for (int step = 0; step < 5'000; ++step) {
    if (queue.size() < 400 && random.chance(70)) {
      queue.push_back({at(1 + random.below(10'000)), random.below(100)});
      counts.add(queue.back().expires, queue.back().bytes);
    } else if (!queue.empty()) {
      counts.remove(queue.front().expires, queue.front().bytes);
      queue.pop_front();
    }
    ASSERT_EQ(counts.expired(at(20'000)).messages, queue.size());
  }
  for (int i = 0; i < 300; ++i) {
    queue.push_back({at(20'000 + i), 1});
    counts.add(queue.back().expires, 1);
  }
  for (const std::int64_t now : {20'000, 20'100, 20'299}) {
    const auto truly = static_cast<std::uint64_t>(
        std::ranges::count_if(queue, [&](const Waiting& w) { return w.expires <= at(now); }));
    EXPECT_LE(counts.expired(at(now)).messages, truly);
  }
  EXPECT_EQ(counts.expired(at(20'299)).messages, queue.size());
  for (const Waiting& waiting : queue) counts.remove(waiting.expires, waiting.bytes);
  EXPECT_TRUE(counts.empty());
}

// A steady stream, all with the same time to live: what is counted follows what has expired, a part of that time
// behind, even if nothing is ever removed.
TEST(ExpiryCounts, FollowASteadyStream) {
  constexpr std::int64_t kTimeToLive = 3'600;
  constexpr int kPerSecond = 2;
  ExpiryCounts counts;
  for (std::int64_t now = 0; now < 5 * kTimeToLive; ++now) {
    for (int i = 0; i < kPerSecond; ++i) counts.add(at(now + kTimeToLive), 10);
    const std::int64_t expired = std::max<std::int64_t>(0, now - kTimeToLive + 1) * kPerSecond;
    const auto counted = static_cast<std::int64_t>(counts.expired(at(now)).messages);
    ASSERT_LE(counted, expired);
    ASSERT_GE(counted, expired * 3 / 4 - kTimeToLive * kPerSecond / 8) << "after " << now << " s";
  }
}

// The same, with the expired ones removed from time to time, as a queue does.
TEST(ExpiryCounts, FollowAStreamThatIsSwept) {
  constexpr std::int64_t kTimeToLive = 10'000;
  ExpiryCounts counts;
  std::deque<std::int64_t> queue;
  std::size_t most = 0;
  for (std::int64_t now = 0; now < 100'000; now += 10) {
    queue.push_back(now + kTimeToLive);
    counts.add(at(queue.back()), 1);
    if (counts.expired(at(now)).messages > 0) {
      std::uint64_t gone = 0;
      for (; !queue.empty() && queue.front() <= now; queue.pop_front()) ++gone;
      counts.remove_first(gone, gone);
    }
    most = std::max(most, queue.size());
  }
  // 1,000 live at a time.
  EXPECT_LT(most, 1'300U);
  EXPECT_EQ(counts.expired(at(1'000'000)).messages, queue.size());
  EXPECT_EQ(counts.expired(at(1'000'000)).bytes, queue.size());
}

}  // namespace
}  // namespace vigil::broker
