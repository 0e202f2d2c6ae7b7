#include "store/change_writer.h"

#include <variant>

namespace vigil::store {
namespace {

// A larger message is a record of its own even if it has one receiver: the entries of queues stay small, so that all of
// them can be read when the broker starts.
constexpr std::size_t kInlineMost = 1'024;

}  // namespace

void delete_entry(Database& database, References& references, const EntryKey& key, const Entry& entry,
                  rocksdb::WriteBatch& batch) {
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
  std::vector<broker::SessionKey>& ended;
  broker::Moment at;

  void operator()(const broker::PutSession& c) {
    encode_session(c, writer.record_);
    writer.put(batch, Family::Sessions, position_key(c.key));
  }
  void operator()(const broker::EndSession& c) {
    remove(Family::Sessions, position_key(c.key));
    ended.push_back(c.key);
  }
  void operator()(const broker::PutSubscription& c) {
    encode_subscription(c, writer.record_);
    writer.put(batch, Family::Subscriptions, subscription_key(c.session, c.number));
  }
  void operator()(const broker::DropSubscription& c) {
    remove(Family::Subscriptions, subscription_key(c.session, c.number));
  }
  void operator()(const broker::Enqueue& c) {
    const EntryKey key{c.session, c.number};
    const MessageView message = view(*c.message, at);
    const bool once = writer.stored_once(*c.message);
    if (once) {
      writer.fresh_[key] = Kind::Shared;
      if (writer.references_.add(message.position)) {
        encode_message(message, writer.record_);
        writer.put(batch, Family::Messages, position_key(message.position));
      }
    }
    encode_entry(c.terms, message, once ? Placing::Shared : Placing::Inline, writer.record_);
    writer.put(batch, Family::Queue, entry_key(key));
  }
  void operator()(const broker::Release& c) {
    const EntryKey key{c.session, c.number};
    writer.drop_reference(key, c.message, batch);
    encode_released(writer.record_);
    writer.put(batch, Family::Queue, entry_key(key));
  }
  void operator()(const broker::Dequeue& c) {
    const EntryKey key{c.session, c.number};
    if (c.released) return remove(Family::Queue, entry_key(key));
    writer.drop_reference(key, c.message, batch);
    batch.SingleDelete(writer.database_.family(Family::Queue), slice(entry_key(key)));
  }
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
                          std::vector<broker::SessionKey>& ended) {
  fresh_.clear();
  count_receivers(sets);
  for (const ChangeSet& set : sets) {
    Appender appender{*this, batch, ended, set.at};
    for (const broker::Change& change : set.changes) std::visit(appender, change);
  }
}

void ChangeWriter::count_receivers(std::span<const ChangeSet> sets) {
  receivers_.clear();
  for (const ChangeSet& set : sets) {
    for (const broker::Change& change : set.changes) {
      if (const auto* enqueue = std::get_if<broker::Enqueue>(&change)) ++receivers_[enqueue->message.get()];
    }
  }
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

void ChangeWriter::drop_reference(const EntryKey& key, const broker::Position& message, rocksdb::WriteBatch& batch) {
  // The same message may be inline in one entry and shared by others: an entry that came alone was written before them.
  if (!references_.contains(message) || take_kind(key) != Kind::Shared || !references_.drop(message)) return;
  batch.SingleDelete(database_.family(Family::Messages), slice(position_key(message)));
}

void ChangeWriter::put(rocksdb::WriteBatch& batch, Family family, base::Bytes key) {
  batch.Put(database_.family(family), slice(key), slice(record_));
  record_.clear();
}

}  // namespace vigil::store
