// Queues in the store against a plain model: whatever is enqueued, acknowledged, released, swept and ended, in groups
// of any size, at once or as parts of joint changes, what is loaded and counted is what the model has. The store is
// closed and opened again meanwhile, flushed and compacted, and crashes: its log ends anywhere, and what is there then
// is what was there behind one of the groups. When everything is gone, nothing is left on disk.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <filesystem>
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
  broker::MessagePtr message;
  std::int64_t expires_ms = broker::kNeverMs;
  bool released = false;
  broker::Kept kept = broker::Kept::Unknown;  // as the last load said

  bool expired(std::int64_t now_ms) const { return !released && expires_ms <= now_ms; }
};
struct ModelSession {
  broker::SessionKey key;
  std::map<std::uint64_t, Waiting> queue;
  std::uint64_t next = 1;
};
using Sessions = std::map<std::uint64_t, ModelSession>;

struct SweepDone {
  std::uint64_t session = 0;
  std::uint64_t from = 0;
  std::int64_t now_ms = 0;
};
// What the store held behind a group, and what it swept before the next one.
struct Snapshot {
  Sessions sessions;
  std::vector<SweepDone> sweeps;

  bool may_lack(std::uint64_t session, std::uint64_t number, const Waiting& one) const {
    return std::any_of(sweeps.begin(), sweeps.end(), [&](const SweepDone& sweep) {
      return sweep.session == session && number >= sweep.from && one.expired(sweep.now_ms);
    });
  }
};
// An entry whose joint is not committed.
struct Held {
  broker::JointId joint = 0;
  std::uint64_t session = 0;
  broker::SessionKey key;
  std::uint64_t number = 0;
  Waiting one;
};

