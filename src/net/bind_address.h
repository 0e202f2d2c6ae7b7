// Where a listener listens: as the operator writes it, and as the addresses that are opened.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/address.h"

namespace vigil::net {

struct ListenEndpoint {
  io::Endpoint endpoint;
  // A machine without this address (no IPv6) is no error: the endpoint is left out.
  bool if_available = false;

  bool operator==(const ListenEndpoint&) const = default;
};

// What io::Endpoint reads, but for "localhost:1883", which stands for both loopback addresses.
class BindAddress {
 public:
  static std::optional<BindAddress> parse(std::string_view text);
  // Why parse() reads nothing from the text, where that can be said: "the port 99999 is above 65535". Or empty.
  static std::string objection(std::string_view text);
  static BindAddress localhost(std::uint16_t port);

  std::string text() const;
  // True where only programs on this machine can connect.
  bool is_loopback() const { return endpoint_.is_loopback(); }
  // "localhost" is 127.0.0.1 and, where the machine has it, ::1.
  std::vector<ListenEndpoint> endpoints() const;

  bool operator==(const BindAddress&) const = default;

 private:
  BindAddress(io::Endpoint endpoint, bool is_localhost) : endpoint_(std::move(endpoint)), is_localhost_(is_localhost) {}

  io::Endpoint endpoint_;
  bool is_localhost_ = false;
};

}  // namespace vigil::net
