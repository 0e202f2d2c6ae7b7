// Tells systemd how the service is doing (the protocol of sd_notify(3)), without libsystemd.
//
// Outside systemd, where NOTIFY_SOCKET is not set, every call does nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vigil::server {

class Notifier {
 public:
  // `socket_path` is the value of NOTIFY_SOCKET: a path, or a name that begins with '@'; empty for none.
  explicit Notifier(std::string socket_path) : socket_path_(std::move(socket_path)) {}
  static Notifier from_environment();

  // All of these give false where nobody listens; they never block.
  bool ready(std::string_view status) const;
  // `monotonic_us`: CLOCK_MONOTONIC now, which Type=notify-reload asks for. ready() ends the reload.
  bool reloading(std::uint64_t monotonic_us) const;
  bool stopping(std::string_view status) const;
  // Shown by `systemctl status`.
  bool status(std::string_view text) const;
  bool send(std::string_view state) const;

 private:
  std::string socket_path_;
};

}  // namespace vigil::server
