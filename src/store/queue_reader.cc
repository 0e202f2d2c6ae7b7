#include "store/queue_reader.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <fmt/format.h>

#include "store/queue_walk.h"
#include "store/run_record.h"

namespace vigil::store {
namespace {

// Entries looked at in one step of a sweep or a purge: well below a millisecond.
constexpr unsigned kStep = 256;
// Sessions that come back together ask for the same messages at about the same time.
constexpr std::size_t kRememberedBytes = std::size_t{4} << 20U;

}  // namespace

broker::Loaded QueueReader::load(const broker::LoadRequest& request, const broker::Moment& now,
                                 const std::deque<Sweep>& sweeps) {
  broker::Loaded loaded{.session = request.session, .messages = {}, .next = 0};
  std::uint64_t size = 0;
  QueueWalk walk(database_, runs_, request.key, request.from);
  for (; walk.valid(); walk.next()) {
    const EntryKey key = walk.key();
    const bool full = loaded.messages.size() >= request.most || size >= request.most_bytes;
    if (full && !loaded.messages.empty()) {
      loaded.next = loaded.messages.back().number + 1;
      break;
    }
    auto entry = decode_entry(walk.record());
    if (!entry) {
      skip(key, entry.error());
      continue;
    }
    const bool claimed =
        std::any_of(sweeps.begin(), sweeps.end(), [&](const Sweep& sweep) { return sweep.claims(key, entry->head); });
    if (claimed) continue;
    broker::StoredMessage stored{.number = key.number, .released = entry->head.released};
    if (!stored.released) {
      rocksdb::Status status;
      stored.message = message(key, *entry, now, status);
      if (!status.ok()) {
        loaded.next = key.number;
        return failed(std::move(loaded), request, status);
      }
      if (!stored.message) continue;
      stored.terms = entry->terms();
      stored.kept = entry->head.shared ? broker::Kept::Apart : broker::Kept::WithEntry;
      size += stored.message->size();
    }
    loaded.messages.push_back(std::move(stored));
  }
  if (!walk.damage().empty()) skip({request.key, request.from}, walk.damage());
  if (walk.status().ok()) return loaded;
  loaded.next = walk.reached();
  return failed(std::move(loaded), request, walk.status());
}

broker::Loaded QueueReader::failed(broker::Loaded&& loaded, const broker::LoadRequest& request,
                                   const rocksdb::Status& status) {
  loaded.failed = true;
  const auto now = std::chrono::steady_clock::now();
  if (!notice_ || now < next_notice_) return std::move(loaded);
  constexpr std::chrono::seconds kNoticeEvery{10};
  next_notice_ = now + kNoticeEvery;
  notice_(
      NoticeKind::ReadingFails,
      fmt::format("The store cannot read messages of the session {}/{}, from number {} on: {}. They stay where they "
                  "are, later ones wait behind them, and it is tried again. Look after the disk.",
                  request.key.sequence, request.key.shard, loaded.next, status.ToString()));
  return std::move(loaded);
}

broker::MessagePtr QueueReader::message(const EntryKey& key, const Entry& entry, const broker::Moment& now,
                                        rocksdb::Status& failure) {
  if (!entry.head.shared) return to_message(entry.message, now);
  if (const auto it = loaded_.find(entry.position); it != loaded_.end()) return it->second;
  rocksdb::PinnableSlice record;
  const rocksdb::Status status =
      database_.db().Get({}, database_.family(Family::Messages), slice(position_key(entry.position)), &record);
  if (!status.ok() && !status.IsNotFound() && !status.IsCorruption()) {
    failure = status;
    return {};
  }
  if (!status.ok()) {
    skip(key, fmt::format("its message {}/{} cannot be read: {}", entry.position.sequence, entry.position.shard,
                          status.ToString()));
    return {};
  }
  const auto found = decode_message(bytes(record));
  if (!found) {
    skip(key, found.error());
    return {};
  }
  broker::MessagePtr message = to_message(*found, now);
  if (loaded_bytes_ > kRememberedBytes) forget_messages();
  loaded_bytes_ += message->size();
  loaded_.emplace(entry.position, message);
  return message;
}

void QueueReader::skip(const EntryKey& key, const std::string& why) {
  if (!notice_) return;
  notice_(NoticeKind::RecordSkipped,
          fmt::format("The store skips message {} of the session {}/{}: {}. `vigilmq store check` shows what else is "
                      "damaged.",
                      key.number, key.session.sequence, key.session.shard, why));
}

bool QueueReader::sweep(Sweep& sweep, rocksdb::WriteBatch& batch) {
  QueueWalk walk(database_, runs_, sweep.key, sweep.from);
  bool done = true;
  for (unsigned looked = 0; walk.valid(); walk.next()) {
    if (looked++ == kStep) {
      done = false;
      break;
    }
    const EntryKey key = walk.key();
    sweep.from = key.number + 1;
    const auto head = decode_entry_head(walk.record());
    if (!head || !sweep.takes(key.number, *head)) continue;
    const auto entry = decode_entry(walk.record());
    if (!entry) continue;
    delete_entry(database_, references_, runs_, key, *entry, batch);
    batch.Delete(database_.family(Family::PacketIds), slice(entry_key(key)));
    ++sweep.answer.messages;
    sweep.answer.bytes += head->size();
  }
  runs_.write_changes(database_, batch);
  return done;
}

bool QueueReader::purge(Purge& purge, rocksdb::WriteBatch& batch) {
  if (!purge_runs(purge.key, batch)) return false;
  QueueWalk walk(database_, runs_, purge.key, purge.from);
  for (unsigned looked = 0; walk.valid(); walk.next()) {
    if (looked++ == kStep) return false;
    const EntryKey key = walk.key();
    purge.from = key.number + 1;
    if (const auto entry = decode_entry(walk.record())) {
      delete_entry(database_, references_, runs_, key, *entry, batch);
    } else {
      batch.Delete(database_.family(Family::Queue), slice(entry_key(key)));
    }
  }
  return purge_family(Family::Subscriptions, purge.key, batch) && purge_family(Family::Unreleased, purge.key, batch) &&
         purge_family(Family::PacketIds, purge.key, batch);
}

bool QueueReader::purge_runs(const broker::SessionKey& session, rocksdb::WriteBatch& batch) {
  const std::span<const Run> runs = runs_.from(session, 0);
  const std::size_t now = std::min<std::size_t>(runs.size(), kStep / kMostOfRun);
  rocksdb::PinnableSlice record;
  for (const Run& run : runs.first(now)) {
    if (run.live == 0) continue;
    record.Reset();
    const EntryBytes key = entry_key({session, run.first});
    const bool there = database_.db().Get({}, database_.family(Family::Runs), slice(key), &record).ok();
    const auto entries = there ? decode_run(bytes(record)) : base::Err(std::string("not there"));
    const std::uint64_t live = run.live;
    for (std::uint64_t left = live; left != 0; left &= left - 1) {
      const auto i = static_cast<unsigned>(std::countr_zero(left));
      const EntryKey entry{session, run.first + i};
      const auto taken = runs_.take(entry);
      if (!taken->shared || !entries || i >= entries->size()) continue;
      const auto found = decode_entry((*entries)[i]);
      if (!found || !references_.drop(found->position)) continue;
      batch.SingleDelete(database_.family(Family::Messages), slice(position_key(found->position)));
    }
  }
  const bool last = now == runs.size();
  runs_.write_changes(database_, batch);
  return last;
}

bool QueueReader::purge_family(Family family, const broker::SessionKey& session, rocksdb::WriteBatch& batch) {
  const PositionBytes prefix = position_key(session);
  const auto it = database_.scan(family, {});
  it->Seek(slice(prefix));
  for (unsigned looked = 0; it->Valid() && it->key().starts_with(slice(prefix)); it->Next()) {
    if (looked++ == kStep) return false;
    batch.Delete(database_.family(family), it->key());
  }
  return true;
}

}  // namespace vigil::store
