// CPU time and memory of a process, from /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/clock.h"

namespace vigil::load {

struct Usage {
  base::Duration user{};  // in steps of 10 ms, as the kernel counts
  base::Duration system{};
  std::uint64_t resident_bytes = 0;

  base::Duration cpu() const { return user + system; }
};

// All threads of the process together. All zero for pid 0 ("not asked for"); throws when the process is gone.
Usage read_usage(pid_t pid);

}  // namespace vigil::load
