// The RocksDB database under the store: how it is set up, opened, opened again after a failure, and what its errors
// mean to an operator. Private to this folder: with what includes it, the only place that sees RocksDB.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <rocksdb/db.h>

#include "base/bytes.h"
#include "base/result.h"
#include "store/family.h"
#include "store/store.h"

namespace vigil::store {

inline rocksdb::Slice slice(base::Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
inline base::Bytes bytes(const rocksdb::Slice& slice) {
  return {reinterpret_cast<const std::uint8_t*>(slice.data()), slice.size()};
}

enum class Access : std::uint8_t {
  Write,     // made if it is not there
  ReadOnly,  // nothing on disk is touched
};

// In the directory that `vigilmq store import` fills: where the store is until it is complete.
inline constexpr std::string_view kImportDirectory = "import.tmp";

// Owned by one thread at a time.
class Database {
 public:
  // Opens or makes the store in its directory. Errors are sentences for an operator.
  static base::Result<std::unique_ptr<Database>, std::string> open(const Options& options, Access access);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Once on the thread that goes on with it: RocksDB's counters for each thread are switched off there.
  static void use_from_this_thread();

  rocksdb::DB& db() { return *db_; }
  // Null where a store that is only read is too old to have it.
  rocksdb::ColumnFamilyHandle* family(Family family) { return handles_[static_cast<std::size_t>(family)]; }
  std::uint32_t format() const { return format_; }
  const std::filesystem::path& directory() const { return options_.directory; }

  // Once. When it fails the database takes no more until repair().
  rocksdb::Status write(rocksdb::WriteBatch& batch);
  // After a failed write: closes the database and opens it again, which throws away what was half written and keeps
  // what was written as a whole. Cheap to call while there is no hope.
  rocksdb::Status repair();
  // From the next repair() on files are not merged any more: it was a damaged one that made writing fail, and it would
  // again.
  void leave_files_alone() { merging_ = false; }
  bool merges_files() const { return merging_; }
  // After repair(): the batch that failed had reached the log after all.
  bool failed_write_is_there() const { return db_->GetLatestSequenceNumber() > sequence_before_write_; }

  std::unique_ptr<rocksdb::Iterator> scan(Family family, const rocksdb::ReadOptions& options);
  // Nobody writes: what waits in memory goes to disk if it is much. Its room is free again, and so is the log's.
  void flush_if_much();
  // For a walk over a whole family: reads ahead and leaves the cache alone.
  static rocksdb::ReadOptions sequential();

 private:
  struct Setup;
  Database(const Options& options, Access access);
  rocksdb::Status open_db();
  rocksdb::Status check_format();
  rocksdb::Status set_format();
  void close();

  Options options_;
  Access access_;
  std::unique_ptr<Setup> setup_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilies> handles_{};
  std::uint64_t sequence_before_write_ = 0;
  std::uint32_t format_ = 0;
  bool merging_ = true;
};

// What went wrong, as a sentence: what, where, and what to do.
std::string explain(const rocksdb::Status& status, const std::filesystem::path& directory);

}  // namespace vigil::store
