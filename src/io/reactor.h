// Waits for sockets, for a time, and for other threads: one epoll instance a shard.
//
// All but notify() belongs to the shard's thread. The reactor owns no socket; it reports each by the token it was added
// with. A descriptor must be removed before it is closed if a duplicate of it lives on; otherwise closing it removes
// it. Readiness reported in one batch may be stale for a socket that was closed while the batch was worked through:
// tokens should carry a generation.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "io/error.h"
#include "io/fd.h"

namespace vigil::io {

enum class Interest : std::uint8_t { None = 0, Read = 1, Write = 2, ReadWrite = 3 };
// Level: reported as long as it is so. Edge: reported when it becomes so; whoever is told goes on until would_block
// or a short read.
enum class Trigger : std::uint8_t { Level, Edge };
// Exclusive: of the reactors that share a descriptor (a listening socket) not all are woken, at least one is.
// Such a descriptor is reported without hangups and cannot be modified, only removed.
enum class Sharing : std::uint8_t { Own, Exclusive };

struct Ready {
  std::uint64_t token = 0;
  bool readable = false;
  bool writable = false;
  bool hangup = false;  // the peer sends no more (while Read is wanted), or both directions are closed (always)
  bool error = false;   // whatever was wanted; pending_error() or the next read says which

  bool operator==(const Ready&) const = default;
};

class Reactor {
 public:
  // How short times are kept to less than a millisecond: epoll_pwait2 where the kernel has and permits it, else a
  // timerfd.
  enum class Precision : std::uint8_t { Automatic, TimerFd };
  // Tokens must be below this.
  static constexpr std::uint64_t kTokens = UINT64_MAX - 1;

  // Reports of one wait(), at most: after fewer there was nothing else.
  static constexpr int kMostReports = 512;

  static Result<Reactor> create(Precision precision = Precision::Automatic);
  Reactor(Reactor&& other) noexcept;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;
  ~Reactor() = default;

  Result<void> add(int fd, std::uint64_t token, Interest interest, Trigger trigger = Trigger::Level,
                   Sharing sharing = Sharing::Own);
  // An edge-triggered descriptor that is ready already is reported again.
  Result<void> modify(int fd, std::uint64_t token, Interest interest, Trigger trigger = Trigger::Level);
  Result<void> remove(int fd);

  // Waits until something is ready, notify() was called, or `until` has come (none or never(): for ever; past: only
  // looks). Replaces `out` by at most kMostReports; the rest comes with the next call, in turn. May come back early
  // with none: signals, notify().
  Result<void> wait(std::optional<base::Instant> until, std::vector<Ready>& out);

  // Any thread. Ends the current wait, or the next one. Many calls before the shard comes back cost one system call.
  void notify();

 private:
  Reactor(Fd epoll, Fd wake, Fd timer);
  Result<void> control(int operation, int fd, std::uint64_t token, std::uint32_t events);
  Result<int> wait_for_events(std::optional<base::Instant> until);
  Result<int> wait_by_timer(base::Instant until);

  Fd epoll_;
  Fd wake_;
  Fd timer_;  // none where epoll_pwait2 works
  base::Instant timer_at_ = base::Instant::never();
  std::atomic<bool> notified_ = false;
  std::vector<epoll_event> events_;
};

}  // namespace vigil::io
