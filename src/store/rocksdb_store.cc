#include "store/rocksdb_store.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include "base/check.h"
#include "store/change_writer.h"
#include "store/database.h"
#include "store/queue_reader.h"
#include "store/record_codec.h"
#include "store/recovery.h"
#include "store/run_index.h"
#include "store/time_keeper.h"

namespace vigil::store {
namespace {

using base::Err;
using std::chrono::milliseconds;

// A group ends behind the batch that takes it above this.
constexpr std::size_t kGroupBytes = std::size_t{8} << 20U;
constexpr std::size_t kMostReserved = std::size_t{1} << 20U;
// Groups begin so far apart if that brings more batches. Where it does not, it is tried again more and more rarely.
constexpr std::chrono::microseconds kGather{300};
constexpr unsigned kMostAtOnce = 64;
// Messages that were read for several receivers are forgotten after so long without anything to do.
constexpr milliseconds kRemember{100};
// After so long without anything to do, what was written last leaves the memory.
constexpr std::chrono::seconds kQuiet{1};
// How long writing may have to wait for reading and cleaning.
constexpr milliseconds kBesides{2};
constexpr milliseconds kRetryEvery{250};
constexpr std::chrono::seconds kNoticeEvery{10};
constexpr std::chrono::seconds kNoticesApart{2};
// What has been begun when stop() loses its patience has this long, still.
constexpr milliseconds kLastWrite{500};
// The clock floor is this far ahead of the time when it is written, and is written again half way there.
constexpr std::int64_t kFloorAheadMs = 10'000;

constexpr std::size_t kBytesAChange = sizeof(broker::Change);

struct BytesOf {
  const broker::Message* last = nullptr;
  std::size_t sum = 0;

