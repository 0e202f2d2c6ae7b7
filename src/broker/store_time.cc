#include "broker/store_time.h"

#include <algorithm>
#include <cstdlib>

#include "broker/moment.h"

namespace vigil::broker {

std::int64_t WallTime::of(std::int64_t store_ms) const {
  if (store_ms <= 0 || store_ms == kNeverMs || changes_.empty()) return store_ms;
  std::int64_t ahead_ms = 0;
  for (const Since& change : changes_) {
    if (change.from_ms > store_ms) break;
    ahead_ms = change.ahead_ms;
  }
  return store_ms + ahead_ms;
}

void WallTime::set(const Since& change) {
  while (!changes_.empty() && changes_.back().from_ms >= change.from_ms) changes_.pop_back();
  if (ahead_ms() != change.ahead_ms) changes_.push_back(change);
  if (changes_.size() <= kMost) return;
  changes_.erase(changes_.begin());
  changes_.front().from_ms = 0;
}

StoreTime::StoreTime(const KeptTime& kept, const ClockReading& now) : kept_(kept) {
  const bool same_boot = now.boot != 0 && now.boot == kept.boot;
  const std::int64_t told = same_boot ? kept.boot_began_ms + now.boot_ms : now.wall_ms - kept.wall.ahead_ms();
  start_ms_ = std::max({told, kept.reached_ms, std::int64_t{0}});
  kept_.reached_ms = start_ms_;
  kept_.boot = now.boot;
  kept_.boot_began_ms = start_ms_ - now.boot_ms;
}

std::optional<std::int64_t> StoreTime::look(const ClockReading& now) {
  const std::int64_t now_ms = at(now);
  kept_.reached_ms = std::max(kept_.reached_ms, now_ms);
  const std::int64_t ahead_ms = now.wall_ms - now_ms;
  const std::int64_t step_ms = ahead_ms - kept_.wall.ahead_ms();
  if (std::abs(step_ms) < kStepMs) return std::nullopt;
  kept_.wall.set({.from_ms = start_ms_, .ahead_ms = ahead_ms});
  return step_ms;
}

}  // namespace vigil::broker
