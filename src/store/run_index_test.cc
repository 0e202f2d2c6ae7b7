// The index of runs against a plain set of numbers: with many runs, and entries that go from anywhere.
#include "store/run_index.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>

#include "base/random.h"
#include "store/store_driver_test.h"

namespace vigil::store {
namespace {

class RunIndexTest : public ::testing::Test {
 protected:
  void add(std::uint64_t first, unsigned count) {
    index_.add(kSession, {.first = first,
                          .live = store::Run::all(count),
                          .shared = 0x5555'5555'5555'5555U & store::Run::all(count),
                          .count = static_cast<std::uint8_t>(count)});
  }
  std::optional<RunIndex::Taken> take(std::uint64_t number) { return index_.take({kSession, number}); }
  // What is written, as if it came to disk.
  void write() {
    rocksdb::WriteBatch batch;
    index_.write_changes(*database_, batch);
    writes_ = batch.Count();
  }
  std::set<std::uint64_t> live_from(std::uint64_t number) const {
    std::set<std::uint64_t> all;
    for (const store::Run& run : index_.from(kSession, number)) {
      for (unsigned i = 0; i < run.count; ++i) {
        if ((run.live >> i & 1U) != 0) all.insert(run.first + i);
      }
    }
    return all;
  }

  static constexpr broker::SessionKey kSession{.sequence = 4, .shard = 1};
  TempDirectory directory_;
  std::unique_ptr<Database> database_ = *Database::open({.directory = directory_.path()}, Access::Write);
  RunIndex index_;
  int writes_ = 0;
};

TEST_F(RunIndexTest, TakesEachEntryOnce) {
  add(5, 3);
  EXPECT_FALSE(take(4).has_value());
  EXPECT_FALSE(take(8).has_value());
  EXPECT_TRUE(take(6)->live);
  EXPECT_FALSE(take(6)->live);
  EXPECT_TRUE(take(7)->shared);
  write();
  EXPECT_EQ(writes_, 1);  // what is left
  EXPECT_EQ(live_from(0), (std::set<std::uint64_t>{5}));
  EXPECT_TRUE(take(5)->live);
  write();
  EXPECT_EQ(writes_, 2);  // the run and its state go
  EXPECT_TRUE(index_.from(kSession, 0).empty());
  EXPECT_FALSE(take(5).has_value());
}

TEST_F(RunIndexTest, FindsWhatIsLeftWhateverGoes) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    base::Random random(seed);
    index_ = {};
    std::set<std::uint64_t> model;
    std::uint64_t next = 1;
    for (int group = 0; group < 300; ++group) {
      for (std::uint64_t n = random.below(12); n > 0; --n) {
        const auto count = static_cast<unsigned>(1 + random.below(random.below(8) == 0 ? 64 : 4));
        next += random.below(3);
        add(next, count);
        for (unsigned i = 0; i < count; ++i) model.insert(next++);
      }
      // From the front, but for one that stays; or a stretch from anywhere.
      const bool front = random.below(2) == 0;
      auto it = model.lower_bound(front ? 2 : random.below(next));
      for (std::uint64_t n = random.below(200); n > 0 && it != model.end(); --n) {
        ASSERT_TRUE(take(*it)->live);
        it = model.erase(it);
        if (random.below(16) == 0 && it != model.end()) ++it;
      }
      write();
      const std::uint64_t from = random.below(next);
      auto live = live_from(from);
      live.erase(live.begin(), live.lower_bound(from));
      ASSERT_EQ(live, std::set<std::uint64_t>(model.lower_bound(from), model.end()));
      ASSERT_EQ(live_from(0), model);
    }
    while (!model.empty()) {
      ASSERT_TRUE(take(*model.rbegin())->live);
      model.erase(std::prev(model.end()));
    }
    write();
    EXPECT_TRUE(index_.from(kSession, 0).empty());
  }
}

// A client that acknowledges all but one message of a long queue, and a sweep through it, must not cost the square.
TEST_F(RunIndexTest, KeepsFewOfThoseThatAreGone) {
  constexpr std::uint64_t kRuns = 20'000;
  for (std::uint64_t i = 0; i < kRuns; ++i) add(1 + 2 * i, 2);
  for (std::uint64_t i = 1; i < kRuns; ++i) {
    take(1 + 2 * i);
    take(2 + 2 * i);
    write();
    ASSERT_LE(index_.from(kSession, 0).size(), 2 * (kRuns - i) + 33);
  }
  EXPECT_EQ(live_from(0), (std::set<std::uint64_t>{1, 2}));
}

}  // namespace
}  // namespace vigil::store
