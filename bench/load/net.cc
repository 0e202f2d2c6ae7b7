#include "net.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>

namespace vigil::bench {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

sockaddr_in to_sockaddr(const Address& address) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(address.port);
  if (inet_pton(AF_INET, address.host.c_str(), &out.sin_addr) != 1) {
    throw std::runtime_error(fmt::format("'{}' is not an IPv4 address", address.host));
  }
  return out;
}

constexpr std::size_t kConnectionsPerSource = 20'000;

void bind_source(const Fd& fd, const Address& to, std::size_t index) {
  if (!to.host.starts_with("127.") || index < kConnectionsPerSource) return;
  const sockaddr_in source = to_sockaddr({fmt::format("127.0.0.{}", 1 + index / kConnectionsPerSource), 0});
  // Without this the kernel would choose the port at bind(), before it knows the target, and run out of ports sooner.
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) fail("bind");
}

}  // namespace

base::Instant now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return base::Instant::from_ns(std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec);
}

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void raise_open_files(std::size_t needed) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
  if (limit.rlim_max < needed) {
    throw std::runtime_error(fmt::format(
        "{} sockets are needed, but only {} open files are allowed (ulimit -Hn): ask for fewer clients or raise it",
        needed, limit.rlim_max));
  }
}

Fd start_connect(const Address& to, std::size_t index) {
  Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bind_source(fd, to, index);
  const sockaddr_in target = to_sockaddr(to);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0 && errno != EINPROGRESS) {
    fail(fmt::format("connect to {}:{}", to.host, to.port));
  }
  return fd;
}

int connect_error(const Fd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

Epoll::Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!fd_) fail("epoll_create1");
}

void Epoll::add(const Fd& fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) fail("epoll_ctl");
}

void Epoll::change(const Fd& fd, std::uint32_t events, std::uint64_t key) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd.get(), &event) != 0) fail("epoll_ctl");
}

std::span<const epoll_event> Epoll::wait(int timeout_ms) {
  const int count = epoll_wait(fd_.get(), events_, kBatch, timeout_ms);
  if (count < 0 && errno != EINTR) fail("epoll_wait");
  return {events_, static_cast<std::size_t>(count < 0 ? 0 : count)};
}

std::span<const epoll_event> Epoll::wait(base::Duration timeout) {
  const std::int64_t ns = std::max<std::int64_t>(timeout.count(), 0);
  const timespec time{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  const int count = epoll_pwait2(fd_.get(), events_, kBatch, &time, nullptr);
  if (count < 0 && errno != EINTR) fail("epoll_pwait2");
  return {events_, static_cast<std::size_t>(count < 0 ? 0 : count)};
}

Beat::Beat() : fd_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  if (!fd_) fail("timerfd_create");
  next_ = now() + base::milliseconds(1);
  itimerspec times{};
  times.it_interval.tv_nsec = 1'000'000;
  times.it_value.tv_sec = next_.ns() / 1'000'000'000;
  times.it_value.tv_nsec = next_.ns() % 1'000'000'000;
  if (timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME, &times, nullptr) != 0) fail("timerfd_settime");
}

void Beat::drain() {
  std::uint64_t beats = 0;
  (void)!read(fd_.get(), &beats, sizeof beats);
}

}  // namespace vigil::bench
