// Queues in the store against a plain model: whatever is enqueued, acknowledged, released and ended, in groups of any
// size, what is loaded and counted is what the model has, also after the store was opened again; and when everything
// is gone, nothing is left on disk.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.h"
#include "store/store_driver_test.h"

namespace vigil::store {
namespace {

using broker::Change;

struct Waiting {
  std::string payload;
  broker::Position position;
  bool released = false;
};
struct ModelSession {
  std::map<std::uint64_t, Waiting> queue;
  std::uint64_t next = 1;
};

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) { reopen(); }

  void run(int groups) {
    std::vector<Change> changes;
    for (std::uint64_t s = 1; s <= kSessions; ++s) changes.emplace_back(begin(s));
    store_->write(std::move(changes));
    for (int i = 0; i < groups; ++i) {
      group();
      if (random_.below(12) == 0) reopen();
    }
    compare();
    for (auto& [s, one] : sessions_) {
      changes.clear();
      while (!one.queue.empty()) dequeue(s, one.queue.begin()->first, changes);
      store_->write(std::move(changes));
    }
    reopen();
    compare();
    store_.reset();
    const auto left = records(directory_.path());
    EXPECT_FALSE(left.contains("queue"));
    EXPECT_FALSE(left.contains("messages"));
    const auto database = Database::open({.directory = directory_.path()}, Access::ReadOnly);
    for (const Family family : {Family::Runs, Family::RunStates}) {
      const auto it = (*database)->scan(family, Database::sequential());
      it->SeekToFirst();
      EXPECT_FALSE(it->Valid()) << name(family);
    }
  }

 private:
  static constexpr std::uint64_t kSessions = 6;

  broker::PutSession begin(std::uint64_t s) {
    const std::uint64_t key = s + kSessions * 100 * ++lives_;
    keys_[s] = session_key(key);
    sessions_[s] = {};
    return session(key, "client" + std::to_string(s));
  }

  void group() {
    std::vector<Change> changes;
    const std::uint64_t actions = 1 + random_.below(random_.below(4) == 0 ? 60 : 6);
    for (std::uint64_t i = 0; i < actions; ++i) {
      const std::uint64_t s = 1 + random_.below(kSessions);
      switch (random_.below(8)) {
        case 0:
        case 1:
        case 2: enqueue_for_some(changes); break;
        case 3:
        case 4:
          for (std::uint64_t n = random_.below(70); n > 0 && !sessions_[s].queue.empty(); --n)
            dequeue(s, sessions_[s].queue.begin()->first, changes);
          break;
        case 5:
          if (const auto number = anyone(s)) dequeue(s, *number, changes);
          break;
        case 6:
          if (const auto number = anyone(s)) release(s, *number, changes);
          break;
        default:
          if (random_.below(10) != 0) break;
          changes.emplace_back(broker::EndSession{keys_[s]});
          changes.emplace_back(begin(s));
          break;
      }
    }
    if (!changes.empty()) store_->write(std::move(changes));
  }

  void enqueue_for_some(std::vector<Change>& changes) {
    const std::size_t size = random_.below(10) == 0 ? 2'000 : random_.below(40);
    const std::string payload = std::to_string(++published_) + std::string(size, 'x');
    const broker::MessagePtr one = message("t", payload, 1'000 + published_);
    const std::uint64_t most = random_.below(2) == 0 ? 1 : kSessions;
    for (std::uint64_t i = 0; i < most; ++i) {
      const std::uint64_t s = 1 + (published_ + i) % kSessions;
      ModelSession& to = sessions_[s];
      changes.emplace_back(broker::Enqueue{keys_[s], to.next, one, {.qos = mqtt::QoS::ExactlyOnce}});
      to.queue[to.next++] = {payload, one->position()};
    }
  }

  std::optional<std::uint64_t> anyone(std::uint64_t s) {
    auto& queue = sessions_[s].queue;
    if (queue.empty()) return std::nullopt;
    const auto it = queue.lower_bound(queue.begin()->first + random_.below(sessions_[s].next - queue.begin()->first));
    return it == queue.end() ? queue.begin()->first : it->first;
  }

  void dequeue(std::uint64_t s, std::uint64_t number, std::vector<Change>& changes) {
    const Waiting& gone = sessions_[s].queue.at(number);
    changes.emplace_back(
        broker::Dequeue{.session = keys_[s], .number = number, .message = gone.position, .released = gone.released});
    sessions_[s].queue.erase(number);
  }

  void release(std::uint64_t s, std::uint64_t number, std::vector<Change>& changes) {
    Waiting& one = sessions_[s].queue.at(number);
    if (one.released) return;
    changes.emplace_back(broker::Release{keys_[s], number, one.position});
    one.released = true;
  }

  void reopen() {
    store_.reset();
    store_ = std::make_unique<Driver>(directory_.path());
    const Contents contents = store_->recover();
    for (const auto& [s, one] : sessions_) {
      const auto it = contents.sessions.find("client" + std::to_string(s));
      ASSERT_NE(it, contents.sessions.end());
      EXPECT_EQ(it->second.queued, one.queue.size());
      if (one.queue.empty()) continue;
      EXPECT_EQ(it->second.first_number, one.queue.begin()->first);
      EXPECT_EQ(it->second.last_number, one.queue.rbegin()->first);
    }
    store_->start();
    compare();
  }

  // In pages that begin anywhere.
  void compare() {
    for (const auto& [s, one] : sessions_) {
      std::uint64_t from = one.queue.empty() ? 1 : one.queue.begin()->first + random_.below(3);
      auto expected = one.queue.lower_bound(from);
      do {
        const broker::Loaded page = store_->load({.key = keys_[s],
                                                  .from = from,
                                                  .most = 1 + static_cast<std::uint32_t>(random_.below(90)),
                                                  .most_bytes = 100'000});
        for (const broker::StoredMessage& found : page.messages) {
          ASSERT_NE(expected, one.queue.end()) << "session " << s << " has " << found.number;
          EXPECT_EQ(found.number, expected->first);
          EXPECT_EQ(found.released, expected->second.released);
          EXPECT_EQ(found.released ? "" : base::as_text(found.message->payload()),
                    found.released ? "" : std::string_view(expected->second.payload));
          ++expected;
        }
        from = page.next;
      } while (from != 0);
      EXPECT_EQ(expected, one.queue.end()) << "session " << s << " misses " << expected->first;
    }
  }

  base::Random random_;
  TempDirectory directory_;
  std::unique_ptr<Driver> store_;
  std::map<std::uint64_t, broker::SessionKey> keys_;
  std::map<std::uint64_t, ModelSession> sessions_;
  std::uint64_t published_ = 0;
  std::uint64_t lives_ = 0;
};

TEST(QueueModel, HoldsWhateverComes) {
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    SCOPED_TRACE(seed);
    Model(seed).run(150);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace vigil::store
