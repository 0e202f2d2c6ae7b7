// What the tests of the store share: a store in a directory of its own, driven by batches and their answers.
#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/database.h"
#include "store/rocksdb_store.h"
#include "store/run_scan.h"

namespace vigil::store {

inline constexpr std::int64_t kNoon = 1'900'000'000'000;
inline const broker::Moment kNow{.at = base::Instant::from_ns(5'000'000'000), .unix_ms = kNoon};
inline constexpr base::Duration kPatience = std::chrono::seconds(60);

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vigil_store_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Contents {
  std::map<std::string, broker::RecoveredSession> sessions;  // by client id
  std::vector<broker::SessionKey> order;
  std::map<std::string, broker::MessagePtr> retained;
  std::map<std::string, std::vector<std::uint8_t>> presence;
};

// A store that is running. Its answers are collected by shard.
class Driver {
 public:
  explicit Driver(Options options) {
    auto opened = RocksdbStore::open(options);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error());
    if (opened) store_ = std::move(*opened);
  }
  explicit Driver(const std::filesystem::path& directory) : Driver(Options{.directory = directory}) {}
  ~Driver() {
    if (store_) store_->stop(kPatience);
  }

  Contents recover(const broker::Moment& now = kNow) {
    Contents contents;
    const auto result = store_->recover(
        now, [&contents](broker::RecoveredFact&& one) { take(std::move(one), contents); },
        [this](NoticeKind kind, const std::string& text) { notices_.emplace_back(kind, text); });
    EXPECT_TRUE(result.has_value()) << (result ? "" : result.error());
    return contents;
  }
  Driver& start() {
    store_->start([this](broker::ShardId shard, std::vector<broker::StoreReply>&& replies) { got(shard, replies); },
                  [this](NoticeKind kind, const std::string& text) {
                    const std::lock_guard lock(mutex_);
                    notices_.emplace_back(kind, text);
                    changed_.notify_all();
                  });
    return *this;
  }
  RocksdbStore& store() { return *store_; }

  // Hands a batch over without waiting. Gives it its number, if it has changes.
  void submit(broker::StoreBatch batch, broker::ShardId shard = 0) {
    batch.at.unix_ms = batch.at.unix_ms == 0 ? kNow.unix_ms : batch.at.unix_ms;
    if (batch.at.at == base::Instant()) batch.at.at = kNow.at;
    const bool writes = !batch.changes.empty() || !batch.parts.empty() || !batch.commits.empty();
    if (writes) batch.number = ++numbers_[shard];
    store_->submit(shard, std::move(batch));
  }
  // And waits until it is written.
  void write(broker::StoreBatch batch, broker::ShardId shard = 0) {
    submit(std::move(batch), shard);
    wait_until([&] { return stored_[shard].number >= numbers_[shard]; });
  }
  void write(std::vector<broker::Change> changes, broker::ShardId shard = 0) {
    write(broker::StoreBatch{.changes = std::move(changes)}, shard);
  }
  broker::Loaded load(const broker::LoadRequest& request, broker::ShardId shard = 0) {
    submit(broker::StoreBatch{.loads = {request}}, shard);
    wait_until([this] { return !loaded_.empty(); });
    const std::lock_guard lock(mutex_);
    broker::Loaded first = std::move(loaded_.front());
    loaded_.erase(loaded_.begin());
    return first;
  }
  broker::Swept sweep(const broker::SweepRequest& request, const broker::Moment& at) {
    submit(broker::StoreBatch{.at = at, .sweeps = {request}});
    wait_until([this] { return !swept_.empty(); });
    const std::lock_guard lock(mutex_);
    const broker::Swept first = swept_.front();
    swept_.erase(swept_.begin());
    return first;
  }
  template <class Condition>
  void wait_until(Condition condition) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kPatience, condition));
  }
  bool stop() { return store_->stop(kPatience); }
  broker::Stored stored(broker::ShardId shard) {
    const std::lock_guard lock(mutex_);
    return stored_[shard];
  }
  std::vector<std::pair<NoticeKind, std::string>> notices() {
    const std::lock_guard lock(mutex_);
    return notices_;
  }
  bool noticed(NoticeKind kind) const {  // within wait_until
    for (const auto& notice : notices_) {
      if (notice.first == kind) return true;
    }
    return false;
  }

 private:
  static void take(broker::RecoveredFact&& one, Contents& contents) {
    if (auto* session = std::get_if<broker::RecoveredSession>(&one)) {
      contents.order.push_back(session->session.key);
      const std::string id = session->session.client_id;
      contents.sessions.emplace(id, std::move(*session));
    } else if (auto* retained = std::get_if<broker::RecoveredRetained>(&one)) {
      contents.retained.emplace(retained->message->topic(), retained->message);
    } else if (auto* presence = std::get_if<broker::RecoveredPresence>(&one)) {
      contents.presence.emplace(presence->client_id, presence->record);
    }
  }
  void got(broker::ShardId shard, std::vector<broker::StoreReply>& replies) {
    const std::lock_guard lock(mutex_);
    for (broker::StoreReply& reply : replies) {
      if (auto* stored = std::get_if<broker::Stored>(&reply)) {
        stored_[shard].number = stored->number;
        std::vector<broker::JointId>& joints = stored_[shard].joints;
        joints.insert(joints.end(), stored->joints.begin(), stored->joints.end());
      } else if (auto* loaded = std::get_if<broker::Loaded>(&reply)) {
        loaded_.push_back(std::move(*loaded));
      } else {
        swept_.push_back(std::get<broker::Swept>(reply));
      }
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<std::uint64_t, broker::kMaxShards> numbers_{};
  std::array<broker::Stored, broker::kMaxShards> stored_;
  std::vector<broker::Loaded> loaded_;
  std::vector<broker::Swept> swept_;
  std::vector<std::pair<NoticeKind, std::string>> notices_;
  std::unique_ptr<RocksdbStore> store_;  // last: its thread uses the others
};

inline broker::MessagePtr message(std::string_view topic, std::string_view payload, std::uint64_t sequence,
                                  base::Instant expires = base::Instant::never()) {
  return broker::Message::make({.topic = topic,
                                .payload = base::as_bytes(payload),
                                .qos = mqtt::QoS::AtLeastOnce,
                                .expires = expires,
                                .position = {.sequence = sequence, .shard = 3}});
}

inline broker::SessionKey session_key(std::uint64_t sequence) { return {.sequence = sequence, .shard = 1}; }

inline broker::PutSession session(std::uint64_t sequence, std::string client_id) {
  return {.key = session_key(sequence), .client_id = std::move(client_id), .expiry_s = 3'600};
}

// How many records a closed store has in each family; entries that wait in runs count as if they were records of the
// queue.
inline std::map<std::string, std::size_t> records(const std::filesystem::path& directory) {
  std::map<std::string, std::size_t> counts;
  auto database = Database::open({.directory = directory}, Access::ReadOnly);
  EXPECT_TRUE(database.has_value()) << (database ? "" : database.error());
  for (std::size_t i = 0; database && i < kFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    const auto it = (*database)->scan(family, Database::sequential());
    if (family == Family::Runs || family == Family::RunStates) continue;
    for (it->SeekToFirst(); it->Valid(); it->Next()) ++counts[std::string(name(family))];
  }
  if (database) {
    const auto status =
        for_each_entry_in_runs(**database, {.entry = [&](const EntryKey&, base::Bytes) { ++counts["queue"]; },
                                            .damage = [](const std::string& what) { ADD_FAILURE() << what; }});
    EXPECT_TRUE(status.ok());
  }
  return counts;
}

}  // namespace vigil::store
