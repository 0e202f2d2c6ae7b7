#include "io/socket.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <string>

#include "base/check.h"

namespace vigil::io {
namespace {

Result<void> set_option(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0) return Errno();
  return {};
}

Result<Fd> stream_socket(int family) {
  Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Errno();
  return fd;
}

Result<void> bind_to(int fd, const Endpoint& endpoint) {
  sockaddr_storage address;
  const socklen_t size = endpoint.to_sockaddr(address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) return Errno();
  return {};
}

// Through a descriptor of the file itself: whoever may write to its directory cannot put another file in its place.
Result<void> give_access(const std::string& path, const UnixAccess& access) {
  const Fd file(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return Errno();
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return Errno();
  if (!S_ISSOCK(status.st_mode)) return base::Err(std::make_error_code(std::errc::not_a_socket));
  if (access.group && status.st_gid != *access.group &&
      ::fchownat(file.get(), "", static_cast<uid_t>(-1), *access.group, AT_EMPTY_PATH) != 0) {
    return Errno();
  }
  // The umask may have taken more away than was asked for.
  if ((status.st_mode & 07777U) == access.mode) return {};
  if (::chmod(("/proc/self/fd/" + std::to_string(file.get())).c_str(), access.mode) != 0) return Errno();
  return {};
}

Result<Fd> make_unix(const Endpoint& endpoint, const std::string& path, const UnixAccess& access) {
  TRY(Fd fd, stream_socket(AF_UNIX));
  // The file is made with the socket's own mode, less the umask.
  if (::fchmod(fd.get(), access.mode) != 0) return Errno();
  TRY_VOID(bind_to(fd.get(), endpoint));
  if (!path.starts_with('@')) {
    if (const auto given = give_access(path, access); !given) {
      ::unlink(path.c_str());
      return base::Err(given.error());
    }
  }
  return fd;
}

Result<Fd> bind_unix(const Endpoint& endpoint, const UnixAccess& access) {
  const std::string& path = std::get<UnixPath>(endpoint.value()).path;
  Result<Fd> listener = make_unix(endpoint, path, access);
  if (listener || listener.error() != std::errc::address_in_use) return listener;
  // A file is in the way. Only one that is a socket which nobody listens on may go.
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return listener;
  const Result<Fd> probe = connect(endpoint);
  if (probe || probe.error() != std::errc::connection_refused) return listener;
  if (::unlink(path.c_str()) != 0) return Errno();
  return make_unix(endpoint, path, access);
}

Result<Fd> bind_tcp(const Endpoint& endpoint) {
  const bool v4 = std::holds_alternative<Ipv4>(endpoint.value());
  TRY(Fd fd, stream_socket(v4 ? AF_INET : AF_INET6));
  TRY_VOID(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
  if (!v4) {
    const bool dual_stack = std::holds_alternative<AllInterfaces>(endpoint.value());
    TRY_VOID(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, dual_stack ? 0 : 1));
  }
  TRY_VOID(bind_to(fd.get(), endpoint));
  return fd;
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);
Result<Endpoint> endpoint_by(NameCall call, int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (call(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return Errno();
  return Endpoint::from_sockaddr(address, size);
}

Transfer failed() {
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {.would_block = true};
  return {.error = system_error(errno)};
}

std::uint32_t queue_bytes(int fd, unsigned long request) {
  int bytes = 0;
  return ::ioctl(fd, request, &bytes) == 0 && bytes > 0 ? static_cast<std::uint32_t>(bytes) : 0;
}

}  // namespace

Result<Fd> bind(const Endpoint& endpoint, const UnixAccess& access) {
  if (endpoint.is_unix()) return bind_unix(endpoint, access);
  Result<Fd> listener = bind_tcp(endpoint);
  if (listener || !std::holds_alternative<AllInterfaces>(endpoint.value())) return listener;
  const std::error_code error = listener.error();
  if (error != std::errc::address_family_not_supported && error != std::errc::address_not_available) return listener;
  return bind_tcp(Endpoint(Ipv4{.port = endpoint.port()}));
}

Result<void> start_listening(int fd, int backlog) {
  if (::listen(fd, backlog) != 0) return Errno();
  return {};
}

Result<Fd> listen(const Endpoint& endpoint, int backlog, const UnixAccess& access) {
  TRY(Fd fd, bind(endpoint, access));
  TRY_VOID(start_listening(fd.get(), backlog));
  return fd;
}

std::unique_ptr<SocketFile> SocketFile::of(const Endpoint& endpoint) {
  const auto* unix_path = std::get_if<UnixPath>(&endpoint.value());
  if (unix_path == nullptr || unix_path->path.empty() || unix_path->path.starts_with('@')) return nullptr;
  struct stat status{};
  if (::lstat(unix_path->path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return nullptr;
  return std::unique_ptr<SocketFile>(new SocketFile(unix_path->path, status.st_dev, status.st_ino));
}

void SocketFile::remove() {
  const std::string path = std::exchange(path_, {});
  struct stat status{};
  if (path.empty() || ::lstat(path.c_str(), &status) != 0) return;
  if (S_ISSOCK(status.st_mode) && status.st_dev == device_ && status.st_ino == inode_) ::unlink(path.c_str());
}

Result<std::optional<Accepted>> accept(int listener) {
  for (;;) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    Fd fd(::accept4(listener, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      TRY(Endpoint peer, Endpoint::from_sockaddr(address, size));
      return Accepted{std::move(fd), std::move(peer)};
    }
    switch (errno) {
      case EAGAIN: return std::nullopt;
      // Errors of the connection that waited, not of the listener: accept(2) asks to treat them as "try the next".
      case EINTR:
      case ECONNABORTED:
      case ENETDOWN:
      case EPROTO:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case ENETUNREACH: continue;
      default: return Errno();
    }
  }
}

Result<Fd> connect(const Endpoint& endpoint) {
  sockaddr_storage address;
  const socklen_t size = endpoint.to_sockaddr(address);
  TRY(Fd fd, stream_socket(address.ss_family));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 && errno != EINPROGRESS)
    return Errno();
  return fd;
}

Transfer read(int fd, std::span<std::uint8_t> into) {
  CHECK(!into.empty());
  for (;;) {
    const ssize_t n = ::recv(fd, into.data(), into.size(), 0);
    if (n > 0) return {.n = static_cast<std::size_t>(n)};
    if (n == 0) return {.eof = true};
    if (errno != EINTR) return failed();
  }
}

bool has_input(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&one, 1, 0) > 0;
}

Transfer write(int fd, std::span<const iovec> pieces) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = std::min<std::size_t>(pieces.size(), IOV_MAX);
  for (;;) {
    // One piece costs the kernel less by itself.
    const ssize_t n = pieces.size() == 1 ? ::send(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL)
                                         : ::sendmsg(fd, &message, MSG_NOSIGNAL);
    if (n >= 0) return {.n = static_cast<std::size_t>(n)};
    if (errno != EINTR) return failed();
  }
}

Result<Endpoint> local_endpoint(int fd) { return endpoint_by(::getsockname, fd); }
Result<Endpoint> peer_endpoint(int fd) { return endpoint_by(::getpeername, fd); }

std::error_code pending_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return system_error(errno);
  return error == 0 ? std::error_code() : system_error(error);
}

Result<void> set_no_delay(int fd) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

Result<void> set_keep_alive(int fd, const KeepAliveOptions& options) {
  TRY_VOID(set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options.idle_s));
  TRY_VOID(set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, options.interval_s));
  TRY_VOID(set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, options.count));
  return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

