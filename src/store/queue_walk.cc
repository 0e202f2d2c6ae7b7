#include "store/queue_walk.h"

#include <bit>

#include "store/damage.h"

namespace vigil::store {
namespace {

std::unique_ptr<rocksdb::Iterator> scan_up_to(Database& database, Family family, const rocksdb::Slice& bound) {
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  return database.scan(family, options);
}

}  // namespace

QueueWalk::QueueWalk(Database& database, const RunIndex& runs, const broker::SessionKey& session, std::uint64_t from)
    : database_(database),
      session_(session),
      end_(entry_key({session, UINT64_MAX})),
      bound_(slice(end_)),
      singles_(scan_up_to(database, Family::Queue, bound_)),
      runs_(runs.from(session, from)),
      reached_(from) {
  singles_->Seek(slice(entry_key({session, from})));
  if (!singles_->Valid() && !singles_->status().ok()) pass_damage();
  if (!runs_.empty() && from > runs_.front().first) position_ = static_cast<unsigned>(from - runs_.front().first);
  find_in_runs();
  choose();
}

void QueueWalk::next() {
  reached_ = number_ + 1;
  if (at_run_) {
    ++position_;
    find_in_runs();
  } else {
    singles_->Next();
    if (!singles_->Valid() && !singles_->status().ok()) pass_damage();
  }
  choose();
}

void QueueWalk::pass_damage() {
  if (singles_->status().IsCorruption()) {
    damage_ = singles_->status().ToString();
    const EntryBytes from = entry_key({session_, reached_});
    singles_ =
        seek_behind_damage([this] { return scan_up_to(database_, Family::Queue, bound_); }, slice(from).ToStringView());
  }
  if (!singles_->status().IsCorruption()) status_ = singles_->status();
}

void QueueWalk::find_in_runs() {
  in_run_ = false;
  while (!runs_.empty()) {
    const Run& run = runs_.front();
    const std::uint64_t ahead = position_ < run.count ? run.live >> position_ : 0;
    const bool read = ahead != 0 && (!entries_.empty() || read_run(run));
    if (!status_.ok()) return;
    if (read) {
      position_ += static_cast<unsigned>(std::countr_zero(ahead));
      in_run_ = true;
      return;
    }
    runs_ = runs_.subspan(1);
    entries_.clear();
    position_ = 0;
  }
}

bool QueueWalk::read_run(const Run& run) {
  const EntryBytes key = entry_key({session_, run.first});
  if (!records_) records_ = scan_up_to(database_, Family::Runs, bound_);
  // Runs lie behind each other: the next one is the next record, mostly.
  if (records_->Valid()) records_->Next();
  if (!records_->Valid() || records_->key() != slice(key)) records_->Seek(slice(key));
  if (!records_->Valid() || records_->key() != slice(key)) {
    if (!records_->status().ok() && !records_->status().IsCorruption()) {
      status_ = records_->status();
      return false;
    }
    damage_ = records_->status().ok() ? "a run of messages is not there" : records_->status().ToString();
    return false;
  }
  auto entries = decode_run(bytes(records_->value()));
  if (entries && entries->size() == run.count) {
    entries_ = *entries;
    return true;
  }
  damage_ = entries ? "a run of messages has another length" : entries.error();
  return false;
}

void QueueWalk::choose() {
  if (!status_.ok()) return;
  const std::uint64_t in_run = in_run_ ? runs_.front().first + position_ : UINT64_MAX;
  const auto single = singles_->Valid() ? read_entry_key(bytes(singles_->key())) : std::nullopt;
  at_run_ = in_run_ && (!single || in_run < single->number);
  number_ = at_run_ ? in_run : single.value_or(EntryKey{}).number;
}

}  // namespace vigil::store
