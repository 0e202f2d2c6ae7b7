// A store as it is at one moment, also while a broker writes to it: what `vigilmq store` reads, exports and copies.
//
// It is what a SIGKILL of the broker at that moment would leave in the directory, so the next start of a broker makes
// of it what it makes of that: everything that was acknowledged is in it. The broker is not asked and does not notice.
// Nothing is written to its directory. RocksDB itself is not made for this: opened read-only beside a writer, it reads
// the MANIFEST first and the logs later, and does not miss a log that was deleted in between.
//
// How it is taken:
//
//   1. open the MANIFEST that CURRENT names, and note its length
//   2. open every table (.sst) and every log (.log), and note its length
//   3. if CURRENT names another MANIFEST now, or the MANIFEST is longer: give all up and begin again
//
// Why that is enough. The noted part of the MANIFEST says which tables and logs a start needs. Any of them is deleted
// only after a further record in the MANIFEST says that it is needed no more, and 3 saw that there is none: all of them
// were there in 2. What is open can be read even when its name is gone. A table is complete before the MANIFEST names
// it and never changes. A log only grows, and does so no more once a newer one is there; so the logs up to any one of
// them, each as long as it was when it was opened, are a beginning of what was written. A change is acknowledged after
// the kernel has it in a log, which is where this reads it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/files.h"

namespace vigil::store {

// An error is a sentence that says why the directory is not one that a store can be read from.
base::Result<void, std::string> expect_store(const std::filesystem::path& directory);

class Snapshot {
 public:
  // Of the store in a directory. An error is a sentence for the operator. Needs the permission to read it, and room for
  // the MANIFEST (some KiB) where temporary files go.
  static base::Result<Snapshot, std::string> take(const std::filesystem::path& directory);
  ~Snapshot() = default;
  Snapshot(Snapshot&&) noexcept = default;
  Snapshot& operator=(Snapshot&&) = delete;
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // A directory that RocksDB can open for reading, while this lives: its tables and logs are links to the open files.
  const std::filesystem::path& view() const { return view_.path; }
  // The store's own directory.
  const std::filesystem::path& directory() const { return directory_; }
  // A message about the view, as one about the directory.
  std::string translated(std::string text) const;

  struct Copied {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
  };
  // Copies what belongs to the store into an empty directory, and forces it to the disk. `tables` are the names of the
  // tables that the store consists of; others are being made or about to be deleted. CURRENT comes last: a copy that
  // was interrupted has none, so nothing takes it for a store.
  base::Result<Copied, std::string> copy_to(const std::filesystem::path& to,
                                            const std::vector<std::string>& tables) const;

 private:
  struct Open {
    std::string name;
    File file;
    std::uint64_t size = 0;
  };
  struct View {
    std::filesystem::path path;
    View() = default;
    View(View&& other) noexcept : path(std::exchange(other.path, {})) {}
    View& operator=(View&&) = delete;
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View();
  };
  // What one try came to: NotNow where the broker has put its files in another order meanwhile.
  enum class Try : std::uint8_t { Taken, NotNow };

  explicit Snapshot(std::filesystem::path directory) : directory_(std::move(directory)) {}
  base::Result<Try, std::string> open_files();
  base::Result<void, std::string> make_view();

  std::filesystem::path directory_;
  View view_;
  std::string current_;  // what stands in CURRENT
  Open manifest_;
  std::vector<Open> files_;  // tables and logs
};

}  // namespace vigil::store
