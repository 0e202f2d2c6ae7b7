// What all loads have in common: which broker, how to greet it, how to speak to the person in front.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "load/crowd.h"
#include "load/net.h"
#include "load/wire.h"

namespace vigil::load {

// Before a broker's memory is read it has so long to give back what it needed only to get there.
constexpr base::seconds kSettle{3};

struct Target {
  std::string host = "127.0.0.1";
  std::uint16_t port = 1883;
  Version version = Version::V311;
  std::string username;
  std::string password;
  std::uint16_t keep_alive_s = 300;
  std::string prefix = "load";  // of client identifiers and topics
  Pace pace;
  pid_t broker_pid = 0;  // whose CPU and memory to read; 0: nobody's
  bool quiet = false;    // no progress on stderr

  io::Endpoint endpoint() const { return resolve(host, port); }
  ConnectFields fields(std::string client_id) const {
    ConnectFields one;
    one.version = version;
    one.client_id = std::move(client_id);
    one.keep_alive_s = keep_alive_s;
    one.username = username;
    one.password = password;
    return one;
  }
};

}  // namespace vigil::load
