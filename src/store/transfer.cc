#include "store/transfer.h"

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <rocksdb/metadata.h>
#include <rocksdb/write_batch.h>
#include <boost/unordered/unordered_flat_set.hpp>

#include "base/result.h"
#include "store/database.h"
#include "store/files.h"
#include "store/json_records.h"
#include "store/run_scan.h"
#include "store/store_reader.h"

namespace vigil::store {
namespace {

using base::Err;
using std::filesystem::path;
using Done = base::Result<void, std::string>;

constexpr std::size_t kWriteAtOnce = std::size_t{1} << 20U;

// --- import

struct Imported {
  std::uint64_t records = 0;
  std::uint64_t left_out = 0;  // when they were exported
};

// Lines become records of a store that nobody sees yet.
class Import {
 public:
  Import(Database& database, std::istream& in) : database_(database), in_(in) {}
  base::Result<Imported, std::string> run();

 private:
  Done read_line(const std::string& line);
  Done read_record(const nlohmann::ordered_json& json);
  Done read_end(const nlohmann::ordered_json& json);
  Done write(std::size_t at_least);

  Database& database_;
  std::istream& in_;
  rocksdb::WriteBatch batch_;
  boost::unordered_flat_set<std::string> once_;
  std::uint64_t number_ = 0;  // of the line
  std::uint64_t records_ = 0;
  std::optional<ExportEnd> end_;
};

base::Result<Imported, std::string> Import::run() {
  std::string line;
  while (std::getline(in_, line)) {
    ++number_;
    if (!line.empty()) TRY_VOID(read_line(line));
  }
  if (number_ == 0) return Err(std::string("The input is empty: it is no export of a store."));
  if (!end_) {
    return Err(fmt::format(
        "The input ends after {} records without the line that ends every export: it was cut short, or it was written "
        "by an early version. Export once more. If there is nothing left to export, and you know that it is whole, "
        "append this line: {}",
        records_, to_json(ExportEnd{.records = records_}).dump()));
  }
  TRY_VOID(write(0));
  return Imported{.records = records_, .left_out = end_->left_out};
}

Done Import::read_line(const std::string& line) {
  const auto json = nlohmann::ordered_json::parse(line, nullptr, false);
  if (end_) return Err(fmt::format("Line {} stands behind the line that ends the export.", number_));
  if (json.is_discarded()) {
    return Err(fmt::format("Line {} is no JSON{}.", number_, in_.eof() ? ": the input was cut short there" : ""));
  }
  return is_export_end(json) ? read_end(json) : read_record(json);
}

Done Import::read_record(const nlohmann::ordered_json& json) {
  const auto record = record_from_json(json);
  if (!record) return Err(fmt::format("Line {} is no record of a store: {}.", number_, record.error()));
  // RocksDB forgets such keys only if they were written once.
  if ((record->family == Family::Queue || record->family == Family::Messages) &&
      !once_.insert(fmt::format("{}{}", name(record->family), slice(record->key).ToStringView())).second) {
    return Err(fmt::format("Line {} says again what an earlier line has said: each message may come once.", number_));
  }
  ++records_;
  batch_.Put(database_.family(record->family), slice(record->key), slice(record->value));
  return write(kWriteAtOnce);
}

Done Import::read_end(const nlohmann::ordered_json& json) {
  const auto end = export_end_from_json(json);
  if (!end) return Err(fmt::format("Line {} does not end an export: {}.", number_, end.error()));
  if (end->records != records_) {
    return Err(fmt::format("The export had {} records, and the input has {}: some are missing or came twice.",
                           end->records, records_));
  }
  end_ = *end;
  return {};
}

Done Import::write(std::size_t at_least) {
  if (batch_.GetDataSize() < at_least || batch_.Count() == 0) return {};
  const rocksdb::Status status = database_.write(batch_);
  batch_.Clear();
  if (!status.ok()) return Err(explain(status, database_.directory()));
  return {};
}

// What a broker wants to find in the directory comes out of the directory in it, CURRENT last: until then it is no
// store.
Done bring_out(const path& inner, const path& to) {
  std::vector<path> names;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(inner, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    names.push_back(it->path().filename());
  }
  for (const path& name : names) {
    if (!error && name != "CURRENT") std::filesystem::rename(inner / name, to / name, error);
  }
  if (error) return Err(fmt::format("Cannot write to {}: {}.", to.string(), error.message()));
  TRY_VOID(sync_path(to));
  std::filesystem::rename(inner / "CURRENT", to / "CURRENT", error);
  if (!error) std::filesystem::remove(inner, error);
  if (error) return Err(fmt::format("Cannot write to {}: {}.", to.string(), error.message()));
  return sync_path(to);
}

base::Result<Imported, std::string> import_into(const path& to, std::istream& in) {
  const path inner = to / kImportDirectory;
  TRY(auto database, Database::open({.directory = inner, .sync = Sync::Power}, Access::Write));
  TRY(const Imported imported, Import(*database, in).run());
  database.reset();
  TRY_VOID(bring_out(inner, to));
  return imported;
}

// --- for import and backup

// As it was before: empty, or not there.
void leave_as_it_was(const path& directory, Made made) {
  std::error_code ignored;
  if (made == Made::MadeNow) {
    std::filesystem::remove_all(directory, ignored);
    return;
  }
  std::filesystem::remove(directory / "CURRENT", ignored);  // first: what is left is no store
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    std::filesystem::remove_all(entry.path(), ignored);
  }
}

// The name of a directory that was made is on the disk, too.
Done sync_parent(const path& directory) {
  const path whole = std::filesystem::absolute(directory).lexically_normal();
  return sync_path(whole.has_filename() ? whole.parent_path() : whole.parent_path().parent_path());
}

bool is_within(const path& inner, const path& outer) {
  std::error_code error;
  const path from = std::filesystem::weakly_canonical(outer, error);
  const path to = std::filesystem::weakly_canonical(inner, error);
  const path way = to.lexically_relative(from);
  return !error && !way.empty() && *way.begin() != "..";
}

}  // namespace

