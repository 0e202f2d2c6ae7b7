#include "store/store_reader.h"

#include <utility>

#include "store/damage.h"

namespace vigil::store {

base::Result<std::unique_ptr<StoreReader>, std::string> StoreReader::open(const std::filesystem::path& directory) {
  TRY(Snapshot snapshot, Snapshot::take(directory));
  std::unique_ptr<StoreReader> reader(new StoreReader(std::move(snapshot)));
  auto database = Database::open({.directory = reader->snapshot_.view()}, Access::ReadOnly);
  if (!database) return base::Err(reader->translated(std::move(database).error()));
  reader->database_ = std::move(*database);
  return reader;
}

rocksdb::Status StoreReader::for_each(Family family, const std::function<void(base::Bytes, base::Bytes)>& see,
                                      const std::function<void(const std::string&)>& damaged) {
  return for_each_readable([&] { return database_->scan(family, Database::sequential()); },
                           [&](rocksdb::Iterator& it) { see(bytes(it.key()), bytes(it.value())); },
                           [&](const rocksdb::Status& status) { damaged(status.ToString()); });
}

}  // namespace vigil::store