  void operator()(const broker::Enqueue& c) {
    // Receivers of one message come one after another.
    if (std::exchange(last, c.message.get()) != c.message.get()) sum += c.message->size() + sizeof(broker::Message);
  }
  void operator()(const broker::PutRetained& c) { sum += c.message->size() + sizeof(broker::Message); }
  void operator()(const broker::PutPresence& c) { sum += c.client_id.size() + c.record.size(); }
  void operator()(const broker::PutSession& c) {
    sum += c.client_id.size() + c.user_name.size();
    for (const broker::Will& will : c.will) {
      sum += sizeof will + will.topic.size() + will.payload.size() + will.properties.size();
    }
  }
  void operator()(const broker::DropRetained& c) { sum += c.topic.size(); }
  void operator()(const broker::DropPresence& c) { sum += c.client_id.size(); }
  void operator()(const broker::PutSubscription& c) { sum += c.text.size(); }
  template <class Other>
  void operator()(const Other& /*change*/) {}
};

std::size_t bytes_of(const std::vector<broker::Change>& changes) {
  BytesOf bytes;
  for (const broker::Change& change : changes) std::visit(bytes, change);
  return bytes.sum + changes.size() * kBytesAChange;
}

std::size_t bytes_of(const broker::StoreBatch& batch) {
  std::size_t sum = sizeof batch + bytes_of(batch.changes);
  for (const broker::JointPart& part : batch.parts) sum += bytes_of(part.changes);
  return sum;
}

}  // namespace

// What is written at once, and who is to be told.
struct RocksdbStore::Group {
  struct Answer {
    bool told = false;
    broker::Stored stored;
  };
  std::vector<ChangeSet> sets;
  std::array<Answer, broker::kMaxShards> answers;
  std::size_t bytes = 0;
  base::Instant latest;
  std::int64_t latest_ms = 0;  // store time
  std::vector<Load> loads;
  std::vector<Sweep> sweeps;
};

RocksdbStore::RocksdbStore(std::unique_ptr<Database> database)
    : database_(std::move(database)),
      runs_(std::make_unique<RunIndex>()),
      writer_(std::make_unique<ChangeWriter>(*database_, references_, *runs_)),
      reader_(std::make_unique<QueueReader>(*database_, references_, *runs_, notice_)),
      keeper_(std::make_unique<TimeKeeper>(*database_)),
      stored_(broker::kMaxShards) {}

RocksdbStore::~RocksdbStore() {
  stop({});
  if (thread_.joinable()) thread_.join();
}

base::Result<std::unique_ptr<RocksdbStore>, std::string> RocksdbStore::open(const Options& options) {
  TRY(auto database, Database::open(options, Access::Write));
  return std::unique_ptr<RocksdbStore>(new RocksdbStore(std::move(database)));
}

base::Result<broker::KeptTime, std::string> RocksdbStore::kept_time() { return keeper_->read(); }

base::Result<std::uint64_t, std::string> RocksdbStore::start_ms(const broker::Moment& now) {
  std::string record;
  const rocksdb::Status status = database_->db().Get({}, database_->family(Family::Meta), slice(kClockKey), &record);
  if (!status.ok() && !status.IsNotFound()) return Err(explain(status, database_->directory()));
  const std::uint64_t floor = decode_number(base::as_bytes(record)).value_or(0);
  const std::uint64_t start = std::max(static_cast<std::uint64_t>(std::max<std::int64_t>(now.unix_ms, 0)), floor + 1);
  clock_floor_ms_ = static_cast<std::int64_t>(start);
  start_ = {.at = now.at, .unix_ms = clock_floor_ms_};
  std::vector<std::uint8_t> number;
  encode_number(start, number);
  rocksdb::WriteBatch batch;
  batch.Put(database_->family(Family::Meta), slice(kClockKey), slice(number));
  if (const rocksdb::Status written = database_->write(batch); !written.ok()) {
    return Err(explain(written, database_->directory()));
  }
  return start;
}

base::Result<void, std::string> RocksdbStore::recover(const broker::Moment& now,
                                                      const std::function<void(broker::RecoveredFact&&)>& give,
                                                      const Notice& notice) {
  return store::recover(*database_, references_, *runs_, now, notice, give);
}

void RocksdbStore::start(Reply reply, Notice notice) {
  CHECK(!thread_.joinable());
  reply_ = std::move(reply);
  notice_ = std::move(notice);
  thread_ = std::thread([this] { run(); });
}

bool RocksdbStore::stop(base::Duration patience) {
  if (!thread_.joinable()) return complete_;
  std::unique_lock lock(mutex_);
  stopping_ = true;
  give_up_at_ = Clock::now() + patience;
  wake_.notify_one();
  // The kernel does not give a thread back while the disk stands still.
  if (!over_.wait_until(lock, give_up_at_ + kLastWrite, [this] { return thread_over_; })) return false;
  lock.unlock();
  thread_.join();
  return complete_;
}

void RocksdbStore::submit(broker::ShardId shard, broker::StoreBatch&& batch) {
  CHECK(shard < broker::kMaxShards);
  const std::size_t bytes = bytes_of(batch);
  backlog_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    incoming_.push_back({shard, std::move(batch), bytes});
    wake = std::exchange(asleep_, false);
  }
  if (wake) wake_.notify_one();
}

void RocksdbStore::keep_time(const broker::KeptTime& time) {
  {
    const std::lock_guard lock(mutex_);
    incoming_time_ = time;
  }
  wake_.notify_one();
}

// --- the thread

void RocksdbStore::run() {
  pthread_setname_np(pthread_self(), "store");
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // gather_more() is about less than the usual slack
  Database::use_from_this_thread();
  bool going = true;
  while (going && take_submitted()) {
    going = write_time();
    while (going && !waiting_.empty()) going = write_group() && !out_of_patience();
    if (going) going = read_and_clean();
  }
  const std::lock_guard lock(mutex_);
  complete_ = going;
  thread_over_ = true;
  over_.notify_one();
}