Result<void> set_user_timeout(int fd, std::chrono::milliseconds timeout) {
  const auto ms = std::clamp<std::int64_t>(timeout.count(), 0, INT_MAX);
  return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(ms));
}

std::uint32_t unacknowledged_bytes(int fd) { return queue_bytes(fd, SIOCOUTQ); }

Result<void> set_unsent_low_water(int fd, int bytes) { return set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes); }

Result<void> set_send_buffer(int fd, int bytes) { return set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes); }
Result<void> set_receive_buffer(int fd, int bytes) { return set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes); }

// Fails only where the connection has gone already, and then there is nothing to tell.
void shutdown_write(int fd) { static_cast<void>(::shutdown(fd, SHUT_WR)); }

void close_with_reset(Fd fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
}

std::optional<base::TcpEvidence> tcp_evidence(int fd, std::error_code seen) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  const std::uint32_t unsent = queue_bytes(fd, SIOCOUTQNSD);
  const std::uint32_t queued = queue_bytes(fd, SIOCOUTQ);
  return base::TcpEvidence{.unsent_bytes = unsent,
                           .unacknowledged_bytes = queued - std::min(queued, unsent),
                           .unacknowledged_segments = info.tcpi_unacked,
                           .retransmits = info.tcpi_retransmits,
                           .total_retransmits = info.tcpi_total_retrans,
                           .probes = info.tcpi_probes,
                           .backoff = info.tcpi_backoff,
                           .last_ack_received_ms = info.tcpi_last_ack_recv,
                           .last_data_received_ms = info.tcpi_last_data_recv,
                           .last_data_sent_ms = info.tcpi_last_data_sent,
                           .rtt_us = info.tcpi_rtt,
                           .state = info.tcpi_state,
                           .timed_out = seen == std::errc::timed_out};
}

}  // namespace vigil::io
