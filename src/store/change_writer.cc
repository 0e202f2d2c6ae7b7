#include "store/change_writer.h"

#include <variant>

#include "store/run_record.h"

namespace vigil::store {
namespace {

// A larger message is a record of its own even if it has one receiver: the entries of queues stay small, so that all of
// them can be read when the broker starts.
constexpr std::size_t kInlineMost = 1'024;

}  // namespace

void delete_entry(Database& database, References& references, RunIndex& runs, const EntryKey& key, const Entry& entry,
                  rocksdb::WriteBatch& batch) {
  if (const auto taken = entry.head.released ? std::nullopt : runs.take(key)) {
    if (!taken->shared || !references.drop(entry.position)) return;
    batch.SingleDelete(database.family(Family::Messages), slice(position_key(entry.position)));
    return;
  }
  const EntryBytes at = entry_key(key);
  if (entry.head.released) {
    batch.Delete(database.family(Family::Queue), slice(at));
    return;
  }
  batch.SingleDelete(database.family(Family::Queue), slice(at));
  if (!entry.head.shared || !references.drop(entry.position)) return;
  batch.SingleDelete(database.family(Family::Messages), slice(position_key(entry.position)));
}

// Each kind of change, as writes.
struct ChangeWriter::Appender {
  ChangeWriter& writer;
  rocksdb::WriteBatch& batch;
  std::vector<broker::EndSession>& ended;
  broker::Moment at;

  void operator()(const broker::PutSession& c) {
    encode_session(c, writer.record_);
    writer.put(batch, Family::Sessions, position_key(c.key));
  }
  void operator()(const broker::EndSession& c) {
    remove(Family::Sessions, position_key(c.key));
    ended.push_back(c);
  }
  void operator()(const broker::PutSubscription& c) {
    encode_subscription(c, writer.record_);
    writer.put(batch, Family::Subscriptions, subscription_key(c.session, c.number));
  }
  void operator()(const broker::DropSubscription& c) {
    remove(Family::Subscriptions, subscription_key(c.session, c.number));
  }
  void operator()(const broker::Enqueue& /*c*/) {}  // is there already
  void operator()(const broker::Release& c) {
    const EntryKey key{c.session, c.number};
    writer.leave(key, c.message, c.kept, batch);
    encode_released(writer.record_);
    writer.put(batch, Family::Queue, entry_key(key));
  }
  void operator()(const broker::Dequeue& c) {
    const EntryKey key{c.session, c.number};
    if (c.released) return remove(Family::Queue, entry_key(key));
    if (writer.leave(key, c.message, c.kept, batch)) return;
    batch.SingleDelete(writer.database_.family(Family::Queue), slice(entry_key(key)));
  }
  void operator()(const broker::PutPacketId& c) {
    encode_number(c.packet_id, writer.record_);
    writer.put(batch, Family::PacketIds, entry_key({c.session, c.number}));
  }
  void operator()(const broker::DropPacketId& c) { remove(Family::PacketIds, entry_key({c.session, c.number})); }
  void operator()(const broker::PutUnreleased& c) {
    writer.put(batch, Family::Unreleased, unreleased_key(c.session, c.packet_id));
  }
  void operator()(const broker::DropUnreleased& c) {
    remove(Family::Unreleased, unreleased_key(c.session, c.packet_id));
  }
  void operator()(const broker::PutRetained& c) {
    MessageView message = view(*c.message, at);
    message.publisher = c.message->publisher().client;
    encode_message(message, writer.record_);
    writer.put(batch, Family::Retained, base::as_bytes(c.message->topic()));
  }
  void operator()(const broker::DropRetained& c) { remove(Family::Retained, base::as_bytes(c.topic)); }
  void operator()(const broker::PutPresence& c) {
    writer.record_ = c.record;
    writer.put(batch, Family::Presence, base::as_bytes(c.client_id));
  }
  void operator()(const broker::DropPresence& c) { remove(Family::Presence, base::as_bytes(c.client_id)); }

