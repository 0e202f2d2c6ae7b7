#include "server/fd_limit.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>

namespace vigil::server {

// Listeners, log and the C library; the store's files (store/database.cc bounds them); and for each shard an epoll, an
// event and a timer descriptor, with some to spare.
std::uint64_t own_descriptors(std::uint32_t shards) { return 64 + 128 + 8ULL * shards; }

FdBudget fd_budget(std::uint64_t open_files, std::uint64_t own, std::uint32_t wanted) {
  const std::uint64_t fit = std::min<std::uint64_t>(open_files > own ? open_files - own : 0, UINT32_MAX);
  FdBudget budget{open_files, static_cast<std::uint32_t>(fit), ""};
  if (wanted == 0) {
    if (fit == 0) {
      budget.warning = fmt::format(
          "No connection can be open, because this process may have only {} files open and needs {} for itself. Allow "
          "more (LimitNOFILE= in the systemd unit, or `ulimit -n` before the start).",
          open_files, own);
    }
    return budget;
  }
  if (fit >= wanted) {
    budget.connections = wanted;
    return budget;
  }
  budget.warning = fmt::format(
      "Only {} of the {} connections of limits.max_connections can be open at once, because this process may have {} "
      "files open. Allow {} (LimitNOFILE={} in the systemd unit, or `ulimit -n {}` before the start), or lower "
      "limits.max_connections.",
      fit, wanted, open_files, wanted + own, wanted + own, wanted + own);
  return budget;
}

FdBudget raise_fd_limit(std::uint32_t shards, std::uint32_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return fd_budget(0, own_descriptors(shards), wanted);
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  const std::uint64_t open_files = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
  return fd_budget(open_files, own_descriptors(shards), wanted);
}

}  // namespace vigil::server
