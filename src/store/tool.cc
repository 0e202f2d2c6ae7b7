#include "store/tool.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <boost/unordered/unordered_flat_set.hpp>

#include "store/database.h"
#include "store/files.h"
#include "store/json_records.h"
#include "store/record_codec.h"
#include "store/references.h"
#include "store/run_scan.h"
#include "store/store_reader.h"
#include "store/transfer.h"

namespace vigil::store {
namespace {

using broker::Position;
using Positions = boost::unordered_flat_set<Position, PositionHash>;

// Findings that are written out; of more only the number is told.
constexpr std::uint64_t kFindingsShown = 50;

// The lock that a broker holds on its store.
bool broker_runs_on(const std::filesystem::path& directory) {
  const File file(directory / "LOCK", O_RDONLY);
  if (!file.is_open()) return false;
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(file.fd(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
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

int inspect(StoreReader& store, std::ostream& out, std::ostream& err) {
  Database& database = store.database();
  Summary sum;
  std::uint64_t clock = 0;
  for (std::size_t i = 0; i < kFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    const rocksdb::Status status = store.for_each(
        family,
        [&](base::Bytes key, base::Bytes value) {
          ++sum.records[i];
          if (family == Family::Queue) add_entry(value, sum);
          if (family == Family::Meta && base::as_text(key) == kClockKey) clock = decode_number(value).value_or(0);
        },
        [&](const std::string&) { ++sum.unreadable; });
    if (!status.ok()) {
      err << store.explained(status) << '\n';
      return 1;
    }
  }
  std::uint64_t in_runs = 0;
  const rocksdb::Status status =
      for_each_entry_in_runs(database, {[&](const EntryKey&, base::Bytes record) { add_entry(record, sum), ++in_runs; },
                                        [&](const std::string&) { ++sum.unreadable; }});
  if (!status.ok()) {
    err << store.explained(status) << '\n';
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
  Check(StoreReader& store, std::ostream& out, std::ostream& err)
      : store_(store), database_(store.database()), out_(out), err_(err) {}
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

  StoreReader& store_;
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
      findings_, store_.directory().string());
  return 1;
}

void Check::checksums() {
  rocksdb::ReadOptions options;
  options.readahead_size = std::size_t{2} << 20U;
  const rocksdb::Status status = database_.db().VerifyChecksum(options);
  if (!status.ok()) finding("a checksum is wrong: " + status.ToString());
}

void Check::decode_all(Family family) {
  const rocksdb::Status status = store_.for_each(
      family, [&](base::Bytes key, base::Bytes value) { decode(family, key, value); },
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
  if (++findings_ <= kFindingsShown) err_ << store_.translated(what) << '\n';
  if (findings_ == kFindingsShown) err_ << "(more findings are counted only)\n";
}

// --- repair

int repair(const std::filesystem::path& directory, std::ostream& err) {
  const auto fails = [&](const std::string& why) {
    err << why << '\n';
    return 1;
  };
  if (const auto there = expect_store(directory); !there) return fails(there.error());
  if (broker_runs_on(directory)) {
    return fails(fmt::format(
        "A broker is running on the store in {}. Stop it first, or repair a copy: `vigilmq store backup` makes one.",
        directory.string()));
  }
  auto database =
      Database::open({.directory = directory, .sync = Sync::Power, .give_up_behind_damage = true}, Access::Write);
  if (!database) return fails(database.error());
  database->reset();
  give_to_owner(directory, err);
  err << fmt::format(
      "The store in {} can be opened. If its log was damaged, what stood behind the damage is gone. `vigilmq store "
      "check` and `vigilmq store inspect` say what is there.\n",
      directory.string());
  return 0;
}

}  // namespace

int run(const ToolRequest& request, std::istream& in, std::ostream& out, std::ostream& err) {
  using Command = ToolRequest::Command;
  if (request.command == Command::Import) return import_store(request.directory, in, err);
  if (request.command == Command::Repair) return repair(request.directory, err);
  const auto store = StoreReader::open(request.directory);
  if (!store) {
    err << store.error() << '\n';
    return 1;
  }
  switch (request.command) {
    case Command::Inspect: return inspect(**store, out, err);
    case Command::Check: return Check(**store, out, err).run();
    case Command::Backup: return back_up(**store, request.copy, out, err);
    default: return export_store(**store, out, err);
  }
}

}  // namespace vigil::store
