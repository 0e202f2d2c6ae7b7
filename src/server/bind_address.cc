#include "server/bind_address.h"

#include <fmt/format.h>

namespace vigil::server {
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

}  // namespace vigil::server
