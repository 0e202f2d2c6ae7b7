// A run: entries of one session that were written together, as one record. Their numbers follow each other from the one
// in its key (an entry's key, in a family of its own). It is never written again: which of its entries are still
// waiting is said by a record beside it, once some are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <boost/container/static_vector.hpp>

#include "base/bytes.h"
#include "store/record_codec.h"

namespace vigil::store {

inline constexpr std::size_t kMostOfRun = 64;  // entries
// A run ends behind the entry that takes it above this.
inline constexpr std::size_t kRunBytes = std::size_t{16} << 10U;

// The entries' own records, as views.
using RunEntries = boost::container::static_vector<base::Bytes, kMostOfRun>;

void encode_run(std::span<const base::Bytes> entries, std::vector<std::uint8_t>& out);
// The entries themselves are not looked into.
Decoded<RunEntries> decode_run(base::Bytes record);

// Runs are read in the order of their keys: does one lie behind the others of its session? What a damaged store says of
// a number twice is not to be believed.
class RunOrder {
 public:
  bool follows(const EntryKey& first, std::size_t count) {
    if (first.session != session_) behind_ = 0;
    session_ = first.session;
    if (first.number < behind_ || first.number > UINT64_MAX - count) return false;
    behind_ = first.number + count;
    return true;
  }

 private:
  broker::SessionKey session_;
  std::uint64_t behind_ = 0;
};

}  // namespace vigil::store
