// How many connections the limit of open files allows: every connection is one.
#pragma once

#include <cstdint>
#include <string>

namespace vigil::server {

struct FdBudget {
  std::uint64_t open_files = 0;   // the limit in force
  std::uint32_t connections = 0;  // what it leaves, after the broker's own files, or the wanted number if that is less
  std::string warning;            // a plain sentence where that is less than wanted; empty otherwise
};

// Descriptors that the broker needs beside connections, with `shards` threads.
std::uint64_t own_descriptors(std::uint32_t shards);

// What a limit of `open_files` (UINT64_MAX: none) leaves for connections. `wanted` is limits.max_connections; 0: as
// many as possible.
FdBudget fd_budget(std::uint64_t open_files, std::uint64_t own, std::uint32_t wanted);

// Raises this process's soft limit to its hard limit, and says what that allows.
FdBudget raise_fd_limit(std::uint32_t shards, std::uint32_t wanted);

}  // namespace vigil::server
