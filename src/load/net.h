// What a load process needs of the machine besides io: names looked up, connections from more than one source address,
// and room for open files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/address.h"
#include "io/fd.h"

namespace vigil::load {

// The address behind a name or a number ("localhost", "192.0.2.7", "::1"); the first one the system names, IPv4 before
// IPv6. Throws std::runtime_error with a sentence.
io::Endpoint resolve(const std::string& host, std::uint16_t port);

// Raises the soft limit on open files to the hard one; throws when that is below `needed`.
void raise_open_files(std::size_t needed);

// Starts a connection (non-blocking, TCP_NODELAY). Writable means settled: ask io::pending_error().
// One source address has room for about 28,000 connections to one port; each 20,000 of `index` take the next 127.0.0.x
// when the target is on loopback.
io::Fd start_connect(const io::Endpoint& to, std::size_t index);

}  // namespace vigil::load
