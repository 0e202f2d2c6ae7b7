#include "server/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>

namespace vigil::server {
namespace {

// What systemd does: a datagram socket at a path, or at an abstract name that begins with '@'.
class Listener {
 public:
  explicit Listener(std::string path) : path_(std::move(path)), fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(path_, address.sun_path);
    if (path_[0] == '@') address.sun_path[0] = '\0';
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), length), 0);
  }
  ~Listener() {
    ::close(fd_);
    if (path_[0] != '@') std::filesystem::remove(path_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::string heard() const {
    char buffer[256];
    const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), 0);
    return size < 0 ? "(nothing)" : std::string(buffer, static_cast<std::size_t>(size));
  }

 private:
  std::string path_;
  int fd_;
};

std::string temporary_path() {
  return (std::filesystem::temp_directory_path() / ("vigilmq_notify_test." + std::to_string(::getpid()))).string();
}

TEST(Notifier, TellsWhatTheServiceDoes) {
  const Listener systemd(temporary_path());
  const Notifier notifier(temporary_path());
  EXPECT_TRUE(notifier.ready("Listening on 127.0.0.1:1883"));
  EXPECT_EQ(systemd.heard(), "READY=1\nSTATUS=Listening on 127.0.0.1:1883\n");
  EXPECT_TRUE(notifier.reloading(123'456));
  EXPECT_EQ(systemd.heard(), "RELOADING=1\nMONOTONIC_USEC=123456\n");
  EXPECT_TRUE(notifier.stopping("Draining"));
  EXPECT_EQ(systemd.heard(), "STOPPING=1\nSTATUS=Draining\n");
}

TEST(Notifier, KeepsAStatusOnOneLine) {
  const Listener systemd(temporary_path());
  EXPECT_TRUE(Notifier(temporary_path()).status("one\nREADY=1"));
  EXPECT_EQ(systemd.heard(), "STATUS=one READY=1\n");
}

TEST(Notifier, SpeaksToAbstractSockets) {
  const std::string name = "@vigilmq_notify_test." + std::to_string(::getpid());
  const Listener systemd(name);
  EXPECT_TRUE(Notifier(name).status("well"));
  EXPECT_EQ(systemd.heard(), "STATUS=well\n");
}

TEST(Notifier, DoesNothingWhereNobodyListens) {
  EXPECT_FALSE(Notifier("").ready("x"));
  EXPECT_FALSE(Notifier(temporary_path()).ready("x"));
  EXPECT_FALSE(Notifier(std::string(500, 'x')).ready("x"));
}

TEST(Notifier, FindsItsSocketInTheEnvironment) {
  const Listener systemd(temporary_path());
  ::setenv("NOTIFY_SOCKET", temporary_path().c_str(), 1);
  EXPECT_TRUE(Notifier::from_environment().status("here"));
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_EQ(systemd.heard(), "STATUS=here\n");
  EXPECT_FALSE(Notifier::from_environment().status("nowhere"));
}

}  // namespace
}  // namespace vigil::server
