// Store time: the timeline in which every deadline, and every moment of presence, is kept, in memory as on disk.
//
// It looks like Unix time in milliseconds and began as such, but a step of the wall clock does not move it. Within one
// start of the machine it follows the machine's boot clock (CLOCK_BOOTTIME), over restarts of the broker too. Over a
// reboot only the wall clock can tell how much time has passed: it is corrected by the steps that were noticed before,
// and store time never begins earlier than it is known to have got (docs/adr/0011-store-time.md).
//
//   kept by the store ──► StoreTime(kept, clocks) ──► look(clocks), each second ──► a step? ──► kept by the store
//
// Pure: the clocks are read elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace vigil::broker {

// What the machine's clocks say at one moment.
struct ClockReading {
  std::int64_t wall_ms = 0;  // Unix time
  std::int64_t boot_ms = 0;  // since the machine started, sleep included
  std::uint64_t boot = 0;    // names this start of the machine; 0: not known
};

// How far the wall clock is ahead of store time, by store time. Times for people are told by it: what the wall clock
// would have said, had it been right. A process sets it from its start on, so what earlier ones saw stays as it was
// shown then.
class WallTime {
 public:
  struct Since {
    std::int64_t from_ms = 0;   // store time
    std::int64_t ahead_ms = 0;  // negative: the wall clock is behind
    bool operator==(const Since&) const = default;
  };
  // So many changes are remembered. What is older than them is told by the oldest.
  static constexpr std::size_t kMost = 16;

  // What people are told for a moment of store time. 0 ("not yet") and kNeverMs stay what they are.
  std::int64_t of(std::int64_t store_ms) const;
  std::int64_t ahead_ms() const { return changes_.empty() ? 0 : changes_.back().ahead_ms; }
  // From this moment on, in place of what was set for it and for later moments.
  void set(const Since& change);
  // By `from_ms`, rising.
  const std::vector<Since>& changes() const { return changes_; }
  bool operator==(const WallTime&) const = default;

 private:
  std::vector<Since> changes_;
};

// What has to outlive the process.
struct KeptTime {
  std::int64_t reached_ms = 0;     // store time has got at least this far
  std::uint64_t boot = 0;          // the start of the machine for which the next is true; 0: none
  std::int64_t boot_began_ms = 0;  // store time when the boot clock said 0
  WallTime wall;
  bool operator==(const KeptTime&) const = default;
};

class StoreTime {
 public:
  // Wall clock and store time may part by less than this without being looked upon as a step.
  static constexpr std::int64_t kStepMs = 500;

  // Goes on where an earlier process got; with an empty `kept`, from the wall clock's time.
  StoreTime(const KeptTime& kept, const ClockReading& now);

  std::int64_t at(const ClockReading& now) const { return kept_.boot_began_ms + now.boot_ms; }
  // Store time when the boot clock said 0; the same for the whole life of the process.
  std::int64_t boot_began_ms() const { return kept_.boot_began_ms; }
  // To be called every second or so. By how many milliseconds the wall clock was set since the last time, if it was;
  // then kept() is to be written at once. At the first call, since an earlier process looked last.
  std::optional<std::int64_t> look(const ClockReading& now);
  // As of the last look().
  const KeptTime& kept() const { return kept_; }

 private:
  std::int64_t start_ms_ = 0;
  KeptTime kept_;
};

}  // namespace vigil::broker
