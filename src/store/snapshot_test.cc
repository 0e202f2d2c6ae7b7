#include "store/snapshot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "store/store_driver_test.h"
#include "store/store_reader.h"
#include "store/tool.h"

namespace vigil::store {
namespace {

constexpr std::uint64_t kKept = 200;
constexpr std::size_t kSmall = std::size_t{256} << 10U;  // so that tables are made, merged and deleted all the time

std::vector<std::string> names(const std::filesystem::path& directory) {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    all.push_back(entry.path().filename().string());
  }
  std::sort(all.begin(), all.end());
  return all;
}

// One change after another, each in one batch: message n comes, message n - kKept goes, and a retained message says n.
// So at any moment exactly kKept messages wait, and they follow each other up to the number that is retained.
class BusyStore {
 public:
  explicit BusyStore(const std::filesystem::path& directory)
      : store_(Options{.directory = directory, .buffered_bytes = kSmall}) {
    store_.start();
    store_.write({session(1, "a")});
    for (std::uint64_t i = 0; i < kKept; ++i) store_.submit(batch(++number_));
    store_.write(batch(++number_));
    written_ = number_;
    thread_ = std::thread([this] { run(); });
  }
  ~BusyStore() {
    over_ = true;
    thread_.join();
  }
  // What is written and answered.
  std::uint64_t written() const { return written_; }

 private:
  broker::StoreBatch batch(std::uint64_t number) {
    const auto one = message("t", std::string(2'000, static_cast<char>('a' + number % 26)), number);
    broker::StoreBatch batch{.changes = {broker::Enqueue{session_key(1), number, one, {.qos = mqtt::QoS::AtLeastOnce}},
                                         broker::PutRetained{message("last", std::to_string(number), number)}}};
    if (number > kKept) {
      batch.changes.emplace_back(broker::Dequeue{
          .session = session_key(1), .number = number - kKept, .message = {.sequence = number - kKept, .shard = 3}});
    }
    return batch;
  }
  void run() {
    while (!over_) {
      for (int i = 0; i < 20; ++i) store_.submit(batch(++number_));
      store_.write(batch(++number_));
      written_ = number_;
    }
  }

  Driver store_;
  std::uint64_t number_ = 0;
  std::atomic<std::uint64_t> written_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

struct Seen {
  std::set<std::uint64_t> waiting;
  std::string retained;
};

Seen look(StoreReader& store) {
  Seen seen;
  const auto damage = [](const std::string& what) { ADD_FAILURE() << what; };
  EXPECT_TRUE(store
                  .for_each(
                      Family::Queue,
                      [&](base::Bytes key, base::Bytes) { seen.waiting.insert(read_entry_key(key)->number); }, damage)
                  .ok());
  EXPECT_TRUE(for_each_entry_in_runs(store.database(), {.entry = [&](const EntryKey& key,
                                                                     base::Bytes) { seen.waiting.insert(key.number); },
                                                        .damage = damage})
                  .ok());
  EXPECT_TRUE(store
                  .for_each(
                      Family::Retained,
                      [&](base::Bytes, base::Bytes value) {
                        seen.retained = std::string(base::as_text(decode_message(value)->payload));
                      },
                      damage)
                  .ok());
  return seen;
}

void expect_one_moment(const Seen& seen, std::uint64_t not_before) {
  ASSERT_EQ(seen.waiting.size(), kKept);
  EXPECT_GE(*seen.waiting.rbegin(), not_before);
  EXPECT_EQ(*seen.waiting.rbegin() - *seen.waiting.begin(), kKept - 1);
  EXPECT_EQ(seen.retained, std::to_string(*seen.waiting.rbegin()));
}

TEST(SnapshotTest, IsOfOneMomentWhileTheStoreIsWritten) {
  const TempDirectory directory;
  const BusyStore busy(directory.path());
  std::set<std::string> logs;
  for (int round = 0; round < 15; ++round) {
    const std::uint64_t written = busy.written();
    const auto store = StoreReader::open(directory.path());
    ASSERT_TRUE(store.has_value()) << store.error();
    expect_one_moment(look(**store), written);
    if (testing::Test::HasFailure()) return;
    for (const std::string& name : names((*store)->snapshot().view())) {
      if (name.ends_with(".log")) logs.insert(name);
    }
  }
  // Otherwise nothing was deleted meanwhile, and this shows nothing.
  EXPECT_GT(logs.size(), 3U);
}

TEST(SnapshotTest, IsReadableWhenItsFilesAreGone) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), broker::PutRetained{message("last", "kept", 1)}});
  }
  const auto snapshot = Snapshot::take(directory.path());
  ASSERT_TRUE(snapshot.has_value()) << snapshot.error();
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    std::filesystem::remove(entry.path());
  }
  const auto database = Database::open({.directory = snapshot->view()}, Access::ReadOnly);
  ASSERT_TRUE(database.has_value()) << database.error();
  const auto it = (*database)->scan(Family::Retained, Database::sequential());
  it->SeekToFirst();
  ASSERT_TRUE(it->Valid()) << it->status().ToString();
  EXPECT_EQ(it->key().ToStringView(), "last");
}

