// A file descriptor with one owner, closed when the owner goes.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vigil::io {

// Opens /dev/null in the place of standard descriptors (0, 1, 2) that the process was started without: else the next
// file that is opened takes such a number, and what is written to standard error goes into it. To be called before
// anything is opened. False if that is not possible.
inline bool occupy_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number, which is this one.
    if (::open("/dev/null", O_RDWR) != fd) return false;
  }
  return true;
}

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  // Gives up ownership; -1 if there is none.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  // Closes what is owned. No error of close() can be acted on: the descriptor is gone in any case.
  void reset(int fd = -1) {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace vigil::io