class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) { open(); }

  void run(int groups) {
    std::vector<Change> changes;
    for (std::uint64_t s = 1; s <= kSessions; ++s) changes.emplace_back(begin(s));
    write({.changes = std::move(changes)});
    reopen();
    for (int i = 0; i < groups && !::testing::Test::HasFatalFailure(); ++i) {
      group();
      switch (random_.below(60)) {
        case 0:
        case 1: reopen(); break;
        case 2:
        case 3:
        case 4: crash(); break;
        case 5:
        case 6: tidy(); break;
        case 7:
        case 8:
        case 9:
        case 10: sweep(); break;
        default: break;
      }
    }
    if (::testing::Test::HasFatalFailure()) return;
    compare();
    empty();
  }

 private:
  static constexpr std::uint64_t kSessions = 6;
  static constexpr const char* kMarker = "marker";  // a session whose epoch is the number of the group

  // --- what happens

  broker::PutSession begin(std::uint64_t s) {
    const std::uint64_t key = s + kSessions * 100 * ++lives_;
    sessions_[s] = {.key = session_key(key)};
    return session(key, "client" + std::to_string(s));
  }

  void write(broker::StoreBatch batch) {
    broker::PutSession marker = session(1'000'000'000, kMarker);
    marker.epoch = ++group_;
    batch.changes.emplace_back(marker);
    batch.at = now();
    store_->write(std::move(batch));
    history_[group_] = {.sessions = sessions_};
  }

  void group() {
    broker::StoreBatch batch;
    const std::uint64_t actions = 1 + random_.below(random_.below(4) == 0 ? 80 : 6);
    for (std::uint64_t i = 0; i < actions; ++i) {
      const std::uint64_t s = 1 + random_.below(kSessions);
      ModelSession& one = sessions_[s];
      switch (random_.below(10)) {
        case 0:
        case 1:
        case 2: publish(batch); break;
        case 3:
        case 4:
          for (std::uint64_t n = random_.below(70); n > 0 && !one.queue.empty(); --n)
            dequeue(one, one.queue.begin()->first, batch.changes);
          break;
        case 5:
          if (const auto number = anyone(one)) dequeue(one, *number, batch.changes);
          break;
        case 6:
          if (const auto number = anyone(one)) release(one, *number, batch.changes);
          break;
        case 7: pass_on(one, batch.changes); break;
        case 8: commit(batch); break;
        default:
          if (random_.below(20) != 0) break;
          std::erase_if(held_, [&](const Held& held) { return held.key == one.key; });
          batch.changes.emplace_back(broker::EndSession{one.key});
          batch.changes.emplace_back(begin(s));
          break;
      }
    }
    write(std::move(batch));
  }

  Waiting message_for_some() {
    static constexpr std::array<std::size_t, 6> kSizes = {0, 10, 20, 40, 900, 2'000};
    const std::string payload = std::to_string(++published_) + std::string(kSizes[random_.below(kSizes.size())], 'x');
    const std::int64_t expires_ms = random_.below(3) == 0 ? now_ms_ + 1 + random_.below(4'000) : broker::kNeverMs;
    return {.message = message("t", payload, 1'000 + published_, to_instant(expires_ms, now())),
            .expires_ms = expires_ms};
  }

  void publish(broker::StoreBatch& batch) {
    const Waiting one = message_for_some();
    const std::uint64_t most = random_.below(2) == 0 ? 1 : kSessions;
    const bool joint = random_.below(8) == 0;
    if (joint) batch.parts.push_back({.joint = ++joint_, .changes = {}});
    for (std::uint64_t i = 0; i < most; ++i) {
      const std::uint64_t s = 1 + (published_ + i) % kSessions;
      ModelSession& to = sessions_[s];
      const std::uint64_t number = to.next++;
      std::vector<Change>& changes = joint ? batch.parts.back().changes : batch.changes;
      changes.emplace_back(broker::Enqueue{to.key, number, one.message, {.qos = mqtt::QoS::ExactlyOnce}});
      if (joint) {
        held_.push_back({joint_, s, to.key, number, one});
      } else {
        to.queue[number] = one;
      }
    }
  }

  // What one session waits for comes to another, too, or instead.
  void pass_on(ModelSession& from, std::vector<Change>& changes) {
    const auto number = anyone(from);
    if (!number || from.queue.at(*number).released) return;
    Waiting one = from.queue.at(*number);
    one.kept = broker::Kept::Unknown;
    if (random_.below(2) == 0) dequeue(from, *number, changes);
    for (std::uint64_t n = 1 + random_.below(2); n > 0; --n) {
      ModelSession& to = sessions_[1 + random_.below(kSessions)];
      changes.emplace_back(broker::Enqueue{to.key, to.next, one.message, {.qos = mqtt::QoS::ExactlyOnce}});
      to.queue[to.next++] = one;
    }
  }

  // The first of the joints that wait, or the last. In the same group they may have been handed over.
  void commit(broker::StoreBatch& batch) {
    if (held_.empty()) return;
    const broker::JointId joint = random_.below(2) == 0 ? held_.front().joint : held_.back().joint;
    batch.commits.push_back(joint);
    for (const Held& held : held_) {
      if (held.joint == joint) sessions_[held.session].queue[held.number] = held.one;
    }
    std::erase_if(held_, [&](const Held& held) { return held.joint == joint; });
  }

  std::optional<std::uint64_t> anyone(const ModelSession& of) {
    if (of.queue.empty()) return std::nullopt;
    const std::uint64_t first = of.queue.begin()->first;
    const auto it = of.queue.lower_bound(first + random_.below(of.next - first));
    return it == of.queue.end() ? first : it->first;
  }

  broker::Kept kept(const Waiting& one) { return random_.below(2) == 0 ? one.kept : broker::Kept::Unknown; }

  void dequeue(ModelSession& of, std::uint64_t number, std::vector<Change>& changes) {
    const Waiting& gone = of.queue.at(number);
    changes.emplace_back(broker::Dequeue{.session = of.key,
                                         .number = number,
                                         .message = gone.message->position(),
                                         .released = gone.released,
                                         .kept = kept(gone)});
    of.queue.erase(number);
  }

  void release(ModelSession& of, std::uint64_t number, std::vector<Change>& changes) {
    Waiting& one = of.queue.at(number);
    if (one.released) return;
    changes.emplace_back(broker::Release{of.key, number, one.message->position(), kept(one)});
    one.released = true;
  }

  void sweep() {
    const std::uint64_t s = 1 + random_.below(kSessions);
    ModelSession& of = sessions_[s];
    now_ms_ += static_cast<std::int64_t>(random_.below(3'000));
    const std::uint64_t from = anyone(of).value_or(1);
    const broker::Swept swept = store_->sweep({.key = of.key, .from = from}, now());
    const std::uint64_t gone = std::erase_if(
        of.queue, [&](const auto& entry) { return entry.first >= from && entry.second.expired(now_ms_); });
    EXPECT_EQ(swept.messages, gone);
    history_[group_].sweeps.push_back({s, from, now_ms_});
    compare();
  }

  // --- the store comes and goes

  Contents open() {
    store_ = std::make_unique<Driver>(directory_.path());
    Contents contents = store_->recover();
    EXPECT_TRUE(store_->notices().empty());
    store_->start();
    held_.clear();
    return contents;
  }

  void reopen() {
    store_.reset();
    const Contents contents = open();
    compare();
    compare(contents);
    // The log before has been read, and is done with.
    history_.clear();
    history_[group_] = {.sessions = sessions_};
  }

  void crash() {
    store_.reset();
    std::filesystem::path log;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      if (entry.path().extension() == ".log" && (log.empty() || entry.path() > log)) log = entry.path();
    }
    const std::uint64_t size = std::filesystem::file_size(log);
    const std::uint64_t most = random_.below(2) == 0 ? size : std::min<std::uint64_t>(size, 3'000);
    std::filesystem::resize_file(log, size - random_.below(most + 1));
    const Contents contents = open();
    group_ = contents.sessions.at(kMarker).session.epoch;
    ASSERT_TRUE(history_.contains(group_)) << group_;
    const Snapshot then = history_.at(group_);
    sessions_ = then.sessions;
    take_over_sweeps(then);
    compare();
    compare(contents);
    history_.clear();
    history_[group_] = {.sessions = sessions_};
  }

  // How far a sweep came is the store's to say.
  void take_over_sweeps(const Snapshot& then) {
    if (then.sweeps.empty()) return;
    for (auto& [s, one] : sessions_) {
      std::map<std::uint64_t, bool> there;
      const broker::Loaded all = store_->load({.key = one.key, .most = 1'000'000, .most_bytes = UINT32_MAX});
      for (const broker::StoredMessage& found : all.messages) there[found.number] = true;
      std::erase_if(one.queue, [&, session = s](const auto& entry) {
        return !there.contains(entry.first) && then.may_lack(session, entry.first, entry.second);
      });
    }
  }

  void tidy() {
    store_.reset();
    {
      const auto database = Database::open({.directory = directory_.path()}, Access::Write);
      ASSERT_TRUE(database.has_value());
      const bool all_of_it = random_.below(2) == 0;
      for (const Family family : {Family::Queue, Family::Runs, Family::RunStates, Family::Messages}) {
        rocksdb::DB& db = (*database)->db();
        ASSERT_TRUE(db.Flush({}, (*database)->family(family)).ok());
        if (!all_of_it) continue;
        ASSERT_TRUE(db.CompactRange({}, (*database)->family(family), nullptr, nullptr).ok());
      }
    }
    const Contents contents = open();
    compare();
    compare(contents);
    history_.clear();
    history_[group_] = {.sessions = sessions_};
  }

  void empty() {
    broker::StoreBatch batch;
    for (auto& [s, one] : sessions_) {
      while (!one.queue.empty()) dequeue(one, one.queue.begin()->first, batch.changes);
    }
    write(std::move(batch));
    reopen();
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

  // --- is it the same?

  void compare(const Contents& contents) {
    for (const auto& [s, one] : sessions_) {
      const auto it = contents.sessions.find("client" + std::to_string(s));
      ASSERT_NE(it, contents.sessions.end());
      EXPECT_EQ(it->second.session.key, one.key);
      EXPECT_EQ(it->second.queued, one.queue.size());
      if (one.queue.empty()) continue;
      EXPECT_EQ(it->second.first_number, one.queue.begin()->first);
      EXPECT_EQ(it->second.last_number, one.queue.rbegin()->first);
    }
  }

  // In pages that begin anywhere.
  void compare() {
    for (auto& [s, one] : sessions_) {
      std::uint64_t from = one.queue.empty() ? 1 : one.queue.begin()->first + random_.below(3);
      auto expected = one.queue.lower_bound(from);
      do {
        const broker::Loaded page = store_->load({.key = one.key,
                                                  .from = from,
                                                  .most = 1 + static_cast<std::uint32_t>(random_.below(90)),
                                                  .most_bytes = 100'000});
        for (const broker::StoredMessage& found : page.messages) {
          ASSERT_NE(expected, one.queue.end()) << "session " << s << " has " << found.number;
          Waiting& waiting = expected->second;
          ASSERT_EQ(found.number, expected->first) << "session " << s;
          ASSERT_EQ(found.released, waiting.released) << "session " << s << " number " << found.number;
          if (!found.released) {
            ASSERT_EQ(base::as_text(found.message->payload()), base::as_text(waiting.message->payload()));
          }
          waiting.kept = found.kept;
          ++expected;
        }
        from = page.next;
      } while (from != 0);
      ASSERT_EQ(expected, one.queue.end()) << "session " << s << " misses " << expected->first;
    }
  }

  broker::Moment now() const { return {.at = kNow.at + base::milliseconds(now_ms_ - kNoon), .unix_ms = now_ms_}; }

  base::Random random_;
  TempDirectory directory_;
  std::unique_ptr<Driver> store_;
  Sessions sessions_;
  std::deque<Held> held_;
  std::map<std::uint64_t, Snapshot> history_;  // by group, since the log was begun
  std::uint64_t group_ = 0;
  std::int64_t now_ms_ = kNoon;
  std::uint64_t published_ = 0;
  std::uint64_t lives_ = 0;
  broker::JointId joint_ = 0;
};

TEST(QueueModel, HoldsWhateverComes) {
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    SCOPED_TRACE(seed);
    Model(seed).run(200);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace vigil::store