bool RocksdbStore::take_submitted() {
  std::unique_lock lock(mutex_);
  if (!work_left()) {
    asleep_ = incoming_.empty();
    const auto something = [this] { return !incoming_.empty() || incoming_time_ || stopping_; };
    if (reader_->remembers_messages() && !wake_.wait_for(lock, kRemember, something)) reader_->forget_messages();
    asleep_ = incoming_.empty();
    if (written_since_flush_ && !wake_.wait_for(lock, kQuiet, something)) {
      lock.unlock();
      written_since_flush_ = false;
      database_->flush_if_much();
      lock.lock();
      asleep_ = incoming_.empty();
    }
    wake_.wait(lock, something);
    asleep_ = false;
    gather_more(lock);
  }
  group_begun_ = Clock::now();
  taken_.swap(incoming_);
  const bool last = stopping_ && taken_.empty() && !incoming_time_;
  lock.unlock();
  std::move(taken_.begin(), taken_.end(), std::back_inserter(waiting_));
  taken_.clear();
  return !last;
}

// Whoever submits meanwhile need not wake this thread. A client that sends one message after another, each when the
// last is acknowledged, gains nothing by it: then nothing more comes, and the wait is left out.
void RocksdbStore::gather_more(std::unique_lock<std::mutex>& lock) {
  const Clock::time_point until = group_begun_ + kGather;
  if (stopping_ || Clock::now() >= until) return;
  if (at_once_ > 0) {
    --at_once_;
    return;
  }
  const std::size_t before = incoming_.size();
  lock.unlock();
  std::this_thread::sleep_until(until);
  lock.lock();
  if (incoming_.size() > before) {
    at_once_next_ = 1;
    return;
  }
  at_once_ = at_once_next_;
  at_once_next_ = std::min(2 * at_once_next_, kMostAtOnce);
}

bool RocksdbStore::write_time() {
  std::optional<broker::KeptTime> time;
  {
    const std::lock_guard lock(mutex_);
    time = std::exchange(incoming_time_, std::nullopt);
  }
  if (!time) return true;
  rocksdb::WriteBatch batch;
  keeper_->put(*time, batch);
  return commit(batch);
}

bool RocksdbStore::write_group() {
  Group group;
  while (!waiting_.empty() && group.bytes < kGroupBytes) {
    gather(std::move(waiting_.front()), group);
    waiting_.pop_front();
  }
  rocksdb::WriteBatch batch(std::min(group.bytes, kMostReserved));
  std::vector<broker::EndSession> ended;
  writer_->append(group.sets, batch, ended);
  if (batch.Count() > 0) {
    raise_clock_floor(group.latest, batch);
    keeper_->put_reached(group.latest_ms, batch);
    if (!commit(batch)) return false;
  }
  for (const broker::EndSession& end : ended) {
    if (!end.alone) purges_.push_back({.key = end.key});
    if (!held_.empty()) ended_.add(end.key);
  }
  if (held_.empty()) ended_.clear();
  ended_.prune_if_large([this](auto&& look_at) {
    for (const auto& [joint, parts] : held_) {
      for (const Held& held : parts) std::ranges::for_each(held.changes, look_at);
    }
  });
  backlog_bytes_.fetch_sub(group.bytes, std::memory_order_relaxed);
  answer(group);
  std::move(group.loads.begin(), group.loads.end(), std::back_inserter(loads_));
  std::move(group.sweeps.begin(), group.sweeps.end(), std::back_inserter(sweeps_));
  return true;
}

