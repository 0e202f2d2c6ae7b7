// Which runs are in the store, and which of their entries still wait. In memory only, 32 bytes a run: when an entry
// goes nothing has to be read from disk. The store's thread owns it; what it knows is what is written, and what is in
// the batch that is being made.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <rocksdb/write_batch.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include "broker/change.h"
#include "store/database.h"
#include "store/record_codec.h"
#include "store/references.h"

namespace vigil::store {

struct Run {
  std::uint64_t first = 0;   // number of its first entry
  std::uint64_t live = 0;    // bit i: the entry with the number first + i waits
  std::uint64_t shared = 0;  // bit i: its message is a record of its own
  std::uint8_t count = 0;
  bool has_state = false;  // what is live is written beside it
  bool touched = false;    // since the last write_changes()

  bool covers(std::uint64_t number) const { return number >= first && number - first < count; }
  static std::uint64_t all(unsigned count) { return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1; }
};

class RunIndex {
 public:
  // A run that was just put, or was found at the start.
  void add(const broker::SessionKey& session, const Run& run);

  struct Taken {
    bool live = false;    // it was there until now
    bool shared = false;  // and held a reference
  };
  // The entry goes. Nothing if it is in no run.
  std::optional<Taken> take(const EntryKey& entry);
  // Appends what take() has changed: runs without a live entry are deleted, of others it is noted what is left.
  void write_changes(Database& database, rocksdb::WriteBatch& batch);

  // By number, from the first that reaches up to `number`; some may have no live entry. Valid until the next add() or
  // write_changes().
  std::span<const Run> from(const broker::SessionKey& session, std::uint64_t number) const;

 private:
  // Queues are eaten from their front, but a sweep takes from anywhere, and so does a client that leaves one message
  // unacknowledged. A run that is gone stays until enough others are, so that taking one out costs the same however
  // many there are.
  struct Runs {
    std::vector<Run> all;
    std::size_t front = 0;  // those before it are gone
    std::size_t holes = 0;  // those behind it that are gone

    std::span<Run> rest() { return std::span(all).subspan(front); }
    std::span<const Run> rest() const { return std::span(all).subspan(front); }
    // One that has no live entry any more. Moves the others, perhaps.
    void erase(const Run& run);
  };
  // That covers the number.
  Run* find(const EntryKey& entry);

  boost::unordered_flat_map<broker::SessionKey, Runs, PositionHash> sessions_;
  std::vector<EntryKey> touched_;  // runs, by their first number
};

}  // namespace vigil::store