int export_store(StoreReader& from, std::ostream& out, std::ostream& err) {
  ExportEnd end;
  const auto leave_out = [&](Family family, const std::string& why) {
    ++end.left_out;
    err << fmt::format("left out, of {}: {}\n", name(family), from.translated(why));
  };
  const auto write = [&](Family family, base::Bytes key, base::Bytes value) {
    if (const auto json = record_to_json(family, key, value)) {
      ++end.records;
      out << json->dump() << '\n';
    } else {
      leave_out(family, json.error());
    }
  };
  for (std::size_t i = 0; i < kFamilies && out; ++i) {
    const auto family = static_cast<Family>(i);
    if (family == Family::RunStates) continue;
    const rocksdb::Status status =
        family == Family::Runs
            ? for_each_entry_in_runs(from.database(), {[&](const EntryKey& key, base::Bytes record) {
                                                         write(Family::Queue, entry_key(key), record);
                                                       },
                                                       [&](const std::string& what) { leave_out(family, what); }})
            : from.for_each(
                  family, [&](base::Bytes key, base::Bytes value) { write(family, key, value); },
                  [&](const std::string& what) { leave_out(family, "all that stands in a damaged block: " + what); });
    if (!status.ok()) {
      ++end.left_out;
      err << fmt::format("{} cannot be read to its end: {}\n", name(family), from.translated(status.ToString()));
    }
  }
  out << to_json(end).dump() << '\n';
  return end.left_out == 0 ? 0 : 1;
}

int import_store(const path& to, std::istream& in, std::ostream& err) {
  const auto made = prepare_empty(to);
  if (!made) {
    err << made.error() << '\n';
    return 1;
  }
  auto imported = import_into(to, in);
  if (imported && *made == Made::MadeNow) {
    if (auto synced = sync_parent(to); !synced) imported = Err(synced.error());
  }
  if (!imported) {
    leave_as_it_was(to, *made);
    err << imported.error() << " Nothing was imported.\n";
    return 1;
  }
  give_to_owner(to, err);
  err << fmt::format("{} records imported into {}\n", imported->records, to.string());
  if (imported->left_out > 0) {
    err << fmt::format("{} more could not be read when they were exported, and are lost\n", imported->left_out);
  }
  return 0;
}

int back_up(StoreReader& from, const path& to, std::ostream& out, std::ostream& err) {
  const auto fails = [&](const std::string& why) {
    err << why << " Nothing was copied.\n";
    return 1;
  };
  if (is_within(to, from.directory())) {
    return fails(fmt::format("{} is inside the store. Name a directory elsewhere.", to.string()));
  }
  const auto made = prepare_empty(to);
  if (!made) return fails(made.error());
  std::vector<rocksdb::LiveFileMetaData> live;
  from.database().db().GetLiveFilesMetaData(&live);
  std::vector<std::string> tables;
  tables.reserve(live.size());
  for (const rocksdb::LiveFileMetaData& file : live)
    tables.push_back(file.name.substr(file.name.find_last_of('/') + 1));
  const auto copy = [&]() -> base::Result<Snapshot::Copied, std::string> {
    TRY(const Snapshot::Copied copied, from.snapshot().copy_to(to, tables));
    if (*made == Made::MadeNow) TRY_VOID(sync_parent(to));
    TRY_VOID(StoreReader::open(to));
    return copied;
  };
  const auto copied = copy();
  if (!copied) {
    leave_as_it_was(to, *made);
    return fails(copied.error());
  }
  give_to_owner(to, err);
  out << fmt::format("Copied {} files, {} bytes, from {} to {}. `vigilmq store check -d {}` reads through the copy.\n",
                     copied->files, copied->bytes, from.directory().string(), to.string(), to.string());
  return 0;
}

}  // namespace vigil::store
