// The entries of one session from a number on, in their order, whether they are records of their own or parts of runs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <rocksdb/iterator.h>

#include "store/database.h"
#include "store/record_codec.h"
#include "store/run_index.h"
#include "store/run_record.h"

namespace vigil::store {

// While it is in use no run may come or go; entries may be taken.
//
// What is damaged is passed over, and damage() tells of it. Where reading fails otherwise, the walk ends: status() says
// so, and reached() where to go on another time.
class QueueWalk {
 public:
  QueueWalk(Database& database, const RunIndex& runs, const broker::SessionKey& session, std::uint64_t from);

  bool valid() const { return status_.ok() && (in_run_ || singles_->Valid()); }
  void next();
  EntryKey key() const { return {session_, number_}; }
  // Valid until next().
  base::Bytes record() const { return at_run_ ? entries_[position_] : bytes(singles_->value()); }
  const rocksdb::Status& status() const { return status_; }
  std::uint64_t reached() const { return reached_; }
  // What was passed over; empty: nothing was.
  const std::string& damage() const { return damage_; }

 private:
  // To the next live entry of a run, from `position_` of the run at the front of `runs_`.
  void find_in_runs();
  bool read_run(const Run& run);
  // The iterator over single entries ended before its time: to the next entry behind the damage.
  void pass_damage();
  // Which of the two is next.
  void choose();

  Database& database_;
  const broker::SessionKey session_;
  const EntryBytes end_;
  const rocksdb::Slice bound_;
  std::unique_ptr<rocksdb::Iterator> singles_;
  std::unique_ptr<rocksdb::Iterator> records_;  // of runs; made when there is one
  std::span<const Run> runs_;
  RunEntries entries_;  // of the run at the front, once it is read
  unsigned position_ = 0;
  bool in_run_ = false;
  bool at_run_ = false;
  std::uint64_t number_ = 0;
  std::uint64_t reached_;
  rocksdb::Status status_;
  std::string damage_;
};

}  // namespace vigil::store
