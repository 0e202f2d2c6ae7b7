// The store on RocksDB: one thread that writes what all shards hand over, in groups, and reads for them.
//
//   open ──► kept_time, start_ms, recover (the caller's thread) ──► start ──► submit ... (the store's thread) ──► stop
//
// What has come by the time the last write is done is the next group: one write, one sync, for all shards. A batch is
// never torn apart, and goes to the log together with the parts of the joints that it commits. When small groups follow
// each other closely, a group waits a moment for more, as long as more does come: what a group costs, in this thread
// and in those that are told, is then shared by several batches. Between groups there is time, at most two milliseconds
// at once, for loads, for sweeps and for clearing away what ended sessions left.
//
// When the disk refuses a write, the group is kept and tried again until it takes it; nothing is answered and nothing
// else is written meanwhile. Each time the database is opened anew, so that what was half written is thrown away, and
// what had reached the log as a whole is not written twice. Batches pile up then; backlog_bytes() shows it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "broker/ended_sessions.h"
#include "broker/moment.h"
#include "broker/store_time.h"
#include "store/references.h"
#include "store/store.h"

namespace rocksdb {
class Status;
class WriteBatch;
}  // namespace rocksdb

namespace vigil::store {

class ChangeWriter;
class Database;
class QueueReader;
class RunIndex;
class TimeKeeper;
struct ChangeSet;
struct Purge;
struct Sweep;

class RocksdbStore final : public Store {
 public:
  // Makes the directory and an empty store in it if they are not there. An error is one sentence for the operator.
  static base::Result<std::unique_ptr<RocksdbStore>, std::string> open(const Options& options);
  // Stops without patience if nobody has.
  ~RocksdbStore() override;

  // Before start(). What earlier runs left of store time.
  base::Result<broker::KeptTime, std::string> kept_time();
  // Before start(). A time in ms for the numbers of this run: not before that of `now`, and after every time that an
  // earlier run has used, even if store time was set back or the runs followed each other at once. It is `now`'s from
  // here on: as the monotonic clock goes on, so does it.
  base::Result<std::uint64_t, std::string> start_ms(const broker::Moment& now);
  // Before start(). Everything that is stored: presence, retained messages, then the sessions in the order of their
  // keys. The messages of sessions stay on disk. May be called without a notice.
  base::Result<void, std::string> recover(const broker::Moment& now,
                                          const std::function<void(broker::RecoveredFact&&)>& give,
                                          const Notice& notice = {});

  // Starts the store's thread. `reply` and `notice` are called on it; batches that were submitted before wait for it.
  void start(Reply reply, Notice notice);
  // Writes everything that was handed over, and ends the thread. False if the disk, or the time, did not allow all of
  // it. Nothing may be submitted afterwards.
  bool stop(base::Duration patience);

  // Any thread, before stop(); after kept_time(). Written by the store's thread, at once; the last one counts.
  void keep_time(const broker::KeptTime& time);
  void submit(broker::ShardId shard, broker::StoreBatch&& batch) override;
  std::size_t backlog_bytes() const override { return backlog_bytes_.load(std::memory_order_relaxed); }
  std::size_t unwritten_bytes() const override {
    const std::size_t held = held_bytes_.load(std::memory_order_relaxed);
    const std::size_t all = backlog_bytes();
    return all > held ? all - held : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Submitted {
    broker::ShardId shard = 0;
    broker::StoreBatch batch;
    std::size_t bytes = 0;
  };
  // A part of a joint that nobody has committed.
  struct Held {
    broker::ShardId shard = 0;
    broker::Moment at;
    std::vector<broker::Change> changes;
    std::size_t bytes = 0;
  };
  struct Load {
    broker::ShardId shard = 0;
    broker::Moment at;
    broker::LoadRequest request;
  };
  struct Group;

  explicit RocksdbStore(std::unique_ptr<Database> database);

  // The thread.
  void run();
  bool take_submitted();
  bool write_time();
  void gather_more(std::unique_lock<std::mutex>& lock);
  bool write_group();
  void gather(Submitted&& from, Group& group);
  void commit_joint(broker::JointId joint, broker::ShardId committer, Group& group);
  void raise_clock_floor(base::Instant now, rocksdb::WriteBatch& batch);
  void answer(Group& group);

  bool work_left() const;
  bool read_and_clean();
  void serve_loads(Clock::time_point until);
  bool sweep_step();
  bool purge_step();

  // Writes, and if need be keeps on trying until it is written. False if stop() lost its patience first.
  bool commit(rocksdb::WriteBatch& batch);
  bool insist(rocksdb::WriteBatch& batch, const rocksdb::Status& failure);
  bool pause(std::chrono::milliseconds time);
  bool out_of_patience();
  bool tell_failure(const rocksdb::Status& failure);
  void leave_damage_alone(const rocksdb::Status& failure);

  std::unique_ptr<Database> database_;
  References references_;
  std::unique_ptr<RunIndex> runs_;
  std::unique_ptr<ChangeWriter> writer_;
  std::unique_ptr<QueueReader> reader_;
  std::unique_ptr<TimeKeeper> keeper_;
  Reply reply_;
  Notice notice_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Submitted> incoming_;
  std::optional<broker::KeptTime> incoming_time_;
  bool asleep_ = false;
  bool stopping_ = false;
  bool thread_over_ = false;
  std::condition_variable over_;
  Clock::time_point give_up_at_;
  std::atomic<std::size_t> backlog_bytes_ = 0;
  std::atomic<std::size_t> held_bytes_ = 0;  // of it: parts whose joint is not committed

  // Of the thread only.
  std::deque<Submitted> waiting_;
  std::vector<Submitted> taken_;
  std::vector<std::uint64_t> stored_;  // by shard: the number of the last batch that is written
  boost::unordered_flat_map<broker::JointId, std::vector<Held>> held_;
  // Sessions that ended while parts are held: what the parts say of them is void.
  broker::EndedSessions ended_;
  std::deque<Load> loads_;
  std::deque<Sweep> sweeps_;
  std::deque<Purge> purges_;
  std::int64_t clock_floor_ms_ = 0;  // what the next run begins above
  broker::Moment start_;             // of the numbers of this run
  Clock::time_point group_begun_;
  unsigned at_once_ = 0;       // groups to be written without waiting for more
  unsigned at_once_next_ = 1;  // as many if the next wait brings nothing
  bool written_since_flush_ = false;
  Clock::time_point next_notice_;
  bool complete_ = false;
  std::thread thread_;
};

}  // namespace vigil::store
