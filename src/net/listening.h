// The sockets on which the broker waits for clients, and why one could not be opened.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/result.h"
#include "io/address.h"
#include "io/fd.h"
#include "io/socket.h"
#include "net/listener_settings.h"

namespace vigil::net {

struct Listening {
  io::Fd fd;
  std::uint16_t listener = 0;  // index into the configuration's listeners
  // With the port that was given, where the system chose it. All interfaces where IPv4 and IPv6 are.
  io::Endpoint endpoint;
  // Of a Unix socket. Goes before the socket does: no other program can have a file of the same identity until then.
  std::shared_ptr<io::SocketFile> file = nullptr;
};

// Takes the addresses of all listeners, or none and says in a plain sentence what is wrong and what helps. Nobody can
// connect before start_listening().
base::Result<std::vector<Listening>, std::string> open_listeners(std::span<const ListenerSettings> listeners);

base::Result<void, std::string> start_listening(std::span<const Listening> all,
                                                std::span<const ListenerSettings> listeners);

// The sentence for a socket that could not be opened. `group`: what the file of a Unix socket was to belong to.
std::string listen_failure(const io::Endpoint& endpoint, const std::error_code& error, std::string_view group = {});

}  // namespace vigil::net
