#include "store/run_scan.h"

#include <fmt/format.h>

#include "store/run_index.h"
#include "store/run_record.h"

namespace vigil::store {
namespace {

constexpr const char* kNoRun = "what is left of a run of queued messages is noted, and the run is not there";

}  // namespace

rocksdb::Status for_each_entry_in_runs(Database& database, const RunEyes& see) {
  const auto it = database.scan(Family::Runs, Database::sequential());
  const auto states = database.scan(Family::RunStates, Database::sequential());
  RunOrder order;
  states->SeekToFirst();
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const auto key = read_entry_key(bytes(it->key()));
    const auto entries = decode_run(bytes(it->value()));
    if (!key || !entries) {
      see.damage(entries ? "the key of a run of queued messages is not readable" : entries.error());
      continue;
    }
    if (!order.follows(*key, entries->size())) {
      see.damage(fmt::format("a run of the session {}/{} has numbers that another one has, too", key->session.sequence,
                             key->session.shard));
      continue;
    }
    std::uint64_t live = Run::all(static_cast<unsigned>(entries->size()));
    for (; states->Valid() && states->key().compare(it->key()) <= 0; states->Next()) {
      if (states->key() != it->key()) {
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
  }
  if (it->status().ok()) {
    for (; states->Valid(); states->Next()) see.damage(kNoRun);
  }
  return it->status().ok() ? states->status() : it->status();
}

}  // namespace vigil::store
