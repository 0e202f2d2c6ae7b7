#include "io/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>

namespace vigil::io {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

auto invalid() { return base::Err(std::make_error_code(std::errc::invalid_argument)); }

Result<Endpoint> parse_unix(std::string_view path) {
  if (path.empty()) return invalid();
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    return base::Err(std::make_error_code(std::errc::filename_too_long));
  return Endpoint(UnixPath{std::string(path)});
}

Endpoint unmapped(Ipv6 ip) {
  if (!std::ranges::equal(std::span(ip.address).first<12>(), kMappedPrefix)) return Endpoint(ip);
  Ipv4 v4{.port = ip.port};
  std::ranges::copy(std::span(ip.address).last<4>(), v4.address.begin());
  return Endpoint(v4);
}

Result<Endpoint> parse_v6(std::string_view host, std::uint16_t port) {
  Ipv6 ip{.port = port};
  if (const std::size_t percent = host.find('%'); percent != std::string_view::npos) {
    const std::string zone(host.substr(percent + 1));
    ip.scope = number<std::uint32_t>(zone).value_or(::if_nametoindex(zone.c_str()));
    if (ip.scope == 0) return invalid();
    host = host.substr(0, percent);
  }
  if (::inet_pton(AF_INET6, std::string(host).c_str(), ip.address.data()) != 1) return invalid();
  return unmapped(ip);
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return parse_unix(text.substr(kUnixPrefix.size()));
  if (text.starts_with('/')) return parse_unix(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.find('\0') != std::string_view::npos) return invalid();
  const std::optional<std::uint16_t> port = number<std::uint16_t>(text.substr(colon + 1));
  if (!port) return invalid();
  const std::string_view host = text.substr(0, colon);
  if (host.empty() || host == "*") return Endpoint(AllInterfaces{*port});
  if (host.starts_with('[') && host.ends_with(']')) return parse_v6(host.substr(1, host.size() - 2), *port);
  Ipv4 ip{.port = *port};
  const std::string address(host == "localhost" ? "127.0.0.1" : host);
  if (::inet_pton(AF_INET, address.c_str(), ip.address.data()) != 1) return invalid();
  return Endpoint(ip);
}

Result<Endpoint> Endpoint::from_sockaddr(const sockaddr_storage& address, socklen_t size) {
  switch (address.ss_family) {
    case AF_INET: {
      const auto& in = reinterpret_cast<const sockaddr_in&>(address);
      Ipv4 ip{.port = ntohs(in.sin_port)};
      std::memcpy(ip.address.data(), &in.sin_addr, ip.address.size());
      return Endpoint(ip);
    }
    case AF_INET6: {
      const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
      Ipv6 ip{.port = ntohs(in.sin6_port), .scope = in.sin6_scope_id};
      std::memcpy(ip.address.data(), &in.sin6_addr, ip.address.size());
      return unmapped(ip);
    }
    case AF_UNIX: {
      const auto& un = reinterpret_cast<const sockaddr_un&>(address);
      if (size <= offsetof(sockaddr_un, sun_path)) return Endpoint(UnixPath{});
      std::string path(un.sun_path, size - offsetof(sockaddr_un, sun_path));
      if (path.front() == '\0') {
        path.front() = '@';
      } else if (const std::size_t end = path.find('\0'); end != std::string::npos) {
        path.resize(end);
      }
      return Endpoint(UnixPath{std::move(path)});
    }
    default: return base::Err(std::make_error_code(std::errc::address_family_not_supported));
  }
}

socklen_t Endpoint::to_sockaddr(sockaddr_storage& address) const {
  address = {};
  if (const auto* v4 = std::get_if<Ipv4>(&value_)) {
    auto& in = reinterpret_cast<sockaddr_in&>(address);
    in.sin_family = AF_INET;
    in.sin_port = htons(v4->port);
    std::memcpy(&in.sin_addr, v4->address.data(), v4->address.size());
    return sizeof in;
  }
  if (const auto* path = std::get_if<UnixPath>(&value_)) {
    auto& un = reinterpret_cast<sockaddr_un&>(address);
    un.sun_family = AF_UNIX;
    const std::size_t size = std::min(path->path.size(), sizeof un.sun_path - 1);
    std::memcpy(un.sun_path, path->path.data(), size);
    const bool abstract = path->path.starts_with('@');
    if (abstract) un.sun_path[0] = '\0';
    return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size + (abstract ? 0 : 1));
  }
  auto& in = reinterpret_cast<sockaddr_in6&>(address);
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port());
  if (const auto* v6 = std::get_if<Ipv6>(&value_)) {
    in.sin6_scope_id = v6->scope;
    std::memcpy(&in.sin6_addr, v6->address.data(), v6->address.size());
  }
  return sizeof in;
}

bool Endpoint::is_loopback() const {
  if (const auto* v4 = std::get_if<Ipv4>(&value_)) return v4->address[0] == 127;
  if (const auto* v6 = std::get_if<Ipv6>(&value_)) {
    return v6->address == std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  }
  return is_unix();
}

bool Endpoint::collides_with(const Endpoint& other) const {
  if (is_unix() || other.is_unix()) return *this == other;
  if (port() != other.port()) return false;
  if (std::holds_alternative<AllInterfaces>(value_) || std::holds_alternative<AllInterfaces>(other.value_)) return true;
  if (value_.index() != other.value_.index()) return false;
  const auto is_every = [](const Endpoint& endpoint) {
    const auto* v4 = std::get_if<Ipv4>(&endpoint.value_);
    return v4 != nullptr ? v4->address == Ipv4().address : std::get<Ipv6>(endpoint.value_).address == Ipv6().address;
  };
  return is_every(*this) || is_every(other) || *this == other;
}

std::uint16_t Endpoint::port() const {
  return std::visit(
      [](const auto& v) -> std::uint16_t {
        if constexpr (requires { v.port; }) {
          return v.port;
        } else {
          return 0;
        }
      },
      value_);
}

Endpoint Endpoint::with_port(std::uint16_t port) const {
  Endpoint other = *this;
  std::visit(
      [port](auto& v) {
        if constexpr (requires { v.port; }) v.port = port;
      },
      other.value_);
  return other;
}

std::string Endpoint::host() const {
  if (const auto* path = std::get_if<UnixPath>(&value_)) return path->path;
  if (std::holds_alternative<AllInterfaces>(value_)) return "*";
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  if (const auto* v4 = std::get_if<Ipv4>(&value_)) {
    return ::inet_ntop(AF_INET, v4->address.data(), buffer.data(), buffer.size());
  }
  const auto& v6 = std::get<Ipv6>(value_);
  std::string host = ::inet_ntop(AF_INET6, v6.address.data(), buffer.data(), buffer.size());
  if (v6.scope != 0) host += '%' + std::to_string(v6.scope);
  return host;
}

std::string Endpoint::text() const {
  if (is_unix()) return std::string(kUnixPrefix) + host();
  const std::string port_text = ':' + std::to_string(port());
  return std::holds_alternative<Ipv6>(value_) ? '[' + host() + ']' + port_text : host() + port_text;
}

}  // namespace vigil::io
