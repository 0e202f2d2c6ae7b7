// What is read from the queues while the broker runs, in steps that are short: loads, sweeps of what has expired, and
// the purge of what a session left behind.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <rocksdb/write_batch.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include "broker/change.h"
#include "store/change_writer.h"
#include "store/database.h"
#include "store/record_codec.h"
#include "store/references.h"
#include "store/run_index.h"

namespace vigil::store {

// A sweep that is under way.
struct Sweep {
  broker::ShardId shard = 0;
  broker::SessionKey key;
  std::int64_t now_ms = 0;
  std::uint64_t from = 0;         // what has a lower number is done
  std::uint64_t begun_below = 0;  // messages of QoS 2 with a lower number stay
  broker::Swept answer;

  bool takes(std::uint64_t number, const EntryHead& head) const {
    if (head.released || head.expires_ms > now_ms) return false;
    return head.qos != mqtt::QoS::ExactlyOnce || number >= begun_below;
  }
  // It will take this entry: nobody else is to count it.
  bool claims(const EntryKey& entry, const EntryHead& head) const {
    return entry.session == key && entry.number >= from && takes(entry.number, head);
  }
};

// A session that ended, and what of it is still there.
struct Purge {
  broker::SessionKey key;
  std::uint64_t from = 0;  // of its queue
};

class QueueReader {
 public:
  QueueReader(Database& database, References& references, RunIndex& runs, const Notice& notice)
      : database_(database), references_(references), runs_(runs), notice_(notice) {}

  // Leaves out what the sweeps are about to take.
  broker::Loaded load(const broker::LoadRequest& request, const broker::Moment& now, const std::deque<Sweep>& sweeps);
  // One step: deletions of at most so many entries. True when it was the last one.
  bool sweep(Sweep& sweep, rocksdb::WriteBatch& batch);
  bool purge(Purge& purge, rocksdb::WriteBatch& batch);
  // Messages that entries share are kept from one load to the next, as long as they are not too many, until this.
  void forget_messages() {
    loaded_ = {};
    loaded_bytes_ = 0;
  }
  bool remembers_messages() const { return !loaded_.empty(); }

 private:
  // Null if it is damaged or not there, which is said, or if reading fails.
  broker::MessagePtr message(const EntryKey& key, const Entry& entry, const broker::Moment& now,
                             rocksdb::Status& failure);
  // What was loaded before reading failed.
  broker::Loaded failed(broker::Loaded&& loaded, const broker::LoadRequest& request, const rocksdb::Status& status);
  void skip(const EntryKey& key, const std::string& why);
  bool purge_runs(const broker::SessionKey& session, rocksdb::WriteBatch& batch);
  bool purge_family(Family family, const broker::SessionKey& key, rocksdb::WriteBatch& batch);

  Database& database_;
  References& references_;
  RunIndex& runs_;
  const Notice& notice_;
  boost::unordered_flat_map<broker::Position, broker::MessagePtr, PositionHash> loaded_;
  std::size_t loaded_bytes_ = 0;
  std::chrono::steady_clock::time_point next_notice_;
};

}  // namespace vigil::store
