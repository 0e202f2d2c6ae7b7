#include "net/bind_address.h"

#include <fmt/format.h>

#include <algorithm>

namespace vigil::net {
namespace {

constexpr io::Ipv6 loopback6(std::uint16_t port) {
  io::Ipv6 address{.address = {}, .port = port, .scope = 0};
  address.address.back() = 1;
  return address;
}

}  // namespace

std::optional<BindAddress> BindAddress::parse(std::string_view text) {
  const auto endpoint = io::Endpoint::parse(text);
  if (!endpoint) return std::nullopt;
  if (text.starts_with("localhost:")) return localhost(endpoint->port());
  return BindAddress(*endpoint, false);
}

std::string BindAddress::objection(std::string_view text) {
  constexpr std::size_t kMost = 64;
  if (parse(text).has_value()) return {};
  if (text.starts_with("unix:") || text.starts_with('/')) {
    return text == "unix:" ? "the path is missing" : "a path of a Unix socket has 107 bytes at most";
  }
  const auto is_number = [](std::string_view part) {
    return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
  };
  const std::size_t colon = text.rfind(':');
  if (is_number(text)) return fmt::format("the address is missing: *:{0} or 127.0.0.1:{0}", text.substr(0, kMost));
  if (colon == std::string_view::npos) return "the port is missing";
  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.contains(':') && !host.starts_with('[')) return "an IPv6 address stands in brackets";
  if (!is_number(port)) return "the port is no number";
  if (!parse(fmt::format("127.0.0.1:{}", port)))
    return fmt::format("the port {} is above 65535", port.substr(0, kMost));
  if (!host.starts_with('[') &&
      std::ranges::any_of(host, [](char c) { return (c >= 'g' && c <= 'z') || (c >= 'G' && c <= 'Z'); })) {
    return "names are not looked up: write the IP address";
  }
  return {};
}

BindAddress BindAddress::localhost(std::uint16_t port) {
  return {io::Endpoint(io::Ipv4{.address = {127, 0, 0, 1}, .port = port}), true};
}

std::string BindAddress::text() const {
  return is_localhost_ ? fmt::format("localhost:{}", endpoint_.port()) : endpoint_.text();
}

std::vector<ListenEndpoint> BindAddress::endpoints() const {
  if (!is_localhost_) return {{endpoint_, false}};
  return {{endpoint_, false}, {io::Endpoint(loopback6(endpoint_.port())), true}};
}

}  // namespace vigil::net
