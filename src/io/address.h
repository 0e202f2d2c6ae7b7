// Where a socket listens or a peer is: an IPv4 or IPv6 address with a port, or the path of a Unix socket.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "io/error.h"

namespace vigil::io {

struct Ipv4 {
  std::array<std::uint8_t, 4> address{};
  std::uint16_t port = 0;
  bool operator==(const Ipv4&) const = default;
};
struct Ipv6 {
  std::array<std::uint8_t, 16> address{};
  std::uint16_t port = 0;
  std::uint32_t scope = 0;  // index of the interface, for link-local addresses
  bool operator==(const Ipv6&) const = default;
};
// An empty path is a peer that has no name. A path that begins with '@' is in Linux's abstract name space: no file.
struct UnixPath {
  std::string path;
  bool operator==(const UnixPath&) const = default;
};
// Every interface: dual stack, or IPv4 alone where the machine has no IPv6.
struct AllInterfaces {
  std::uint16_t port = 0;
  bool operator==(const AllInterfaces&) const = default;
};

class Endpoint {
 public:
  using Value = std::variant<Ipv4, Ipv6, UnixPath, AllInterfaces>;

  Endpoint() : value_(UnixPath{}) {}
  explicit Endpoint(Value value) : value_(std::move(value)) {}

  // "127.0.0.1:1883", "[::1]:1883", "[fe80::1%eth0]:1883", "localhost:1883" (127.0.0.1), "*:1883" or ":1883" (all
  // interfaces), "unix:/run/vigilmq.sock" or any text that begins with '/'. Names are not looked up.
  // invalid_argument if it is none of these; filename_too_long for a path above 107 bytes.
  static Result<Endpoint> parse(std::string_view text);
  // An IPv4 address that a dual-stack socket wraps in IPv6 becomes IPv4 again.
  static Result<Endpoint> from_sockaddr(const sockaddr_storage& address, socklen_t size);

  const Value& value() const { return value_; }
  bool is_unix() const { return std::holds_alternative<UnixPath>(value_); }
  // Cannot be reached from another machine. True for Unix sockets.
  bool is_loopback() const;
  // Whether two programs cannot listen on both: the same address and port, or one of them every address. `*` and
  // 0.0.0.0 have all of IPv4, `*` and [::] all of IPv6.
  bool collides_with(const Endpoint& other) const;
  std::uint16_t port() const;  // 0 for a Unix socket
  Endpoint with_port(std::uint16_t port) const;

  // "192.0.2.7:50114", "[2001:db8::7]:50114", "unix:/run/vigilmq.sock", "*:1883". parse() understands it.
  std::string text() const;
  // The address alone, without brackets and port.
  std::string host() const;

  // For bind and connect. AllInterfaces becomes IPv6 "::".
  socklen_t to_sockaddr(sockaddr_storage& address) const;

  bool operator==(const Endpoint&) const = default;

 private:
  Value value_;
};

}  // namespace vigil::io
