#include "load/stop.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

namespace vigil::load {

io::Fd catch_stop() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  io::Fd fd(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd || sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
    throw std::system_error(errno, std::generic_category(), "signalfd");
  }
  return fd;
}

bool stopped(int stop_fd) {
  if (stop_fd < 0) return false;
  // What was sent stays there: everybody who asks is told.
  pollfd one{.fd = stop_fd, .events = POLLIN, .revents = 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace vigil::load
