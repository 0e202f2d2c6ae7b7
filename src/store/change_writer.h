// Turns changes into one batch of RocksDB writes, and decides which messages are stored once for several receivers.
//
// Entries that a session gets together are one record, a run (run_record.h): what a message costs for each of many
// receivers is then a share of a record.
//
// Kinds of deletion: an entry of a queue is put exactly once, so SingleDelete ends it, and both vanish when they meet.
// A released one was put twice: Delete. Every place that deletes entries keeps to this (delete_entry).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <rocksdb/write_batch.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include "broker/change.h"
#include "store/database.h"
#include "store/record_codec.h"
#include "store/references.h"
#include "store/run_index.h"

namespace vigil::store {

// Changes of one turn, and when that was.
struct ChangeSet {
  broker::Moment at;
  std::vector<broker::Change> changes;
};

// Deletes an entry as its kind demands, with the reference it held and, if that was the last one, the message. Of runs
// only the index is told: RunIndex::write_changes() follows once for all of a batch.
void delete_entry(Database& database, References& references, RunIndex& runs, const EntryKey& key, const Entry& entry,
                  rocksdb::WriteBatch& batch);

class ChangeWriter {
 public:
  ChangeWriter(Database& database, References& references, RunIndex& runs)
      : database_(database), references_(references), runs_(runs) {}

  // Appends the changes of all sets: first the new entries of queues, by session, then all others in order. As a batch
  // is written as a whole and the number of an entry is used once, this is as good as the order in which they came;
  // next to each other the entries of a session cost less. The batch must be written before the next call. Sessions
  // that ended are added to `ended`: what belongs to them is still there.
  void append(std::span<const ChangeSet> sets, rocksdb::WriteBatch& batch, std::vector<broker::EndSession>& ended);

 private:
  enum class Kind : std::uint8_t { Inline, Shared, Gone };
  struct EntryHash {
    std::size_t operator()(const EntryKey& key) const {
      return PositionHash()(key.session) ^ static_cast<std::size_t>(key.number * 0xC2B2'AE3D'27D4'EB4FU);
    }
  };

  // An entry that is to be put: its record is in records_.
  struct NewEntry {
    EntryKey key;
    std::size_t record = 0;
    std::size_t size = 0;
    bool shared = false;
    std::size_t next = 0;  // of the same session; 0: none
  };
  // Entries of one session, in the order of their numbers.
  struct Chain {
    std::size_t first = 0;
    std::size_t last = 0;
  };

  void look_over(std::span<const ChangeSet> sets);
  void encode_entries(const ChangeSet& set, rocksdb::WriteBatch& batch);
  void add_entry(const NewEntry& entry);
  void put_entries(rocksdb::WriteBatch& batch);
  void put_chain(const broker::SessionKey& session, const Chain& chain, rocksdb::WriteBatch& batch);
  void put_run(const EntryKey& first, std::span<const base::Bytes> entries, std::uint64_t shared,
               rocksdb::WriteBatch& batch);
  // The entry goes. True if it was part of a run; else its own record is still to be deleted, or overwritten.
  bool leave(const EntryKey& key, const broker::Position& message, broker::Kept kept, rocksdb::WriteBatch& batch);
  void drop_message(const broker::Position& message, rocksdb::WriteBatch& batch);
  bool stored_once(const broker::Message& message) const;
  // How the message of an entry is stored, if it may be shared; to be asked once before the entry goes.
  Kind take_kind(const EntryKey& key);
  void drop_reference(const EntryKey& key, const broker::Position& message, broker::Kept kept,
                      rocksdb::WriteBatch& batch);
  void put(rocksdb::WriteBatch& batch, Family family, base::Bytes key);

  struct Appender;

  Database& database_;
  References& references_;
  RunIndex& runs_;
  std::vector<std::uint8_t> record_;  // what is being encoded
  // Of the batch that is being made: receivers of each message, new entries, and what became of entries that share a
  // message.
  boost::unordered_flat_map<const broker::Message*, std::uint32_t> receivers_;
  std::vector<NewEntry> entries_;
  boost::unordered_flat_map<broker::SessionKey, Chain, PositionHash> chains_;
  std::vector<std::uint8_t> records_;
  boost::unordered_flat_map<EntryKey, Kind, EntryHash> fresh_;
  bool has_others_ = false;  // than new entries
};

}  // namespace vigil::store