  void remove(Family family, base::Bytes key) { batch.Delete(writer.database_.family(family), slice(key)); }
};

void ChangeWriter::append(std::span<const ChangeSet> sets, rocksdb::WriteBatch& batch,
                          std::vector<broker::EndSession>& ended) {
  look_over(sets);
  for (const ChangeSet& set : sets) encode_entries(set, batch);
  put_entries(batch);
  if (!has_others_) return;
  for (const ChangeSet& set : sets) {
    Appender appender{*this, batch, ended, set.at};
    for (const broker::Change& change : set.changes) std::visit(appender, change);
  }
  runs_.write_changes(database_, batch);
}

namespace {

// The entries from here on that are for one message after another.
std::size_t receivers_of_one(const std::vector<broker::Change>& changes, std::size_t from) {
  const broker::Message* message = std::get<broker::Enqueue>(changes[from]).message.get();
  std::size_t to = from + 1;
  for (; to < changes.size(); ++to) {
    const auto* enqueue = std::get_if<broker::Enqueue>(&changes[to]);
    if (enqueue == nullptr || enqueue->message.get() != message) break;
  }
  return to - from;
}

bool same(const broker::Terms& a, const broker::Terms& b) {
  return a.qos == b.qos && a.retain == b.retain && a.retained_at_subscribe == b.retained_at_subscribe &&
         a.share == b.share && a.subscription_ids == b.subscription_ids;
}

}  // namespace

void ChangeWriter::look_over(std::span<const ChangeSet> sets) {
  receivers_.clear();
  fresh_.clear();
  entries_.clear();
  chains_.clear();
  records_.clear();
  has_others_ = false;
  for (const ChangeSet& set : sets) {
    for (std::size_t i = 0; i < set.changes.size();) {
      const auto* enqueue = std::get_if<broker::Enqueue>(&set.changes[i]);
      if (enqueue == nullptr) {
        has_others_ = true;
        ++i;
        continue;
      }
      const std::size_t count = receivers_of_one(set.changes, i);
      receivers_[enqueue->message.get()] += static_cast<std::uint32_t>(count);
      i += count;
    }
  }
}

void ChangeWriter::encode_entries(const ChangeSet& set, rocksdb::WriteBatch& batch) {
  for (std::size_t i = 0; i < set.changes.size(); ++i) {
    const auto* first = std::get_if<broker::Enqueue>(&set.changes[i]);
    if (first == nullptr) continue;
    const std::size_t count = receivers_of_one(set.changes, i);
    const MessageView message = view(*first->message, set.at);
    const bool once = stored_once(*first->message);
    if (once && references_.add(message.position, static_cast<std::uint32_t>(count))) {
      encode_message(message, record_);
      put(batch, Family::Messages, position_key(message.position));
    }
    const broker::Terms* terms = nullptr;
    NewEntry entry;
    for (std::size_t last = i + count; i < last; ++i) {
      const auto& enqueue = std::get<broker::Enqueue>(set.changes[i]);
      entry.key = {enqueue.session, enqueue.number};
      // Most receivers of a message have the same terms, and then the same record.
      if (terms == nullptr || !same(*terms, enqueue.terms)) {
        terms = &enqueue.terms;
        entry.record = records_.size();
        encode_entry(*terms, message, once ? Placing::Shared : Placing::Inline, records_);
        entry.size = records_.size() - entry.record;
      }
      if (once && has_others_) fresh_[entry.key] = Kind::Shared;
      entry.shared = once;
      add_entry(entry);
    }
    --i;
  }
}

void ChangeWriter::add_entry(const NewEntry& entry) {
  const std::size_t index = entries_.size();
  entries_.push_back(entry);
  const auto [it, fresh] = chains_.try_emplace(entry.key.session, Chain{index, index});
  if (fresh) return;
  entries_[it->second.last].next = index;
  it->second.last = index;
}

void ChangeWriter::put_entries(rocksdb::WriteBatch& batch) {
  for (const auto& [session, chain] : chains_) put_chain(session, chain, batch);
}

void ChangeWriter::put_chain(const broker::SessionKey& session, const Chain& chain, rocksdb::WriteBatch& batch) {
  RunEntries run;
  EntryKey first{session, 0};
  std::uint64_t shared = 0;
  std::size_t size = 0;
  const auto end_run = [&] {
    if (!run.empty()) put_run(first, run, shared, batch);
    run.clear();
    shared = size = 0;
  };
  for (std::size_t i = chain.first;; i = entries_[i].next) {
    const NewEntry& entry = entries_[i];
    // Changes that were held back may come out of order.
    if (run.size() == kMostOfRun || size >= kRunBytes || entry.key.number != first.number + run.size()) end_run();
    if (run.empty()) first.number = entry.key.number;
    if (entry.shared) shared |= std::uint64_t{1} << run.size();
    run.emplace_back(records_.data() + entry.record, entry.size);
    size += entry.size;
    if (i == chain.last) break;
  }
  end_run();
}

void ChangeWriter::put_run(const EntryKey& first, std::span<const base::Bytes> entries, std::uint64_t shared,
                           rocksdb::WriteBatch& batch) {
  const EntryBytes at = entry_key(first);
  if (entries.size() == 1) {
    batch.Put(database_.family(Family::Queue), slice(at), slice(entries.front()));
    return;
  }
  encode_run(entries, record_);
  put(batch, Family::Runs, at);
  const auto count = static_cast<std::uint8_t>(entries.size());
  runs_.add(first.session, {.first = first.number, .live = Run::all(count), .shared = shared, .count = count});
}

bool ChangeWriter::leave(const EntryKey& key, const broker::Position& message, broker::Kept kept,
                         rocksdb::WriteBatch& batch) {
  if (const auto taken = runs_.take(key)) {
    if (taken->shared && references_.drop(message)) drop_message(message, batch);
    return true;
  }
  drop_reference(key, message, kept, batch);
  return false;
}

void ChangeWriter::drop_message(const broker::Position& message, rocksdb::WriteBatch& batch) {
  batch.SingleDelete(database_.family(Family::Messages), slice(position_key(message)));
}

bool ChangeWriter::stored_once(const broker::Message& message) const {
  if (message.position().sequence == 0) return false;
  if (message.size() > sizeof(broker::Message) + kInlineMost) return true;
  const auto it = receivers_.find(&message);
  return (it != receivers_.end() && it->second > 1) || references_.contains(message.position());
}

ChangeWriter::Kind ChangeWriter::take_kind(const EntryKey& key) {
  // What is on disk says it, but not what this batch has changed.
  const auto [it, unknown] = fresh_.try_emplace(key, Kind::Gone);
  if (!unknown) return std::exchange(it->second, Kind::Gone);
  rocksdb::PinnableSlice record;
  rocksdb::DB& db = database_.db();
  if (!db.Get({}, database_.family(Family::Queue), slice(entry_key(key)), &record).ok()) return Kind::Gone;
  const auto head = decode_entry_head(bytes(record));
  if (!head || head->released) return Kind::Gone;
  return head->shared ? Kind::Shared : Kind::Inline;
}

void ChangeWriter::drop_reference(const EntryKey& key, const broker::Position& message, broker::Kept kept,
                                  rocksdb::WriteBatch& batch) {
  if (kept == broker::Kept::WithEntry || !references_.contains(message)) return;
  // The same message may be inline in one entry and shared by others: an entry that came alone was written before them.
  if (kept == broker::Kept::Apart) fresh_.try_emplace(key, Kind::Shared);
  if (take_kind(key) == Kind::Shared && references_.drop(message)) drop_message(message, batch);
}

void ChangeWriter::put(rocksdb::WriteBatch& batch, Family family, base::Bytes key) {
  batch.Put(database_.family(family), slice(key), slice(record_));
  record_.clear();
}

}  // namespace vigil::store
