#include "io/clock.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>

#include "base/check.h"

namespace vigil::io {
namespace {

timespec read_clock(clockid_t clock) {
  timespec t{};
  CHECK(::clock_gettime(clock, &t) == 0);
  return t;
}

}  // namespace

base::Instant monotonic_now() {
  const timespec t = read_clock(CLOCK_MONOTONIC);
  return base::Instant::from_ns(t.tv_sec * 1'000'000'000LL + t.tv_nsec);
}

std::int64_t wall_ms() {
  const timespec t = read_clock(CLOCK_REALTIME);
  return t.tv_sec * 1'000LL + t.tv_nsec / 1'000'000;
}

Clocks read_clocks() {
  // Whoever was interrupted in between asks again.
  constexpr base::Duration kTogether = base::milliseconds(1);
  constexpr int kTries = 10;
  Clocks clocks;
  for (int i = 0; i < kTries; ++i) {
    clocks.at = monotonic_now();
    const timespec boot = read_clock(CLOCK_BOOTTIME);
    clocks.boot_ms = boot.tv_sec * 1'000LL + boot.tv_nsec / 1'000'000;
    clocks.wall_ms = wall_ms();
    if (monotonic_now() - clocks.at < kTogether) break;
  }
  return clocks;
}

std::uint64_t boot_name() {
  std::string name;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  if (!std::getline(file, name) || name.empty()) return 0;
  std::array<char, 64> space{};
  const ssize_t size = ::readlink("/proc/self/ns/time", space.data(), space.size());
  if (size > 0) name.append(space.data(), static_cast<std::size_t>(size));
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash == 0 ? 1 : hash;
}

}  // namespace vigil::io
