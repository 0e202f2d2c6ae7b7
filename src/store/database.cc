#include "store/database.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <system_error>

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/memtablerep.h>
#include <rocksdb/options.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <rocksdb/write_buffer_manager.h>

#include "store/record_codec.h"

namespace vigil::store {
namespace {

using base::Err;
using rocksdb::ColumnFamilyOptions;
using rocksdb::DBOptions;
using rocksdb::Status;

constexpr std::size_t kMiB = std::size_t{1} << 20U;
// What must fit on the disk before opening again is worth the try.
constexpr std::size_t kProbeBytes = 4 * kMiB;
// Less than this need not be flushed while nobody writes: a file for it would not be worth it.
constexpr std::uint64_t kMuch = kMiB;

// RocksDB's own log is not kept: what matters comes back as a status. Its usual logger writes into the store's
// directory, and Debian's build of it (checks on) ends the process when it goes on after a disk was full.
class NoLog final : public rocksdb::Logger {
 public:
  NoLog() : Logger(rocksdb::ERROR_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

bool is_busy(Family family) {
  return family == Family::Queue || family == Family::Runs || family == Family::Messages || family == Family::Presence;
}

// Families that are read at the start only: what was written last need not be in order before it is flushed.
bool is_only_written(Family family) {
  return family == Family::Sessions || family == Family::Presence || family == Family::Retained;
}

DBOptions db_options(const Options& options) {
  DBOptions db;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.max_open_files = 96;  // the broker's descriptors are for its clients
  db.max_background_jobs = 2;
  db.max_total_wal_size = options.buffered_bytes;
  // A torn end is what a kill leaves: nothing of it was acknowledged. Damage before the end may be anything.
  db.wal_recovery_mode = options.give_up_behind_damage ? rocksdb::WALRecoveryMode::kPointInTimeRecovery
                                                       : rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db.info_log = std::make_shared<NoLog>();
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.avoid_flush_during_shutdown = true;  // the log has it
  // One writer, so what makes many writers fast only costs.
  db.allow_concurrent_memtable_write = false;
  db.enable_write_thread_adaptive_yield = false;
  db.enforce_single_del_contracts = false;  // an entry that was swept may be dequeued once more
  db.writable_file_max_buffer_size = kMiB / 8;
  db.bytes_per_sync = kMiB;  // flushes reach the disk in small portions
  return db;
}

ColumnFamilyOptions family_options(Family family, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = std::size_t{16} << 10U;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.format_version = 5;
  ColumnFamilyOptions cf;
  cf.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  cf.compression = rocksdb::kLZ4Compression;
  cf.write_buffer_size = is_busy(family) ? 16 * kMiB : 2 * kMiB;
  cf.check_flush_compaction_key_order = false;  // costs much with Debian's build of RocksDB, and finds its bugs only
  cf.max_write_buffer_number = 4;               // writing goes on while one is flushed
  cf.level_compaction_dynamic_level_bytes = true;
  // Half of what L0 holds is deleted before it is merged, and what is merged later is merged less often.
  cf.level0_file_num_compaction_trigger = 8;
  cf.level0_slowdown_writes_trigger = 32;
  cf.level0_stop_writes_trigger = 48;
  // Behind the last one of the same session is where the next entry goes.
  if (family == Family::Queue || family == Family::Runs) {
    cf.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(sizeof(PositionBytes)));
  }
  if (is_only_written(family)) cf.memtable_factory = std::make_shared<rocksdb::VectorRepFactory>();
  // Queues are eaten from their front: what is gone must not be walked over for long.
  if (is_busy(family)) {
    cf.table_properties_collector_factories.push_back(rocksdb::NewCompactOnDeletionCollectorFactory(8'192, 4'096));
  }
  return cf;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::string explain(const std::error_code& error, const std::filesystem::path& directory) {
  const std::string where = directory.string();
  if (error == std::errc::read_only_file_system) {
    return fmt::format(
        "Cannot write to the store's directory {}: the file system is mounted read-only. Mount it for writing, or "
        "choose another directory.",
        where);
  }
  if (error == std::errc::permission_denied) {
    return fmt::format(
        "Cannot write to the store's directory {}, or read what is in it: this process lacks the permission. Give the "
        "directory and all of its files to the user that the broker runs as, or choose another one.",
        where);
  }
  if (error == std::errc::no_space_on_device) {
    return fmt::format("Cannot open the store in {}: the disk is full. Make room there, or choose another directory.",
                       where);
  }
  return fmt::format("Cannot use the directory {} for the store: {}. Choose another directory or mend this one.", where,
                     error.message());
}

// Is there a directory that may be written to? Makes it if not.
base::Result<void, std::string> prepare(const std::filesystem::path& directory) {
  std::error_code error;
  // What clients said is nobody's but the broker's. A directory that is there is left as it is.
  if (std::filesystem::create_directories(directory, error)) {
    std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  }
  if (!error && !std::filesystem::is_directory(directory, error) && !error) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (!error && ::access(directory.c_str(), R_OK | W_OK | X_OK) != 0) error = {errno, std::generic_category()};
  if (error) return Err(explain(error, directory));
  return {};
}

// RocksDB makes a new store where the file CURRENT is missing, and deletes what it does not know: files of a store that
// lost it, as an incomplete copy has, would go. (A start that is killed while it makes a new one leaves no such files.)
base::Result<void, std::string> check_complete(const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::exists(directory / "CURRENT", error)) return {};
  if (std::filesystem::exists(directory / kImportDirectory, error)) {
    return Err(fmt::format(
        "There is no store in {} yet: `vigilmq store import` is at work there, or was interrupted. Wait for it; or "
        "delete what is in the directory and import again.",
        directory.string()));
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::filesystem::path& path = entry.path();
    const std::string name = path.filename().string();
    if (path.extension() != ".sst" && path.extension() != ".log") continue;
    return Err(
        fmt::format("The store in {} is not complete: it holds {}, and the file CURRENT, which says what belongs to "
                    "it, is missing. Bring "
                    "back a copy from before, or all of its files; or move the directory away to begin with an empty "
                    "store. Nothing was "
                    "changed.",
                    directory.string(), name));
  }
  if (error) return Err(explain(error, directory));
  return {};
}

// Would the disk take a few MiB now?
Status probe(const std::filesystem::path& directory) {
  const std::string path = (directory / "probe.tmp").string();
  const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return Status::IOError("while making " + path, std::generic_category().message(errno));
  const std::vector<char> zeros(kProbeBytes / 16);
  Status status;
  for (int i = 0; i < 16 && status.ok(); ++i) {
    const auto written = ::write(fd, zeros.data(), zeros.size());
    if (written != static_cast<ssize_t>(zeros.size())) {
      status = Status::IOError("while writing " + path, std::generic_category().message(written < 0 ? errno : ENOSPC));
    }
  }
  if (::fsync(fd) != 0 && status.ok()) {
    status = Status::IOError("while syncing " + path, std::generic_category().message(errno));
  }
  ::close(fd);
  ::unlink(path.c_str());
  return status;
}

}  // namespace

std::string explain(const Status& status, const std::filesystem::path& directory) {
  const std::string text = status.ToString();
  if (contains(text, "lock hold by current process") || contains(text, "/LOCK: Resource temporarily unavailable")) {
    return fmt::format(
        "The store in {} is in use by another process, probably a broker that is running. Stop that one, or choose "
        "another directory (store.directory, or the environment variable VIGILMQ_STORE__DIRECTORY).",
        directory.string());
  }
  if (status.IsNoSpace() || contains(text, "No space left")) {
    return explain(std::make_error_code(std::errc::no_space_on_device), directory);
  }
  if (contains(text, "Read-only file system")) {
    return explain(std::make_error_code(std::errc::read_only_file_system), directory);
  }
  if (contains(text, "Permission denied")) {
    return explain(std::make_error_code(std::errc::permission_denied), directory);
  }
  if (status.IsCorruption()) {
    return fmt::format(
        "The store in {} is damaged ({}). Bring back a copy from before. Or keep what is readable: of a damaged log (a "
        "file that ends in .log) `vigilmq store repair` keeps what stands before the damage; of another damaged file "
        "`vigilmq store export` writes all that can be read, for `vigilmq store import` into a new directory. Or move "
        "the directory away to begin with an empty store.",
        directory.string(), text);
  }
  if (status.IsNotSupported()) return fmt::format("The store in {}: {}", directory.string(), status.getState());
  return fmt::format("Cannot open the store in {}: {}. If the disk is well, `vigilmq store check` says more.",
                     directory.string(), text);
}

struct Database::Setup {
  std::shared_ptr<rocksdb::Cache> cache;
  DBOptions db;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
};

Database::Database(const Options& options, Access access)
    : options_(options), access_(access), setup_(std::make_unique<Setup>()) {
  setup_->cache = rocksdb::NewLRUCache(options.cache_bytes);
  setup_->db = db_options(options);
  setup_->db.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(options.buffered_bytes);
  for (std::size_t i = 0; i < kFamilies; ++i) {
    setup_->families.emplace_back(std::string(kFamilyNames[i]), family_options(static_cast<Family>(i), setup_->cache));
  }
}

Database::~Database() { close(); }

base::Result<std::unique_ptr<Database>, std::string> Database::open(const Options& options, Access access) {
  if (access == Access::Write) {
    TRY_VOID(prepare(options.directory));
    TRY_VOID(check_complete(options.directory));
  }
  std::unique_ptr<Database> database(new Database(options, access));
  Status status = database->open_db();
  if (status.ok()) status = database->check_format();
  if (!status.ok()) return Err(explain(status, options.directory));
  return database;
}

Status Database::open_db() {
  // A store with families that are not in our list was written by a later version.
  std::vector<std::string> there;
  if (rocksdb::DB::ListColumnFamilies(setup_->db, options_.directory.string(), &there).ok()) {
    for (const std::string& family : there) {
      if (std::find(kFamilyNames.begin(), kFamilyNames.end(), family) != kFamilyNames.end()) continue;
      return Status::NotSupported(fmt::format(
          "it holds \"{}\", which this version of the broker does not know. Use the version that wrote it, or a later "
          "one.",
          family));
    }
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const std::string path = options_.directory.string();
  std::vector<rocksdb::ColumnFamilyDescriptor> families = setup_->families;
  for (rocksdb::ColumnFamilyDescriptor& family : families) {
    if (merging_) break;
    family.options.disable_auto_compactions = true;
    family.options.level0_slowdown_writes_trigger = INT_MAX;
    family.options.level0_stop_writes_trigger = INT_MAX;
  }
  // A store of an earlier format lacks some, and only a writer makes them.
  if (access_ == Access::ReadOnly) {
    std::erase_if(families, [&](const rocksdb::ColumnFamilyDescriptor& family) {
      return !there.empty() && std::find(there.begin(), there.end(), family.name) == there.end();
    });
  }
  const Status status = access_ == Access::Write
                            ? rocksdb::DB::Open(setup_->db, path, families, &handles, &db)
                            : rocksdb::DB::OpenForReadOnly(setup_->db, path, families, &handles, &db);
  if (!status.ok()) return status;
  db_.reset(db);
  for (std::size_t i = 0; i < families.size(); ++i) {
    const auto name = std::find(kFamilyNames.begin(), kFamilyNames.end(), families[i].name);
    handles_[static_cast<std::size_t>(name - kFamilyNames.begin())] = handles[i];
  }
  return status;
}

Status Database::check_format() {
  std::string value;
  const Status status = db_->Get({}, family(Family::Meta), slice(kFormatKey), &value);
  if (status.IsNotFound() && access_ == Access::Write) return set_format();
  if (!status.ok()) return status.IsNotFound() ? Status::Corruption("it has no format number") : status;
  const auto format = decode_number(base::as_bytes(value));
  if (!format) return Status::Corruption("its format number is not readable");
  if (*format > kFormat) {
    return Status::NotSupported(
        fmt::format("it was written by a newer version of the broker (format {}; this one knows formats up to {}). Use "
                    "that version, or choose another directory.",
                    *format, kFormat));
  }
  format_ = static_cast<std::uint32_t>(*format);
  // What is in it stays as it is; what comes may be of the new form.
  return format_ < kFormat && access_ == Access::Write ? set_format() : Status();
}

Status Database::set_format() {
  std::vector<std::uint8_t> record;
  encode_number(kFormat, record);
  rocksdb::WriteBatch batch;
  batch.Put(family(Family::Meta), slice(kFormatKey), slice(record));
  format_ = kFormat;
  return write(batch);
}

void Database::close() {
  if (!db_) return;
  for (rocksdb::ColumnFamilyHandle*& handle : handles_) {
    if (handle != nullptr) db_->DestroyColumnFamilyHandle(handle);
    handle = nullptr;
  }
  db_.reset();
}

void Database::use_from_this_thread() { rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable); }

Status Database::write(rocksdb::WriteBatch& batch) {
  sequence_before_write_ = db_->GetLatestSequenceNumber();
  rocksdb::WriteOptions how;
  how.sync = options_.sync == Sync::Power;
  return db_->Write(how, &batch);
}

Status Database::repair() {
  // Opening reads the whole log: not before the disk takes something again.
  if (Status status = probe(options_.directory); !status.ok()) return status;
  close();
  return open_db();
}

std::unique_ptr<rocksdb::Iterator> Database::scan(Family of, const rocksdb::ReadOptions& options) {
  if (family(of) == nullptr) return std::unique_ptr<rocksdb::Iterator>(rocksdb::NewEmptyIterator());
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(options, family(of)));
}

void Database::flush_if_much() {
  std::uint64_t all = 0;
  std::vector<rocksdb::ColumnFamilyHandle*> used;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    if (handle == nullptr || !db_->GetIntProperty(handle, rocksdb::DB::Properties::kCurSizeActiveMemTable, &bytes) ||
        !db_->GetIntProperty(handle, rocksdb::DB::Properties::kNumEntriesActiveMemTable, &entries) || entries == 0) {
      continue;
    }
    all += bytes;
    used.push_back(handle);
  }
  if (all < kMuch) return;
  rocksdb::FlushOptions how;
  how.wait = false;
  how.allow_write_stall = true;
  // All of them: one that was left out would keep the log. Where the disk refuses, the next write says so.
  static_cast<void>(db_->Flush(how, used));
}

rocksdb::ReadOptions Database::sequential() {
  rocksdb::ReadOptions options;
  options.readahead_size = 2 * kMiB;
  options.fill_cache = false;
  options.total_order_seek = true;
  return options;
}

}  // namespace vigil::store
