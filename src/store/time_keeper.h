// Store time on disk (broker/store_time.h): how far it has got, for which start of the machine it follows the boot
// clock, and how far the wall clock was ahead of it. docs/formats.md lists the records.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "broker/store_time.h"

namespace rocksdb {
class WriteBatch;
}  // namespace rocksdb

namespace vigil::store {

class Database;

// Owned by one thread at a time.
class TimeKeeper {
 public:
  explicit TimeKeeper(Database& database) : database_(database) {}

  // What earlier processes left; call it before anything is written. An error is one sentence for the operator.
  base::Result<broker::KeptTime, std::string> read();
  void put(const broker::KeptTime& time, rocksdb::WriteBatch& batch);
  // Something was done at this store time. Goes with a batch that is written anyway, every few seconds.
  void put_reached(std::int64_t store_ms, rocksdb::WriteBatch& batch);

 private:
  Database& database_;
  broker::KeptTime written_;
};

}  // namespace vigil::store
