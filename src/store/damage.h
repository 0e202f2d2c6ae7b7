// The way past damaged blocks: RocksDB's iterators end there.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include <rocksdb/iterator.h>

namespace vigil::store {

using MakeIterator = std::function<std::unique_ptr<rocksdb::Iterator>()>;

// At the first entry that can be read of those with a key not below `from`, which lies in a damaged block or before it.
// If there is none, the iterator is not valid, and its status is OK or Corruption; any other status is a failure of
// reading.
//
// It looks at keys as at numbers of 40 bytes: what stands in the readable part behind the damage is found up to keys
// that differ from those in it by their first 40 bytes. Costs up to some hundred seeks.
std::unique_ptr<rocksdb::Iterator> seek_behind_damage(const MakeIterator& make, std::string_view from);

// Calls see(it) for every entry that can be read, in order, and damaged(status) once for each place that is passed
// over. The status of a failure that is no damage, or OK.
rocksdb::Status for_each_readable(const MakeIterator& make, const std::function<void(rocksdb::Iterator&)>& see,
                                  const std::function<void(const rocksdb::Status&)>& damaged);

}  // namespace vigil::store
