#include "server/notify.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace vigil::server {
namespace {

// A status is one line.
std::string one_line(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

}  // namespace

Notifier Notifier::from_environment() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  return Notifier(path == nullptr ? "" : path);
}

bool Notifier::ready(std::string_view status) const {
  return send(fmt::format("READY=1\nSTATUS={}\n", one_line(status)));
}
bool Notifier::reloading(std::uint64_t monotonic_us) const {
  return send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_us));
}
bool Notifier::stopping(std::string_view status) const {
  return send(fmt::format("STOPPING=1\nSTATUS={}\n", one_line(status)));
}
bool Notifier::status(std::string_view text) const { return send(fmt::format("STATUS={}\n", one_line(text))); }

bool Notifier::send(std::string_view state) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.empty() || socket_path_.size() >= sizeof(address.sun_path)) return false;
  std::ranges::copy(socket_path_, address.sun_path);
  // '@' stands for the zero byte of a name without a file.
  if (socket_path_.front() == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path_.size());
  const ssize_t sent =
      ::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  ::close(fd);
  return sent == static_cast<ssize_t>(state.size());
}

}  // namespace vigil::server