void RocksdbStore::gather(Submitted&& from, Group& group) {
  broker::StoreBatch& batch = from.batch;
  group.bytes += from.bytes;
  group.latest = std::max(group.latest, batch.at.at);
  group.latest_ms = std::max(group.latest_ms, batch.at.unix_ms);
  for (broker::JointPart& part : batch.parts) {
    const std::size_t bytes = bytes_of(part.changes);
    group.bytes -= bytes;  // until it is written
    held_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    held_[part.joint].push_back({from.shard, batch.at, std::move(part.changes), bytes});
  }
  for (const broker::JointId joint : batch.commits) commit_joint(joint, from.shard, group);
  if (!batch.changes.empty()) group.sets.push_back({batch.at, std::move(batch.changes)});
  if (batch.number > 0) {
    Group::Answer& answer = group.answers[from.shard];
    answer.told = true;
    stored_[from.shard] = batch.number;
  }
  for (const broker::LoadRequest& load : batch.loads) group.loads.push_back({from.shard, batch.at, load});
  for (const broker::SweepRequest& sweep : batch.sweeps) {
    group.sweeps.push_back({.shard = from.shard,
                            .key = sweep.key,
                            .now_ms = batch.at.unix_ms,
                            .from = sweep.from,
                            .begun_below = sweep.begun_below,
                            .answer = {.session = sweep.session}});
  }
}

void RocksdbStore::commit_joint(broker::JointId joint, broker::ShardId committer, Group& group) {
  const auto tell = [&](broker::ShardId shard) {
    Group::Answer& answer = group.answers[shard];
    answer.told = true;
    std::vector<broker::JointId>& joints = answer.stored.joints;
    if (joints.empty() || joints.back() != joint) joints.push_back(joint);
  };
  tell(committer);
  const auto it = held_.find(joint);
  if (it == held_.end()) return;
  for (Held& held : it->second) {
    tell(held.shard);
    group.bytes += held.bytes;
    held_bytes_.fetch_sub(held.bytes, std::memory_order_relaxed);
    if (!ended_.empty()) {
      std::erase_if(held.changes, [this](const broker::Change& change) { return ended_.is_void(change); });
    }
    group.sets.push_back({held.at, std::move(held.changes)});
  }
  held_.erase(it);
}

void RocksdbStore::raise_clock_floor(base::Instant now, rocksdb::WriteBatch& batch) {
  const std::int64_t unix_ms = start_.unix_ms + std::chrono::ceil<base::milliseconds>(now - start_.at).count();
  if (unix_ms + kFloorAheadMs / 2 <= clock_floor_ms_) return;
  clock_floor_ms_ = unix_ms + kFloorAheadMs;
  std::vector<std::uint8_t> record;
  encode_number(static_cast<std::uint64_t>(clock_floor_ms_), record);
  batch.Put(database_->family(Family::Meta), slice(kClockKey), slice(record));
}

void RocksdbStore::answer(Group& group) {
  for (std::size_t shard = 0; shard < group.answers.size(); ++shard) {
    Group::Answer& answer = group.answers[shard];
    if (!answer.told) continue;
    answer.stored.number = stored_[shard];
    std::vector<broker::StoreReply> replies;
    replies.emplace_back(std::move(answer.stored));
    reply_(static_cast<broker::ShardId>(shard), std::move(replies));
  }
}

// --- between the groups

bool RocksdbStore::work_left() const { return !loads_.empty() || !sweeps_.empty() || !purges_.empty(); }

bool RocksdbStore::read_and_clean() {
  const Clock::time_point until = Clock::now() + kBesides;
  serve_loads(until);
  // One step of each at least, so that many loads do not keep them from ever happening.
  do {
    if (!sweep_step() || !purge_step()) return false;
  } while ((!sweeps_.empty() || !purges_.empty()) && Clock::now() < until);
  return true;
}

void RocksdbStore::serve_loads(Clock::time_point until) {
  if (loads_.empty()) return;
  std::array<std::vector<broker::StoreReply>, broker::kMaxShards> replies;
  do {
    const Load load = loads_.front();
    loads_.pop_front();
    replies[load.shard].emplace_back(reader_->load(load.request, load.at, sweeps_));
  } while (!loads_.empty() && Clock::now() < until);
  for (std::size_t shard = 0; shard < replies.size(); ++shard) {
    if (!replies[shard].empty()) reply_(static_cast<broker::ShardId>(shard), std::move(replies[shard]));
  }
}

