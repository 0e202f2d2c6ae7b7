#include "io/reactor.h"

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "io/clock.h"

namespace vigil::io {
namespace {

constexpr int kEventsPerWait = Reactor::kMostReports;
constexpr std::uint64_t kWakeToken = Reactor::kTokens;
constexpr std::uint64_t kTimerToken = Reactor::kTokens + 1;

// Up to here the kernel's timer slack stays at its least, 50 us.
constexpr base::Duration kExactBelow = base::milliseconds(50);
constexpr int kShortenBy = 256;

timespec to_timespec(base::Duration time) {
  const std::int64_t ns = time.count();
  return {.tv_sec = static_cast<time_t>(ns / 1'000'000'000), .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
}

std::uint32_t event_bits(Interest interest, Trigger trigger) {
  const auto wanted = std::to_underlying(interest);
  std::uint32_t bits = 0;
  // The half-closed state comes with reading only: who does not read now could do nothing about it and would spin.
  if ((wanted & std::to_underlying(Interest::Read)) != 0) bits |= EPOLLIN | EPOLLRDHUP;
  if ((wanted & std::to_underlying(Interest::Write)) != 0) bits |= EPOLLOUT;
  if (trigger == Trigger::Edge) bits |= EPOLLET;
  return bits;
}

// A signal ends a wait as if nothing had come.
Result<int> checked(int count) {
  if (count < 0 && errno != EINTR) return Errno();
  return std::max(count, 0);
}

// Kernels before 5.11 do not have it, and some containers' filters forbid it.
bool has_epoll_pwait2(int epoll) {
  epoll_event event{};
  const timespec none{};
  return ::epoll_pwait2(epoll, &event, 1, &none, nullptr) >= 0;
}

}  // namespace

Result<Reactor> Reactor::create(Precision precision) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Errno();
  Fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return Errno();
  Fd timer;
  if (precision == Precision::TimerFd || !has_epoll_pwait2(epoll.get())) {
    timer = Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!timer) return Errno();
  }
  Reactor reactor(std::move(epoll), std::move(wake), std::move(timer));
  // Edge-triggered, so that they need not be read: each write, and each expiry, is an event of its own.
  TRY_VOID(reactor.control(EPOLL_CTL_ADD, reactor.wake_.get(), kWakeToken, EPOLLIN | EPOLLET));
  if (reactor.timer_) {
    TRY_VOID(reactor.control(EPOLL_CTL_ADD, reactor.timer_.get(), kTimerToken, EPOLLIN | EPOLLET));
  }
  return reactor;
}

Reactor::Reactor(Fd epoll, Fd wake, Fd timer)
    : epoll_(std::move(epoll)), wake_(std::move(wake)), timer_(std::move(timer)), events_(kEventsPerWait) {}

Reactor::Reactor(Reactor&& other) noexcept
    : epoll_(std::move(other.epoll_)),
      wake_(std::move(other.wake_)),
      timer_(std::move(other.timer_)),
      timer_at_(other.timer_at_),
      notified_(other.notified_.load()),
      events_(std::move(other.events_)) {}

Result<void> Reactor::add(int fd, std::uint64_t token, Interest interest, Trigger trigger, Sharing sharing) {
  CHECK(token < kTokens);
  std::uint32_t bits = event_bits(interest, trigger);
  if (sharing == Sharing::Exclusive) bits = (bits & ~static_cast<std::uint32_t>(EPOLLRDHUP)) | EPOLLEXCLUSIVE;
  return control(EPOLL_CTL_ADD, fd, token, bits);
}

Result<void> Reactor::modify(int fd, std::uint64_t token, Interest interest, Trigger trigger) {
  CHECK(token < kTokens);
  return control(EPOLL_CTL_MOD, fd, token, event_bits(interest, trigger));
}

Result<void> Reactor::remove(int fd) { return control(EPOLL_CTL_DEL, fd, 0, 0); }

Result<void> Reactor::control(int operation, int fd, std::uint64_t token, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) != 0) return Errno();
  return {};
}

Result<void> Reactor::wait(std::optional<base::Instant> until, std::vector<Ready>& out) {
  out.clear();
  TRY(const int count, wait_for_events(until));
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const epoll_event& event = events_[i];
    if (event.data.u64 == kTimerToken) continue;
    if (event.data.u64 == kWakeToken) {
      // From here on a notify() writes again. What was handed over before those that did not is visible now.
      notified_.exchange(false, std::memory_order_acq_rel);
      continue;
    }
    out.push_back({.token = event.data.u64,
                   .readable = (event.events & EPOLLIN) != 0,
                   .writable = (event.events & EPOLLOUT) != 0,
                   .hangup = (event.events & (EPOLLHUP | EPOLLRDHUP)) != 0,
                   .error = (event.events & EPOLLERR) != 0});
  }
  return {};
}

Result<int> Reactor::wait_for_events(std::optional<base::Instant> until) {
  if (!until || until->is_never()) return checked(::epoll_wait(epoll_.get(), events_.data(), kEventsPerWait, -1));
  if (timer_) return wait_by_timer(*until);
  for (;;) {
    const base::Duration left = std::max(*until - monotonic_now(), base::Duration::zero());
    // The kernel may be late by a thousandth of the time waited (up to 100 ms). So wait for a little less first.
    const timespec timeout = to_timespec(left > kExactBelow ? left - left / kShortenBy : left);
    const int count = ::epoll_pwait2(epoll_.get(), events_.data(), kEventsPerWait, &timeout, nullptr);
    if (count != 0 || left <= kExactBelow) return checked(count);
  }
}

Result<int> Reactor::wait_by_timer(base::Instant until) {
  const bool past = until <= monotonic_now();
  if (!past && until != timer_at_) {
    const itimerspec at{.it_interval = {}, .it_value = to_timespec(base::Duration(until.ns()))};
    if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &at, nullptr) != 0) return Errno();
    timer_at_ = until;
  }
  return checked(::epoll_wait(epoll_.get(), events_.data(), kEventsPerWait, past ? 0 : -1));
}

void Reactor::notify() {
  if (notified_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  // Can fail only when 2^64 - 2 calls were made.
  CHECK(::write(wake_.get(), &one, sizeof one) == sizeof one);
}

}  // namespace vigil::io
