#include "load/net.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <variant>

namespace vigil::load {
namespace {

constexpr std::size_t kConnectionsPerSource = 20'000;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

void bind_source(const io::Fd& fd, const io::Endpoint& to, std::size_t index) {
  if (!to.is_loopback() || !std::holds_alternative<io::Ipv4>(to.value()) || index < kConnectionsPerSource) return;
  const std::size_t nth = index / kConnectionsPerSource;
  const io::Ipv4 source{{127, 0, static_cast<std::uint8_t>(nth / 250), static_cast<std::uint8_t>(1 + nth % 250)}, 0};
  sockaddr_storage address{};
  const socklen_t size = io::Endpoint(source).to_sockaddr(address);
  // Without this the kernel would choose the port at bind(), before it knows the target, and run out of ports sooner.
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) fail("bind");
}

}  // namespace

io::Endpoint resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), fmt::format("{}", port).c_str(), &hints, &found); error != 0) {
    throw std::runtime_error(fmt::format("'{}' cannot be looked up: {}", host, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, freeaddrinfo);
  const addrinfo* best = found;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family == AF_INET) {
      best = one;
      break;
    }
  }
  sockaddr_storage address{};
  std::copy_n(reinterpret_cast<const char*>(best->ai_addr), best->ai_addrlen, reinterpret_cast<char*>(&address));
  const auto endpoint = io::Endpoint::from_sockaddr(address, best->ai_addrlen);
  if (!endpoint) throw std::runtime_error(fmt::format("'{}' is no IPv4 or IPv6 address", host));
  return *endpoint;
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

io::Fd start_connect(const io::Endpoint& to, std::size_t index) {
  sockaddr_storage address{};
  const socklen_t size = to.to_sockaddr(address);
  io::Fd fd(socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  bind_source(fd, to, index);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno != EINPROGRESS) {
    fail(fmt::format("connect to {}", to.text()));
  }
  return fd;
}

}  // namespace vigil::load
