// Time as a value: nanoseconds on the monotonic clock. Nothing below `io` and `server` reads a clock.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace vigil::base {

using Duration = std::chrono::nanoseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A point on CLOCK_MONOTONIC. Steps of the wall clock do not move it.
class Instant {
 public:
  constexpr Instant() = default;
  static constexpr Instant from_ns(std::int64_t ns) { return Instant(ns); }
  // Later than anything that happens.
  static constexpr Instant never() { return Instant(INT64_MAX); }

  constexpr std::int64_t ns() const { return ns_; }
  constexpr bool is_never() const { return ns_ == INT64_MAX; }

  constexpr auto operator<=>(const Instant&) const = default;
  friend constexpr Instant operator+(Instant t, Duration d) { return t.is_never() ? t : Instant(t.ns_ + d.count()); }
  friend constexpr Instant operator-(Instant t, Duration d) { return t.is_never() ? t : Instant(t.ns_ - d.count()); }
  friend constexpr Duration operator-(Instant a, Instant b) { return Duration(a.ns_ - b.ns_); }
  constexpr Instant& operator+=(Duration d) { return *this = *this + d; }

 private:
  constexpr explicit Instant(std::int64_t ns) : ns_(ns) {}
  std::int64_t ns_ = 0;
};

// The clock of tests and of the simulator: it moves when told to.
class ManualClock {
 public:
  explicit ManualClock(Instant start = Instant::from_ns(1'000'000'000)) : now_(start) {}
  Instant now() const { return now_; }
  void advance(Duration by) { now_ += by; }
  void set(Instant to) {
    if (to > now_) now_ = to;
  }

 private:
  Instant now_;
};

}  // namespace vigil::base
