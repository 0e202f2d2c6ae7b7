// Work with plain files and directories, for `vigilmq store`. Nothing here knows RocksDB.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace vigil::store {

// An open file, closed when its owner goes.
class File {
 public:
  File() = default;
  // Where this fails, is_open() is false and errno says why. `flags` are those of open(2).
  File(const std::filesystem::path& path, int flags);
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // -1 on an error.
  std::int64_t size() const;

 private:
  int fd_ = -1;
};

// The first `size` bytes of the file, or fewer if it is shorter.
base::Result<std::string, std::error_code> read_beginning(const File& from, std::uint64_t size);

// Writes a file that was not there; it is on the disk when this returns. The sentences of their errors name the file.
base::Result<void, std::string> write_file(const std::filesystem::path& to, std::string_view content);
// The same for the first `size` bytes of another file. An error if that is shorter.
base::Result<void, std::string> copy_file(const File& from, std::uint64_t size, const std::filesystem::path& to);

// The names in a directory, or a file's content, are on the disk when this returns.
base::Result<void, std::string> sync_path(const std::filesystem::path& path);

// A directory that a command is to fill: it must be empty, or is made, for its owner only. An error is a sentence.
enum class Made : std::uint8_t { WasThere, MadeNow };
base::Result<Made, std::string> prepare_empty(const std::filesystem::path& directory);

// What root has written belongs to whom the directory belongs to: the broker that runs as that user must read it. Files
// only, and none that has another name elsewhere: who owns the directory may have put it there.
void give_to_owner(const std::filesystem::path& directory, std::ostream& err);

// Why a command cannot look at what it was given: "DIR cannot be read: permission denied. ..."
std::string cannot_read(const std::filesystem::path& path, const std::error_code& error);

}  // namespace vigil::store
