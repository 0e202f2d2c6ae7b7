#include "base/timer_wheel.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/random.h"

namespace vigil::base {
namespace {

constexpr Instant at_ms(std::int64_t ms) { return Instant::from_ns(ms * 1'000'000); }
constexpr Instant at_us(std::int64_t us) { return Instant::from_ns(us * 1'000); }

std::vector<std::uint64_t> advance(TimerWheel& wheel, Instant now, std::size_t limit = SIZE_MAX) {
  std::vector<TimerOwner> fired;
  wheel.advance(now, fired, limit);
  std::vector<std::uint64_t> ids;
  for (const TimerOwner& owner : fired) ids.push_back(owner.id);
  return ids;
}

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TimerWheel, FiresOnceAndNeverEarly) {
  TimerWheel wheel(at_ms(1000));
  wheel.arm(at_us(1'500'001), {7, 1});
  EXPECT_THAT(advance(wheel, at_ms(1500)), IsEmpty());
  EXPECT_THAT(advance(wheel, Instant::from_ns(1'500'999'999)), IsEmpty());
  std::vector<TimerOwner> fired;
  wheel.advance(at_ms(1501), fired);
  EXPECT_THAT(fired, ElementsAre(TimerOwner{7, 1}));
  EXPECT_EQ(wheel.size(), 0U);
  EXPECT_THAT(advance(wheel, at_ms(100'000)), IsEmpty());
}

TEST(TimerWheel, FiresAtAWholeMillisecondExactly) {
  TimerWheel wheel(at_ms(0));
  wheel.arm(at_ms(5), {0, 1});
  EXPECT_THAT(advance(wheel, Instant::from_ns(4'999'999)), IsEmpty());
  EXPECT_THAT(advance(wheel, at_ms(5)), ElementsAre(1));
}

TEST(TimerWheel, FiresWhatIsArmedInThePastAtTheNextAdvance) {
  TimerWheel wheel(at_ms(1000));
  wheel.arm(at_ms(3), {0, 1});
  wheel.arm(at_ms(1000), {0, 2});
  wheel.arm(Instant::from_ns(-5), {0, 3});
  EXPECT_LE(wheel.next_due(), at_ms(1000));
  EXPECT_THAT(advance(wheel, at_ms(1000)), ElementsAre(1, 2, 3));
}

TEST(TimerWheel, FiresInOrderOfDueTimeThenOfArming) {
  TimerWheel wheel(at_ms(0));
  wheel.arm(at_ms(70'000), {0, 1});
  wheel.arm(at_ms(300), {0, 2});
  wheel.arm(at_ms(70'000), {0, 3});
  wheel.arm(at_ms(2), {0, 4});
  EXPECT_THAT(advance(wheel, at_ms(100'000)), ElementsAre(4, 2, 1, 3));
}

TEST(TimerWheel, KeepsTheOrderOfArmingWhenTimersOfOneMillisecondCameFromFarAndNear) {
  TimerWheel wheel(at_ms(0));
  // The first hangs in a slot that begins at 1'040 ms; the second needs no such slot any more.
  wheel.arm(at_ms(1'050), {0, 1});
  EXPECT_THAT(advance(wheel, at_ms(1'035)), IsEmpty());
  wheel.arm(at_ms(1'050), {0, 2});
  EXPECT_THAT(advance(wheel, at_ms(1'050)), ElementsAre(1, 2));
}

TEST(TimerWheel, MovesATimerBothWays) {
  TimerWheel wheel(at_ms(0));
  const TimerId later = wheel.arm(at_ms(10), {0, 1});
  const TimerId earlier = wheel.arm(at_ms(1'000'000), {0, 2});
  EXPECT_TRUE(wheel.move(later, at_ms(50)));
  EXPECT_TRUE(wheel.move(earlier, at_ms(20)));
  EXPECT_EQ(wheel.size(), 2U);
  EXPECT_THAT(advance(wheel, at_ms(49)), ElementsAre(2));
  EXPECT_THAT(advance(wheel, at_ms(50)), ElementsAre(1));
}

TEST(TimerWheel, StaleIdsFindNothing) {
  TimerWheel wheel(at_ms(0));
  const TimerId fired = wheel.arm(at_ms(1), {0, 1});
  advance(wheel, at_ms(1));
  const TimerId reuses_its_place = wheel.arm(at_ms(5), {0, 2});
  EXPECT_EQ(reuses_its_place.index, fired.index);
  EXPECT_FALSE(wheel.cancel(fired));
  EXPECT_FALSE(wheel.move(fired, at_ms(100)));
  EXPECT_TRUE(wheel.cancel(reuses_its_place));
  EXPECT_FALSE(wheel.cancel(reuses_its_place));
  EXPECT_FALSE(wheel.cancel(TimerId{}));
  EXPECT_THAT(advance(wheel, at_ms(1000)), IsEmpty());
}

TEST(TimerWheel, LeavesWhatExceedsTheLimitDue) {
  TimerWheel wheel(at_ms(0));
  for (std::uint64_t i = 0; i < 5; ++i) wheel.arm(at_ms(10 + static_cast<std::int64_t>(i / 2)), {0, i});
  EXPECT_THAT(advance(wheel, at_ms(20), 0), IsEmpty());
  EXPECT_LE(wheel.next_due(), at_ms(20));
  EXPECT_THAT(advance(wheel, at_ms(20), 2), ElementsAre(0, 1));
  EXPECT_LE(wheel.next_due(), at_ms(20));
  EXPECT_THAT(advance(wheel, at_ms(20), 2), ElementsAre(2, 3));
  EXPECT_THAT(advance(wheel, at_ms(20), 2), ElementsAre(4));
  EXPECT_TRUE(wheel.next_due().is_never());
}

TEST(TimerWheel, CancelsAndMovesWhatIsDueButNotFired) {
  TimerWheel wheel(at_ms(0));
  wheel.arm(at_ms(1), {0, 1});
  const TimerId cancelled = wheel.arm(at_ms(1), {0, 2});
  const TimerId moved = wheel.arm(at_ms(1), {0, 3});
  wheel.arm(at_ms(1), {0, 4});
  EXPECT_THAT(advance(wheel, at_ms(5), 1), ElementsAre(1));
  EXPECT_TRUE(wheel.cancel(cancelled));
  EXPECT_TRUE(wheel.move(moved, at_ms(9)));
  EXPECT_THAT(advance(wheel, at_ms(5)), ElementsAre(4));
  EXPECT_THAT(advance(wheel, at_ms(9)), ElementsAre(3));
}

TEST(TimerWheel, KnowsTheDueTimeOfALonelyTimerExactly) {
  for (const std::int64_t ms : {1LL, 1'023LL, 1'024LL, 90'000LL, 86'400'000LL, 31'536'000'000LL, 1'000'000'000'000LL}) {
    TimerWheel wheel(at_ms(12'345));
    wheel.arm(at_ms(12'345 + ms), {0, 1});
    EXPECT_EQ(wheel.next_due(), at_ms(12'345 + ms)) << ms;
  }
}

TEST(TimerWheel, WakesItsShardAFewTimesOnlyForWhatIsFarAway) {
  TimerWheel wheel(at_ms(0));
  for (std::uint64_t i = 0; i < 100; ++i) wheel.arm(at_ms(86'400'000 + static_cast<std::int64_t>(i)), {0, i});
  std::size_t fired = 0;
  int wake_ups = 0;
  for (; fired < 100; ++wake_ups) fired += advance(wheel, wheel.next_due()).size();
  EXPECT_LE(wake_ups, 100 + 9);
}

TEST(TimerWheel, HoldsTheLongestSessionExpiryThatEnds) {
  // The largest expiry below "never" is 0xFFFFFFFE seconds, about 136 years [MQTT-3.1.2-23].
  const std::int64_t expiry_ms = 0xFFFFFFFELL * 1000;
  TimerWheel wheel(at_ms(77));
  wheel.arm(at_ms(77 + expiry_ms), {0, 1});
  wheel.arm(Instant::never(), {0, 2});
  std::vector<TimerOwner> fired;
  int wake_ups = 0;
  for (; wheel.next_due() < at_ms(77 + expiry_ms); ++wake_ups) wheel.advance(wheel.next_due(), fired);
  EXPECT_THAT(fired, IsEmpty());
  EXPECT_LE(wake_ups, 16);
  EXPECT_THAT(advance(wheel, at_ms(76 + expiry_ms)), IsEmpty());
  EXPECT_THAT(advance(wheel, at_ms(77 + expiry_ms)), ElementsAre(1));
  EXPECT_EQ(wheel.size(), 1U);
}

TEST(TimerWheel, NeverArmedIsNeverDue) {
  TimerWheel wheel(at_ms(5));
  EXPECT_TRUE(wheel.next_due().is_never());
  wheel.arm(Instant::never(), {0, 1});
  EXPECT_THAT(advance(wheel, at_ms(9'000'000'000'000)), IsEmpty());
  EXPECT_EQ(wheel.next_due() > at_ms(9'000'000'000'000), true);
}

TEST(TimerWheel, IgnoresTimeThatGoesBack) {
  TimerWheel wheel(at_ms(1000));
  advance(wheel, at_ms(2000));
  wheel.arm(at_ms(2001), {0, 1});
  EXPECT_THAT(advance(wheel, at_ms(5)), IsEmpty());
  EXPECT_THAT(advance(wheel, at_ms(2001)), ElementsAre(1));
}

// The same operations on the wheel and on a sorted map, step by step.
class AgainstAModel {
 public:
  AgainstAModel(std::uint64_t seed, std::int64_t start_ms)
      : random_(seed), wheel_(at_ms(start_ms)), standing_ms_(start_ms), now_ns_(start_ms * 1'000'000) {}

  void step() {
    switch (random_.below(8)) {
      case 0:
      case 1:
      case 2: return arm();
      case 3: return move();
      case 4: return cancel();
      default: return advance();
    }
  }
  void drain() {
    while (!model_.empty()) {
      now_ns_ = std::max(now_ns_, model_.begin()->first.first * 1'000'000);
      compare_advance(SIZE_MAX);
    }
    EXPECT_EQ(wheel_.size(), 0U);
    EXPECT_TRUE(wheel_.next_due().is_never());
  }

 private:
  using Key = std::pair<std::int64_t, std::uint64_t>;  // due millisecond, order of arming
  struct Armed {
    TimerId id;
    Key key;
  };

  // Short and long ones alike: the number of bits is what is even.
  std::int64_t span(unsigned bits) {
    return static_cast<std::int64_t>(random_.next() >> (64 - 1 - random_.below(bits)));
  }
  Instant some_due() {
    const std::int64_t ns = random_.chance(5) ? now_ns_ - span(40) : now_ns_ + span(61);
    return Instant::from_ns(std::min(ns, std::int64_t{1} << 62));
  }
  Key key(Instant due) {
    const std::int64_t due_ms = due.ns() <= 0 ? 0 : (due.ns() + 999'999) / 1'000'000;
    return {std::max(due_ms, standing_ms_), order_++};
  }
  void arm() {
    const Instant due = some_due();
    const std::uint64_t name = names_++;
    const Key k = key(due);
    armed_[name] = {wheel_.arm(due, {0, name}), k};
    model_[k] = name;
  }
  std::uint64_t some_name() {
    return names_ == 0 ? 0 : names_ - 1 - random_.below(std::min<std::uint64_t>(names_, 400));
  }
  void move() {
    const std::uint64_t name = some_name();
    const auto found = armed_.find(name);
    if (found == armed_.end()) return;
    const Instant due = some_due();
    ASSERT_TRUE(wheel_.move(found->second.id, due));
    model_.erase(found->second.key);
    found->second.key = key(due);
    model_[found->second.key] = name;
  }
  void cancel() {
    const std::uint64_t name = some_name();
    const auto found = armed_.find(name);
    if (found == armed_.end()) return;
    ASSERT_TRUE(wheel_.cancel(found->second.id));
    ASSERT_FALSE(wheel_.cancel(found->second.id));
    model_.erase(found->second.key);
    armed_.erase(found);
  }
  void advance() {
    if (random_.chance(30) && !model_.empty()) {
      // Exactly where the wheel asks to be called, or just before the next one.
      const std::int64_t wanted =
          random_.chance(50) ? wheel_.next_due().ns() : model_.begin()->first.first * 1'000'000 - 1;
      now_ns_ = std::max(now_ns_, wanted);
    } else {
      now_ns_ += span(random_.chance(3) ? 52 : 36);
    }
    compare_advance(random_.chance(20) ? random_.below(4) : SIZE_MAX);
  }
  void compare_advance(std::size_t limit) {
    const std::int64_t now_ms = now_ns_ / 1'000'000;
    std::vector<TimerOwner> fired;
    wheel_.advance(Instant::from_ns(now_ns_), fired, limit);
    std::vector<TimerOwner> expected;
    while (!model_.empty() && model_.begin()->first.first <= now_ms && expected.size() < limit) {
      expected.push_back({0, model_.begin()->second});
      ASSERT_FALSE(wheel_.cancel(armed_.at(model_.begin()->second).id));
      armed_.erase(model_.begin()->second);
      model_.erase(model_.begin());
    }
    ASSERT_EQ(fired, expected);
    ASSERT_EQ(wheel_.size(), model_.size());
    if (model_.empty()) {
      standing_ms_ = now_ms;
      ASSERT_TRUE(wheel_.next_due().is_never());
      return;
    }
    const std::int64_t first_ms = model_.begin()->first.first;
    standing_ms_ = std::min(first_ms, now_ms);
    ASSERT_LE(wheel_.next_due(), at_ms(first_ms));
    if (first_ms > now_ms) {
      ASSERT_GT(wheel_.next_due(), at_ms(now_ms));
    }
  }

  Random random_;
  TimerWheel wheel_;
  std::int64_t standing_ms_;
  std::int64_t now_ns_;
  std::uint64_t order_ = 0;
  std::uint64_t names_ = 0;
  std::map<Key, std::uint64_t> model_;
  std::unordered_map<std::uint64_t, Armed> armed_;
};

TEST(TimerWheel, AgreesWithASortedMap) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    // Some start just before the highest level goes round.
    AgainstAModel run(seed, seed % 3 == 0 ? (std::int64_t{1} << 42) - 50'000 : static_cast<std::int64_t>(seed) * 977);
    for (int i = 0; i < 5'000 && !testing::Test::HasFatalFailure(); ++i) run.step();
    run.drain();
    if (testing::Test::HasFailure()) return;
  }
}

TEST(TimerWheel, FiresAMillionInOrder) {
  Random random(1);
  TimerWheel wheel(at_ms(0));
  std::vector<std::int64_t> due_ms(1'000'000);
  for (std::uint64_t i = 0; i < due_ms.size(); ++i) {
    due_ms[i] = static_cast<std::int64_t>(random.below(7'200'000));
    wheel.arm(at_ms(due_ms[i]), {0, i});
  }
  std::vector<TimerOwner> fired;
  for (std::int64_t now = 0; now <= 7'200'000; now += 36'000) {
    const std::size_t before = fired.size();
    wheel.advance(at_ms(now), fired);
    for (std::size_t i = before; i < fired.size(); ++i) {
      ASSERT_LE(due_ms[fired[i].id], now);
      ASSERT_GT(due_ms[fired[i].id], now - 36'000);
    }
  }
  EXPECT_EQ(fired.size(), due_ms.size());
  EXPECT_TRUE(std::ranges::is_sorted(fired, {}, [&](const TimerOwner& o) { return std::pair(due_ms[o.id], o.id); }));
}

}  // namespace
}  // namespace vigil::base
