#include "store/tool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>
#include <boost/unordered/unordered_flat_set.hpp>

#include "store/damage.h"
#include "store/database.h"
#include "store/json_records.h"
#include "store/record_codec.h"
#include "store/references.h"
#include "store/run_scan.h"

namespace vigil::store {
namespace {

using base::Err;
using broker::Position;
using Positions = boost::unordered_flat_set<Position, PositionHash>;
using Opened = base::Result<std::unique_ptr<Database>, std::string>;

constexpr std::size_t kWriteAtOnce = std::size_t{1} << 20U;
// Findings that are written out; of more only the number is told.
constexpr std::uint64_t kFindingsShown = 50;

// The lock that a broker holds on its store.
bool broker_runs_on(const std::filesystem::path& directory) {
  const int fd = ::open((directory / "LOCK").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  const bool held = ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(fd);
  return held;
}

Opened open_stopped(const std::filesystem::path& directory, Access access) {
  std::error_code error;
  if (!std::filesystem::exists(directory / "CURRENT", error)) {
    return Err(
        fmt::format("There is no store in {}. Name the directory that holds a file CURRENT.", directory.string()));
  }
  if (broker_runs_on(directory)) {
    return Err(fmt::format("A broker is running on the store in {}. Stop it first, or work on a copy of the directory.",
                           directory.string()));
  }
  return Database::open({.directory = directory, .sync = Sync::Power, .give_up_behind_damage = access == Access::Write},
                        access);
}

// Every record of a family that can be read, in order; tells of what cannot.
template <class See, class Damaged>
rocksdb::Status for_each(Database& database, Family family, See see, Damaged damaged) {
  return for_each_readable([&] { return database.scan(family, Database::sequential()); },
                           [&](rocksdb::Iterator& it) { see(bytes(it.key()), bytes(it.value())); },
                           [&](const rocksdb::Status& status) { damaged(status.ToString()); });
}

std::string text(const Position& position) { return fmt::format("{}/{}", position.sequence, position.shard); }

// --- inspect

struct Summary {
  std::array<std::uint64_t, kFamilies> records{};
  std::uint64_t released = 0;
  std::uint64_t shared = 0;
  std::uint64_t queued_bytes = 0;
  std::uint64_t unreadable = 0;
  std::optional<Position> oldest;
  std::optional<Position> newest;
};

void add_entry(base::Bytes record, Summary& to) {
  const auto entry = decode_entry(record);
  if (!entry) {
    ++to.unreadable;
    return;
  }
  to.queued_bytes += entry->head.size();
  to.shared += entry->head.shared ? 1 : 0;
  if (entry->head.released) {
    ++to.released;
    return;
  }
  to.oldest = std::min(to.oldest.value_or(entry->position), entry->position);
  to.newest = std::max(to.newest.value_or(entry->position), entry->position);
}

int inspect(Database& database, std::ostream& out, std::ostream& err) {
  Summary sum;
  std::uint64_t clock = 0;
  for (std::size_t i = 0; i < kFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    const rocksdb::Status status = for_each(
        database, family,
        [&](base::Bytes key, base::Bytes value) {
          ++sum.records[i];
          if (family == Family::Queue) add_entry(value, sum);
          if (family == Family::Meta && base::as_text(key) == kClockKey) clock = decode_number(value).value_or(0);
        },
        [&](const std::string&) { ++sum.unreadable; });
    if (!status.ok()) {
      err << explain(status, database.directory()) << '\n';
      return 1;
    }
  }
  std::uint64_t in_runs = 0;
  const rocksdb::Status status =
      for_each_entry_in_runs(database, {[&](const EntryKey&, base::Bytes record) { add_entry(record, sum), ++in_runs; },
                                        [&](const std::string&) { ++sum.unreadable; }});
  if (!status.ok()) {
    err << explain(status, database.directory()) << '\n';
    return 1;
  }
  const auto count = [&](Family family) { return sum.records[static_cast<std::size_t>(family)]; };
  out << fmt::format("format               {}\n", database.format());
  out << fmt::format("clock floor          {} ms (Unix time)\n", clock);
  out << fmt::format("sessions             {}\n", count(Family::Sessions));
  out << fmt::format("subscriptions        {}\n", count(Family::Subscriptions));
  out << fmt::format("packet identifiers   {} (QoS 2, received and not released)\n", count(Family::Unreleased));
  out << fmt::format("queued messages      {} ({} bytes; {} shared, {} released; {} in {} runs)\n",
                     count(Family::Queue) + in_runs, sum.queued_bytes, sum.shared, sum.released, in_runs,
                     count(Family::Runs));
  out << fmt::format("messages stored once {}\n", count(Family::Messages));
  out << fmt::format("oldest and newest    {} {}\n", sum.oldest ? text(*sum.oldest) : "-",
                     sum.newest ? text(*sum.newest) : "-");
  out << fmt::format("retained messages    {}\n", count(Family::Retained));
  out << fmt::format("presence records     {}\n", count(Family::Presence));
  if (sum.unreadable > 0) out << fmt::format("unreadable records   {}: see `vigilmq store check`\n", sum.unreadable);
  for (std::size_t i = 0; i < kFamilies; ++i) {
    std::uint64_t size = 0;
    if (database.family(static_cast<Family>(i)) == nullptr) continue;
    database.db().GetIntProperty(database.family(static_cast<Family>(i)), "rocksdb.total-sst-files-size", &size);
    out << fmt::format("on disk              {} bytes in {}\n", size, kFamilyNames[i]);
  }
  return 0;
}

// --- check

class Check {
 public:
  Check(Database& database, std::ostream& out, std::ostream& err) : database_(database), out_(out), err_(err) {}
  int run();

 private:
  void checksums();
  void decode_all(Family family);
  void decode_runs();
  void decode(Family family, base::Bytes key, base::Bytes value);
  void look_at(Family family, base::Bytes key, base::Bytes value);
  void look_at_entry(const Position& session, base::Bytes value);
  void references();
  void finding(const std::string& what);

  Database& database_;
  std::ostream& out_;
  std::ostream& err_;
  Positions sessions_;
  Positions ended_;  // sessions that are gone while something of them is left
  Positions messages_;
  Positions wanted_;  // messages that entries refer to
  std::uint64_t records_ = 0;
  std::uint64_t left_behind_ = 0;
  std::uint64_t findings_ = 0;
};

int Check::run() {
  checksums();
  // Sessions first, and messages before the entries that refer to them.
  for (const Family family : {Family::Meta, Family::Sessions, Family::Subscriptions, Family::Unreleased,
                              Family::Messages, Family::Queue, Family::PacketIds, Family::Retained, Family::Presence}) {
    decode_all(family);
  }
  decode_runs();
  references();
  out_ << fmt::format("{} records read, of {} sessions\n", records_, sessions_.size());
  if (left_behind_ > 0) {
    out_ << fmt::format("{} records are left of {} sessions that ended: no harm, the next start clears them away\n",
                        left_behind_, ended_.size());
  }
  if (findings_ == 0) {
    out_ << "the store is sound\n";
    return 0;
  }
  err_ << fmt::format(
      "{} findings in {}. A broker skips records that it does not understand, and serves the rest; with a block that "
      "cannot "
      "be read it does not start. Bring back a copy from before; or, to keep what is readable: `vigilmq store export`, "
      "then "
      "`vigilmq store import` into a new directory.\n",
      findings_, database_.directory().string());
  return 1;
}

void Check::checksums() {
  rocksdb::ReadOptions options;
  options.readahead_size = std::size_t{2} << 20U;
  const rocksdb::Status status = database_.db().VerifyChecksum(options);
  if (!status.ok()) finding("a checksum is wrong: " + status.ToString());
}

void Check::decode_all(Family family) {
  const rocksdb::Status status = for_each(
      database_, family, [&](base::Bytes key, base::Bytes value) { decode(family, key, value); },
      [&](const std::string& what) { finding(fmt::format("a part of {} cannot be read: {}", name(family), what)); });
  if (!status.ok()) finding(fmt::format("{} cannot be read to its end: {}", name(family), status.ToString()));
}

void Check::decode_runs() {
  const rocksdb::Status status = for_each_entry_in_runs(
      database_, {[&](const EntryKey& key, base::Bytes record) { decode(Family::Queue, entry_key(key), record); },
                  [&](const std::string& what) { finding(what); }});
  if (!status.ok()) finding(fmt::format("runs cannot be read to their end: {}", status.ToString()));
}

void Check::decode(Family family, base::Bytes key, base::Bytes value) {
  ++records_;
  const auto json = record_to_json(family, key, value);
  if (json) {
    look_at(family, key, value);
  } else {
    finding(fmt::format("{}: {}", name(family), json.error()));
  }
}

void Check::look_at(Family family, base::Bytes key, base::Bytes value) {
  const Position first = read_position_key(key.first(std::min(key.size(), sizeof(PositionBytes)))).value_or(Position{});
  switch (family) {
    case Family::Sessions: sessions_.insert(first); break;
    case Family::Messages: messages_.insert(first); break;
    case Family::Subscriptions:
    case Family::Unreleased:
    case Family::PacketIds:
    case Family::Queue:
      if (!sessions_.contains(first)) {
        ++left_behind_;
        ended_.insert(first);
      }
      if (family == Family::Queue) look_at_entry(first, value);
      break;
    default: break;
  }
}

void Check::look_at_entry(const Position& session, base::Bytes value) {
  const auto entry = decode_entry(value);
  if (!entry || !entry->head.shared) return;
  wanted_.insert(entry->position);
  if (messages_.contains(entry->position)) return;
  finding(
      fmt::format("the session {} waits for the message {}, which is not there", text(session), text(entry->position)));
}

void Check::references() {
  for (const Position& message : messages_) {
    if (!wanted_.contains(message)) finding(fmt::format("nobody waits for the message {}", text(message)));
  }
}

void Check::finding(const std::string& what) {
  if (++findings_ <= kFindingsShown) err_ << what << '\n';
  if (findings_ == kFindingsShown) err_ << "(more findings are counted only)\n";
}

// --- export and import

int export_all(Database& database, std::ostream& out, std::ostream& err) {
  std::uint64_t left_out = 0;
  const auto leave_out = [&](Family family, const std::string& why) {
    ++left_out;
    err << fmt::format("left out, of {}: {}\n", name(family), why);
  };
  const auto write = [&](Family family, base::Bytes key, base::Bytes value) {
    if (const auto json = record_to_json(family, key, value)) {
      out << json->dump() << '\n';
    } else {
      leave_out(family, json.error());
    }
  };
  for (std::size_t i = 0; i < kFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    if (family == Family::RunStates) continue;
    const rocksdb::Status status =
        family == Family::Runs
            ? for_each_entry_in_runs(database, {[&](const EntryKey& key, base::Bytes record) {
                                                  write(Family::Queue, entry_key(key), record);
                                                },
                                                [&](const std::string& what) { leave_out(family, what); }})
            : for_each(
                  database, family, [&](base::Bytes key, base::Bytes value) { write(family, key, value); },
                  [&](const std::string& what) { leave_out(family, "all that stands in a damaged block: " + what); });
    if (!status.ok()) {
      ++left_out;
      err << fmt::format("{} cannot be read to its end: {}\n", name(family), status.ToString());
    }
  }
  out.flush();
  if (!out) {
    err << "The export is not complete: writing it failed. Is there room where it goes?\n";
    return 1;
  }
  return left_out == 0 ? 0 : 1;
}

base::Result<std::uint64_t, std::string> import_lines(Database& database, std::istream& in) {
  rocksdb::WriteBatch batch;
  std::uint64_t number = 0;
  std::string line;
  boost::unordered_flat_set<std::string> once;
  const auto write = [&](std::size_t at_least) -> base::Result<void, std::string> {
    if (batch.GetDataSize() < at_least || batch.Count() == 0) return {};
    const rocksdb::Status status = database.write(batch);
    batch.Clear();
    if (!status.ok()) return Err(explain(status, database.directory()));
    return {};
  };
  while (std::getline(in, line)) {
    ++number;
    if (line.empty()) continue;
    const auto json = nlohmann::ordered_json::parse(line, nullptr, false);
    if (json.is_discarded()) return Err(fmt::format("Line {} is no JSON.", number));
    const auto record = record_from_json(json);
    if (!record) return Err(fmt::format("Line {} is no record of a store: {}.", number, record.error()));
    // RocksDB forgets such keys only if they were written once.
    if ((record->family == Family::Queue || record->family == Family::Messages) &&
        !once.insert(fmt::format("{}{}", name(record->family), slice(record->key).ToStringView())).second) {
      return Err(fmt::format("Line {} says again what an earlier line has said: each message may come once.", number));
    }
    batch.Put(database.family(record->family), slice(record->key), slice(record->value));
    TRY_VOID(write(kWriteAtOnce));
  }
  TRY_VOID(write(0));
  return number;
}

// What root has written belongs to whom the directory belongs to: the broker that runs as that user must read it. Files
// only, and none that has another name elsewhere: who owns the directory may have put it there.
void give_to_owner(const std::filesystem::path& directory, std::ostream& err) {
  struct stat owner{};
  if (::geteuid() != 0 || ::stat(directory.c_str(), &owner) != 0 || owner.st_uid == 0) return;
  bool all = true;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat file{};
    const bool ours = fd >= 0 && ::fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 1;
    all = ours && ::fchown(fd, owner.st_uid, owner.st_gid) == 0 && all;
    if (fd >= 0) ::close(fd);
  }
  if (all && !error) return;
  err << fmt::format(
      "Not all files in {} could be given to the owner of the directory: see that the broker can read them.\n",
      directory.string());
}

int repair(const std::filesystem::path& directory, std::ostream& err) {
  auto database = open_stopped(directory, Access::Write);
  if (!database) {
    err << database.error() << '\n';
    return 1;
  }
  database->reset();
  give_to_owner(directory, err);
  err << fmt::format(
      "The store in {} can be opened. If its log was damaged, what stood behind the damage is gone. `vigilmq store "
      "check` "
      "and `vigilmq store inspect` say what is there.\n",
      directory.string());
  return 0;
}

int import_all(const std::filesystem::path& directory, std::istream& in, std::ostream& err) {
  std::error_code error;
  if (std::filesystem::exists(directory, error) && !std::filesystem::is_empty(directory, error)) {
    err << fmt::format("{} is not empty. Import into a new directory; what is there is left as it is.\n",
                       directory.string());
    return 1;
  }
  auto database = Database::open({.directory = directory, .sync = Sync::Power}, Access::Write);
  if (!database) {
    err << database.error() << '\n';
    return 1;
  }
  const auto lines = import_lines(**database, in);
  database->reset();
  if (!lines) {
    std::filesystem::remove_all(directory, error);
    err << lines.error() << " Nothing was imported.\n";
    return 1;
  }
  give_to_owner(directory, err);
  err << fmt::format("{} lines imported into {}\n", *lines, directory.string());
  return 0;
}

}  // namespace

int run(const ToolRequest& request, std::istream& in, std::ostream& out, std::ostream& err) {
  if (request.command == ToolRequest::Command::Import) return import_all(request.directory, in, err);
  if (request.command == ToolRequest::Command::Repair) return repair(request.directory, err);
  const auto database = open_stopped(request.directory, Access::ReadOnly);
  if (!database) {
    err << database.error() << '\n';
    return 1;
  }
  switch (request.command) {
    case ToolRequest::Command::Inspect: return inspect(**database, out, err);
    case ToolRequest::Command::Check: return Check(**database, out, err).run();
    default: return export_all(**database, out, err);
  }
}

}  // namespace vigil::store
