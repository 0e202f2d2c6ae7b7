#include "store/files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/format.h>

namespace vigil::store {
namespace {

using base::Err;

constexpr std::size_t kPiece = std::size_t{256} << 10U;

std::error_code last_error() { return {errno, std::generic_category()}; }

std::string cannot_write(const std::filesystem::path& path, const std::error_code& error) {
  return fmt::format("Cannot write {}: {}.", path.string(), error.message());
}

File create(const std::filesystem::path& path) { return {path, O_CREAT | O_EXCL | O_WRONLY}; }

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// The kernel copies, and shares the blocks where the file system can. False if it does not do so for these two files;
// the place in the target is where it stopped.
bool copy_in_kernel(int from, int to, off_t& at, off_t end) {
  while (at < end) {
    const ssize_t copied = ::copy_file_range(from, &at, to, nullptr, static_cast<std::size_t>(end - at), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied <= 0) return false;
  }
  return true;
}

}  // namespace

File::File(const std::filesystem::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}

std::int64_t File::size() const {
  struct stat file{};
  return ::fstat(fd_, &file) == 0 ? file.st_size : -1;
}

base::Result<std::string, std::error_code> read_beginning(const File& from, std::uint64_t size) {
  std::string content;
  while (content.size() < size) {
    const std::size_t before = content.size();
    content.resize(std::min<std::uint64_t>(size, before + kPiece));
    const ssize_t got =
        ::pread(from.fd(), content.data() + before, content.size() - before, static_cast<off_t>(before));
    const int error = errno;
    content.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && error == EINTR) continue;
    if (got < 0) return Err(std::error_code(error, std::generic_category()));
    if (got == 0) break;
  }
  return content;
}

base::Result<void, std::string> write_file(const std::filesystem::path& to, std::string_view content) {
  const File file = create(to);
  if (!file.is_open() || !write_all(file.fd(), content) || ::fsync(file.fd()) != 0) {
    return Err(cannot_write(to, last_error()));
  }
  return {};
}

base::Result<void, std::string> copy_file(const File& from, std::uint64_t size, const std::filesystem::path& to) {
  const File file = create(to);
  if (!file.is_open()) return Err(cannot_write(to, last_error()));
  off_t at = 0;
  const auto end = static_cast<off_t>(size);
  if (!copy_in_kernel(from.fd(), file.fd(), at, end)) {
    std::string piece(kPiece, '\0');
    while (at < end) {
      const ssize_t got =
          ::pread(from.fd(), piece.data(), std::min<std::size_t>(piece.size(), static_cast<std::size_t>(end - at)), at);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        const std::error_code error = got < 0 ? last_error() : std::make_error_code(std::errc::io_error);
        return Err(fmt::format("Cannot read what is copied to {}: {}.", to.string(), error.message()));
      }
      if (!write_all(file.fd(), {piece.data(), static_cast<std::size_t>(got)})) {
        return Err(cannot_write(to, last_error()));
      }
      at += got;
    }
  }
  if (::fsync(file.fd()) != 0) return Err(cannot_write(to, last_error()));
  return {};
}

base::Result<void, std::string> sync_path(const std::filesystem::path& path) {
  const File file(path, O_RDONLY);
  if (!file.is_open() || ::fsync(file.fd()) != 0) return Err(cannot_write(path, last_error()));
  return {};
}

base::Result<Made, std::string> prepare_empty(const std::filesystem::path& directory) {
  std::error_code error;
  const std::filesystem::file_status there = std::filesystem::status(directory, error);
  if (there.type() == std::filesystem::file_type::none) return Err(cannot_read(directory, error));
  if (std::filesystem::exists(there)) {
    if (!std::filesystem::is_directory(there)) return Err(fmt::format("{} is not a directory.", directory.string()));
    const bool empty = std::filesystem::is_empty(directory, error);
    if (error) return Err(cannot_read(directory, error));
    if (empty) return Made::WasThere;
    return Err(
        fmt::format("{} is not empty. Name a new directory; what is there is left as it is.", directory.string()));
  }
  std::filesystem::create_directories(directory, error);
  if (!error) std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  if (error) return Err(fmt::format("Cannot make the directory {}: {}.", directory.string(), error.message()));
  return Made::MadeNow;
}

void give_to_owner(const std::filesystem::path& directory, std::ostream& err) {
  struct stat owner{};
  if (::geteuid() != 0 || ::stat(directory.c_str(), &owner) != 0 || owner.st_uid == 0) return;
  bool all = true;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat file{};
    const bool ours = fd >= 0 && ::fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 1;
    all = ours && ::fchown(fd, owner.st_uid, owner.st_gid) == 0 && all;
    if (fd >= 0) ::close(fd);
  }
  if (all && !error) return;
  err << fmt::format(
      "Not all files in {} could be given to the owner of the directory: see that the broker can read them.\n",
      directory.string());
}

std::string cannot_read(const std::filesystem::path& path, const std::error_code& error) {
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return fmt::format(
        "{} cannot be read: permission denied. Run this as the user that the broker runs as, or as root.",
        path.string());
  }
  return fmt::format("{} cannot be read: {}.", path.string(), error.message());
}

}  // namespace vigil::store
