// How fast the store writes, and how fast a full one starts.
#include <benchmark/benchmark.h>

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <fmt/format.h>

#include "store/rocksdb_store.h"

namespace vigil::store {
namespace {

constexpr std::int64_t kNoon = 1'900'000'000'000;
const broker::Moment kNow{.at = base::Instant::from_ns(5'000'000'000), .unix_ms = kNoon};
constexpr base::Duration kPatience = std::chrono::seconds(600);

struct Directory {
  std::filesystem::path path;
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "vigil_bench_XXXXXX").string();
    path = ::mkdtemp(pattern.data());
  }
  ~Directory() { std::filesystem::remove_all(path); }
};

broker::MessagePtr message(std::uint64_t sequence) {
  const std::string payload(64, static_cast<char>('a' + sequence % 26));
  return broker::Message::make({.topic = "bench/topic",
                                .payload = base::as_bytes(payload),
                                .qos = mqtt::QoS::AtLeastOnce,
                                .position = {.sequence = sequence}});
}

class Running {
 public:
  Running(const std::filesystem::path& path, Sync sync) {
    store_ = std::move(*RocksdbStore::open({.directory = path, .sync = sync}));
    store_->start(
        [this](broker::ShardId, std::vector<broker::StoreReply>&& replies) {
          for (const broker::StoreReply& reply : replies) {
            if (const auto* stored = std::get_if<broker::Stored>(&reply)) done_ = stored->number;
          }
          done_.notify_all();
        },
        {});
  }
  void submit(std::vector<broker::Change> changes) {
    store_->submit(0, {.number = ++number_, .at = kNow, .changes = std::move(changes)});
  }
  // At most so many batches wait for their answer.
  void wait(std::uint64_t most) {
    for (std::uint64_t done = done_; done + most < number_; done = done_) done_.wait(done);
  }
  ~Running() { store_->stop(kPatience); }

 private:
  std::unique_ptr<RocksdbStore> store_;
  std::uint64_t number_ = 0;
  std::atomic<std::uint64_t> done_ = 0;
};

// A message is enqueued for one of 200 sessions, and dequeued a thousand messages later; `range` of them a batch.
void pass_through(benchmark::State& state, Sync sync) {
  const Directory directory;
  Running store(directory.path, sync);
  const auto a_batch = static_cast<std::uint64_t>(state.range(0));
  std::uint64_t next = 1;
  constexpr std::uint64_t kBehind = 1'000;
  const auto key = [](std::uint64_t n) { return broker::SessionKey{.sequence = 1 + n % 200}; };
  for (auto _ : state) {
    std::vector<broker::Change> changes;
    for (std::uint64_t i = 0; i < a_batch; ++i, ++next) {
      changes.emplace_back(broker::Enqueue{key(next), next, message(next), {.qos = mqtt::QoS::AtLeastOnce}});
      if (next <= kBehind) continue;
      const std::uint64_t old = next - kBehind;
      changes.emplace_back(broker::Dequeue{key(old), old, {.sequence = old}});
    }
    store.submit(std::move(changes));
    store.wait(8);
  }
  store.wait(0);
  state.SetItemsProcessed(static_cast<std::int64_t>(next - 1));
}
BENCHMARK_CAPTURE(pass_through, process, Sync::Process)
    ->Arg(1)
    ->Arg(16)
    ->Arg(128)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(pass_through, power, Sync::Power)->Arg(16)->MeasureProcessCPUTime()->UseRealTime();

// A message goes to 1,000 sessions that are away.
void fan_out(benchmark::State& state) {
  const Directory directory;
  Running store(directory.path, Sync::Process);
  std::uint64_t next = 1;
  for (auto _ : state) {
    const broker::MessagePtr one = message(next);
    std::vector<broker::Change> changes;
    for (std::uint64_t s = 1; s <= 1'000; ++s) changes.emplace_back(broker::Enqueue{{.sequence = s}, next, one, {}});
    ++next;
    store.submit(std::move(changes));
    store.wait(4);
  }
  store.wait(0);
  state.SetItemsProcessed(static_cast<std::int64_t>((next - 1) * 1'000));
}
BENCHMARK(fan_out)->MeasureProcessCPUTime()->UseRealTime();

void fill(const std::filesystem::path& path, std::uint64_t sessions, std::uint64_t entries) {
  Running store(path, Sync::Process);
  for (std::uint64_t s = 1; s <= sessions; ++s) {
    const broker::SessionKey key{.sequence = s};
    const std::string id = fmt::format("client-{:06}", s);
    std::vector<broker::Change> changes;
    changes.emplace_back(broker::PutSession{.key = key, .client_id = id, .expiry_s = 3'600});
    changes.emplace_back(broker::PutSubscription{key, 1, 0, {}, fmt::format("devices/{}/commands/#", s)});
    changes.emplace_back(broker::PutPresence{id, std::vector<std::uint8_t>(150, 'p')});
    for (std::uint64_t n = 1; n <= entries / sessions; ++n) {
      changes.emplace_back(broker::Enqueue{key, n, message(s * 100 + n), {.qos = mqtt::QoS::AtLeastOnce}});
    }
    store.submit(std::move(changes));
    store.wait(256);
  }
  store.wait(0);
}

// Opening and reading a store of 200,000 sessions with 1,000,000 messages.
void start(benchmark::State& state) {
  const Directory directory;
  constexpr std::uint64_t kSessions = 200'000;
  fill(directory.path, kSessions, 1'000'000);
  for (auto _ : state) {
    auto store = RocksdbStore::open({.directory = directory.path});
    std::uint64_t sessions = 0;
    std::uint64_t queued = 0;
    const auto done = (*store)->recover(kNow, [&](broker::RecoveredFact&& one) {
      if (const auto* session = std::get_if<broker::RecoveredSession>(&one)) {
        ++sessions;
        queued += session->queued;
      }
    });
    if (!done || sessions != kSessions || queued != 1'000'000) state.SkipWithError("not all of it is there");
  }
}
BENCHMARK(start)->Iterations(3)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace vigil::store
