// All entries that wait in runs, one by one, for the tool that looks at a whole store.
#pragma once

#include <functional>
#include <string>

#include <rocksdb/status.h>

#include "store/database.h"
#include "store/record_codec.h"

namespace vigil::store {

struct RunEyes {
  std::function<void(const EntryKey& key, base::Bytes record)> entry;
  std::function<void(const std::string& what)> damage;
};

// In the order of their sessions and numbers; what stands in damaged blocks is passed over, and told as damage.
rocksdb::Status for_each_entry_in_runs(Database& database, const RunEyes& see);

}  // namespace vigil::store