TEST(SnapshotTest, LeavesNothingBehindAndWritesNothing) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a")});
  }
  const std::vector<std::string> before = names(directory.path());
  std::filesystem::path view;
  {
    const auto store = StoreReader::open(directory.path());
    ASSERT_TRUE(store.has_value()) << store.error();
    view = (*store)->snapshot().view();
    EXPECT_TRUE(std::filesystem::exists(view));
    EXPECT_EQ((*store)->translated("see " + view.string() + "/000001.log."),
              "see " + directory.path().string() + "/000001.log.");
  }
  EXPECT_FALSE(std::filesystem::exists(view));
  EXPECT_EQ(names(directory.path()), before);
}

TEST(SnapshotTest, FollowsNoLinks) {
  const TempDirectory directory;
  std::ofstream(directory.path() / "secret") << "MANIFEST-000001\n";
  std::filesystem::create_symlink(directory.path() / "secret", directory.path() / "CURRENT");
  EXPECT_FALSE(Snapshot::take(directory.path()).has_value());
  std::filesystem::remove(directory.path() / "CURRENT");
  std::ofstream(directory.path() / "CURRENT") << "MANIFEST-../secret\n";
  const auto refused = Snapshot::take(directory.path());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().find("does not name a MANIFEST"), std::string::npos) << refused.error();
}

int tool(const ToolRequest& request, std::string& out, std::string& err) {
  std::istringstream in;
  std::ostringstream to_out;
  std::ostringstream to_err;
  const int status = run(request, in, to_out, to_err);
  out = to_out.str();
  err = to_err.str();
  return status;
}

TEST(StoreBackup, IsOfOneMomentWhileTheStoreIsWritten) {
  using Command = ToolRequest::Command;
  const TempDirectory directory;
  const BusyStore busy(directory.path() / "store");
  std::string out;
  std::string err;
  for (int round = 0; round < 3; ++round) {
    const std::filesystem::path copy = directory.path() / fmt::format("copy{}", round);
    const std::uint64_t written = busy.written();
    ASSERT_EQ(tool({Command::Backup, directory.path() / "store", copy}, out, err), 0) << err;
    EXPECT_TRUE(out.starts_with("Copied ")) << out;
    EXPECT_EQ(tool({Command::Check, copy, {}}, out, err), 0) << out << err;
    {
      const auto store = StoreReader::open(copy);
      ASSERT_TRUE(store.has_value()) << store.error();
      expect_one_moment(look(**store), written);
    }
    // A broker starts with it, and has what was acknowledged.
    Driver restored(copy);
    const Contents contents = restored.recover();
    EXPECT_EQ(contents.sessions.at("a").queued, kKept);
    EXPECT_GE(std::stoull(std::string(base::as_text(contents.retained.at("last")->payload()))), written);
    EXPECT_TRUE(restored.notices().empty());
  }
}

TEST(StoreBackup, GoesIntoNothingButAnEmptyDirectory) {
  using Command = ToolRequest::Command;
  const TempDirectory directory;
  const auto store = directory.path() / "store";
  {
    Driver(store).start().write({session(1, "a")});
  }
  std::string out;
  std::string err;
  std::filesystem::create_directory(directory.path() / "mine");
  std::ofstream(directory.path() / "mine" / "file") << "mine";
  EXPECT_EQ(tool({Command::Backup, store, directory.path() / "mine"}, out, err), 1);
  EXPECT_NE(err.find("is not empty"), std::string::npos) << err;
  EXPECT_EQ(names(directory.path() / "mine"), std::vector<std::string>{"file"});
  EXPECT_EQ(tool({Command::Backup, store, directory.path() / "mine" / "file"}, out, err), 1);
  EXPECT_NE(err.find("is not a directory"), std::string::npos) << err;
  EXPECT_EQ(tool({Command::Backup, store, store / "backup"}, out, err), 1);
  EXPECT_NE(err.find("is inside the store"), std::string::npos) << err;
  EXPECT_FALSE(std::filesystem::exists(store / "backup"));
  std::filesystem::create_directory(directory.path() / "empty");
  EXPECT_EQ(tool({Command::Backup, store, directory.path() / "empty"}, out, err), 0) << err;
  EXPECT_EQ(tool({Command::Backup, store, directory.path() / "new" / ""}, out, err), 0) << err;
  EXPECT_EQ(names(directory.path() / "new"), names(directory.path() / "empty"));
}

// A store that cannot be opened is not copied as if it could.
TEST(StoreBackup, LeavesNothingWhereItFails) {
  using Command = ToolRequest::Command;
  const TempDirectory directory;
  const auto store = directory.path() / "store";
  {
    Driver(store).start().write({session(1, "a")});
  }
  for (const std::string& name : names(store)) {
    if (name.starts_with("MANIFEST-")) std::filesystem::resize_file(store / name, 1);
  }
  std::string out;
  std::string err;
  EXPECT_EQ(tool({Command::Backup, store, directory.path() / "copy"}, out, err), 1);
  EXPECT_NE(err.find(store.string()), std::string::npos) << err;
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "copy"));
}

}  // namespace
}  // namespace vigil::store