bool RocksdbStore::sweep_step() {
  if (sweeps_.empty()) return true;
  rocksdb::WriteBatch batch;
  Sweep& sweep = sweeps_.front();
  const bool done = reader_->sweep(sweep, batch);
  if (batch.Count() > 0 && !commit(batch)) return false;
  if (!done) return true;
  std::vector<broker::StoreReply> replies;
  replies.emplace_back(sweep.answer);
  const broker::ShardId shard = sweep.shard;
  sweeps_.pop_front();
  reply_(shard, std::move(replies));
  return true;
}

bool RocksdbStore::purge_step() {
  rocksdb::WriteBatch batch;
  // Most sessions leave little behind: many of them fit a step.
  for (int sessions = 0; sessions < 16 && !purges_.empty() && batch.Count() < 256; ++sessions) {
    if (reader_->purge(purges_.front(), batch)) purges_.pop_front();
    // What is deleted is deleted for the next look only when it is written.
    if (batch.Count() >= 256) break;
  }
  return batch.Count() == 0 || commit(batch);
}

// --- when the disk refuses

bool RocksdbStore::commit(rocksdb::WriteBatch& batch) {
  written_since_flush_ = true;
  const rocksdb::Status status = database_->write(batch);
  return status.ok() || insist(batch, status);
}

bool RocksdbStore::insist(rocksdb::WriteBatch& batch, const rocksdb::Status& failure) {
  // A new trouble is said at once, unless the last one has only just been said.
  next_notice_ = std::min(next_notice_, next_notice_ - kNoticeEvery + kNoticesApart);
  bool told = tell_failure(failure);
  leave_damage_alone(failure);
  for (;;) {
    if (!pause(kRetryEvery)) return false;
    rocksdb::Status status = database_->repair();
    if (status.ok() && database_->failed_write_is_there()) break;
    if (status.ok()) status = database_->write(batch);
    if (status.ok()) break;
    told = tell_failure(status) || told;
    leave_damage_alone(status);
  }
  if (told && notice_) notice_(NoticeKind::WritesAgain, "The store writes again; nothing was lost.");
  return true;
}

// A damaged file that is to be merged with others makes every write fail from then on, although nothing is wrong with
// what is written.
void RocksdbStore::leave_damage_alone(const rocksdb::Status& failure) {
  if (!failure.IsCorruption() || !database_->merges_files()) return;
  database_->leave_files_alone();
  if (!notice_) return;
  notice_(
      NoticeKind::RecordSkipped,
      fmt::format("A file of the store in {} is damaged: {}. All that can be read is served and all that comes is "
                  "written, but the store grows: its files are not merged any more. Stop the broker soon, save what is "
                  "readable with `vigilmq store export` and `vigilmq store import`, and look after the disk.",
                  database_->directory().string(), failure.ToString()));
}

// False if it was told a short time ago, or is nothing that room on the disk would mend.
bool RocksdbStore::tell_failure(const rocksdb::Status& failure) {
  const Clock::time_point now = Clock::now();
  if (!notice_ || now < next_notice_ || failure.IsCorruption()) return false;
  next_notice_ = now + kNoticeEvery;
  notice_(NoticeKind::WritingFails,
          fmt::format("The store cannot write to {}: {}. Nothing is acknowledged until it can; it keeps trying. Make "
                      "room on the disk, or mend it.",
                      database_->directory().string(), failure.ToString()));
  return true;
}

bool RocksdbStore::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  const Clock::time_point until = Clock::now() + time;
  wake_.wait_until(lock, until, [this] { return stopping_; });
  if (!stopping_) return true;
  if (Clock::now() >= give_up_at_) return false;
  wake_.wait_until(lock, std::min(until, give_up_at_), [] { return false; });
  return true;
}

bool RocksdbStore::out_of_patience() {
  const std::lock_guard lock(mutex_);
  return stopping_ && Clock::now() >= give_up_at_ && !(waiting_.empty() && incoming_.empty());
}

}  // namespace vigil::store
