#include "store/run_scan.h"

#include <fmt/format.h>

#include "store/damage.h"
#include "store/run_index.h"
#include "store/run_record.h"

namespace vigil::store {
namespace {

constexpr const char* kNoRun = "what is left of a run of queued messages is noted, and the run is not there";

}  // namespace

rocksdb::Status for_each_entry_in_runs(Database& database, const RunEyes& see) {
  const auto states = database.scan(Family::RunStates, Database::sequential());
  RunOrder order;
  states->SeekToFirst();
  const auto look_at = [&](rocksdb::Iterator& run) {
    const auto key = read_entry_key(bytes(run.key()));
    const auto entries = decode_run(bytes(run.value()));
    if (!key || !entries) {
      see.damage(entries ? "the key of a run of queued messages is not readable" : entries.error());
      return;
    }
    if (!order.follows(*key, entries->size())) {
      see.damage(fmt::format("a run of the session {}/{} has numbers that another one has, too", key->session.sequence,
                             key->session.shard));
      return;
    }
    std::uint64_t live = Run::all(static_cast<unsigned>(entries->size()));
    for (; states->Valid() && states->key().compare(run.key()) <= 0; states->Next()) {
      if (states->key() != run.key()) {
        see.damage(kNoRun);
      } else if (const auto state = decode_number(bytes(states->value()))) {
        live &= *state;
      } else {
        see.damage(fmt::format("what is left of a run of the session {}/{} is not readable", key->session.sequence,
                               key->session.shard));
      }
    }
    for (std::size_t i = 0; i < entries->size(); ++i) {
      if ((live >> i & 1U) == 0) continue;
      if (const auto head = decode_entry_head((*entries)[i]); head && head->released) {
        see.damage(fmt::format("a message in a run of the session {}/{} is released", key->session.sequence,
                               key->session.shard));
      } else {
        see.entry({key->session, key->number + i}, (*entries)[i]);
      }
    }
  };
  const rocksdb::Status status = for_each_readable(
      [&] { return database.scan(Family::Runs, Database::sequential()); }, look_at,
      [&](const rocksdb::Status& damage) { see.damage("runs in a damaged block: " + damage.ToString()); });
  if (!status.ok()) return status;
  for (; states->Valid(); states->Next()) see.damage(kNoRun);
  return states->status();
}

}  // namespace vigil::store
