// What a load process needs of the machine: sockets, epoll, a steady 1 ms beat, and the time.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/clock.h"

namespace vigil::bench {

base::Instant now();

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  void reset();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Raises the soft limit on open files to the hard one; throws when that is below `needed`.
void raise_open_files(std::size_t needed);

struct Address {
  std::string host = "127.0.0.1";  // IPv4, dotted
  std::uint16_t port = 1883;
};

// Starts a connection (non-blocking, TCP_NODELAY). Writable means settled: ask connect_error().
// One source address has room for about 28,000 connections to one port; each 20,000 of `index` take the next 127.0.0.x
// when the target is on loopback.
Fd start_connect(const Address& to, std::size_t index);
// 0 when the connection stands, else the errno.
int connect_error(const Fd& fd);

class Epoll {
 public:
  Epoll();
  void add(const Fd& fd, std::uint32_t events, std::uint64_t key);
  void change(const Fd& fd, std::uint32_t events, std::uint64_t key);
  // Waits until something happens, at most `timeout_ms`.
  std::span<const epoll_event> wait(int timeout_ms);
  // The same, for times below a millisecond.
  std::span<const epoll_event> wait(base::Duration timeout);

 private:
  Fd fd_;
  static constexpr int kBatch = 1024;
  epoll_event events_[kBatch];
};

// A timer that ticks each millisecond. Its own lateness is the noise of every other time taken in the same loop.
class Beat {
 public:
  Beat();
  const Fd& fd() const { return fd_; }
  // To be called when readable. Calls on_late(duration) for each beat that was due: how long after its time it was
  // noticed.
  template <class OnLate>
  void take(base::Instant noticed, OnLate&& on_late) {
    drain();
    // Counted by the clock: more beats may have come since `noticed`, and they are told in the next call.
    for (; next_ <= noticed; next_ += base::milliseconds(1)) on_late(noticed - next_);
  }

 private:
  void drain();
  Fd fd_;
  base::Instant next_;
};

}  // namespace vigil::bench
