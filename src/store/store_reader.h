// What `vigilmq store` reads a store through: a snapshot of its files and the database in it. Whether a broker runs on
// the store makes no difference.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "store/database.h"
#include "store/snapshot.h"

namespace vigil::store {

class StoreReader {
 public:
  // An error is a sentence for the operator.
  static base::Result<std::unique_ptr<StoreReader>, std::string> open(const std::filesystem::path& directory);

  Database& database() { return *database_; }
  const Snapshot& snapshot() const { return snapshot_; }
  const std::filesystem::path& directory() const { return snapshot_.directory(); }
  std::string translated(std::string text) const { return snapshot_.translated(std::move(text)); }
  std::string explained(const rocksdb::Status& status) const { return translated(explain(status, directory())); }

  // Every record of a family that can be read, in order; damaged(why) once for each place that cannot.
  rocksdb::Status for_each(Family family, const std::function<void(base::Bytes key, base::Bytes value)>& see,
                           const std::function<void(const std::string& why)>& damaged);

 private:
  explicit StoreReader(Snapshot snapshot) : snapshot_(std::move(snapshot)) {}

  Snapshot snapshot_;
  std::unique_ptr<Database> database_;  // behind what it reads
};

}  // namespace vigil::store
