// Decides when a silent peer is gone: one and a half keep-alive periods after its last packet [MQTT-3.1.2-22].
//
// Hearing from the peer only stores a time. The timer that stands for it is corrected when it comes due, so the hot
// path never touches the wheel. Owned by its connection, on its shard.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "broker/rhythm.h"

namespace vigil::broker {

class KeepAlive {
 public:
  // A period of zero means that the client asked for no keep alive: nothing ever expires.
  void start(std::uint32_t period_s, base::Instant now) {
    period_s_ = period_s;
    heard(now);
  }
  bool enabled() const { return period_s_ > 0; }
  base::Duration period() const { return base::seconds(period_s_); }
  base::Instant last_heard() const { return last_heard_; }
  // Of what was heard since the connection began.
  Rhythm& rhythm() { return rhythm_; }
  const Rhythm& rhythm() const { return rhythm_; }

  // A complete control packet was read from the socket.
  void heard(base::Instant now) {
    last_heard_ = now;
    part_.reset();
  }
  // Until now the peer had to wait for us.
  void waited(base::Instant now) { last_heard_ = std::max(last_heard_, now); }
  // What was heard was read at this time at the latest.
  void heard_until(base::Instant read_at) { last_heard_ = std::min(last_heard_, read_at); }
  // Bytes of a packet that is not complete yet were read. They are not activity by themselves.
  void heard_part(std::size_t bytes, base::Instant now) {
    if (!part_) part_ = std::make_unique<Part>(Part{.since = now, .last = now});
    part_->bytes += static_cast<std::uint32_t>(std::min<std::size_t>(bytes, UINT32_MAX - part_->bytes));
    part_->last = now;
  }

  // Silent for one period, not yet for one and a half.
  base::Instant at_risk_from() const { return enabled() ? last_heard_ + period() : base::Instant::never(); }
  // A connection is not closed before this, and no later than one tick after it.
  base::Instant deadline() const { return enabled() ? last_heard_ + period() * 3 / 2 : base::Instant::never(); }
  bool expired(base::Instant now) const { return now >= deadline(); }

  // Since when the packet that is arriving has been arriving, or has been judged last.
  base::Instant unfinished_since() const { return part_ ? part_->since : last_heard_; }

  // A large packet that is really arriving is not cut off: when since it began, or since the last judgement, as many
  // bytes came as `min_rate` (bytes/s) brings in that time, but at most in one keep alive, the time of the last of them
  // counts as activity, once. False when the peer drips.
  bool credit_progress(std::uint32_t min_rate, base::Instant now) { return credit_progress(min_rate, period(), now); }
  // The same over another time than the keep alive: for a peer that has none.
  bool credit_progress(std::uint32_t min_rate, base::Duration over, base::Instant now) {
    if (!part_ || part_->bytes == 0) return false;
    const base::Duration age = std::min(over, now - part_->since);
    const auto needed = static_cast<std::uint64_t>(min_rate) * static_cast<std::uint64_t>(age.count()) / 1'000'000'000U;
    if (part_->bytes < needed) return false;
    last_heard_ = part_->since = part_->last;
    part_->bytes = 0;
    return true;
  }

 private:
  // Of a packet that is not complete.
  struct Part {
    base::Instant since;  // it began, or was judged last
    base::Instant last;
    std::uint32_t bytes = 0;  // since then
  };

  base::Instant last_heard_;
  std::unique_ptr<Part> part_;
  std::uint32_t period_s_ = 0;
  Rhythm rhythm_;
};

// The first moment at or after `due` that lies on the grid of ticks that starts at `origin`: when the monitor looks.
inline base::Instant on_tick(base::Instant due, base::Instant origin, base::Duration tick) {
  if (due.is_never() || due <= origin) return due;
  const std::int64_t passed = (due - origin).count();
  const std::int64_t ticks = (passed + tick.count() - 1) / tick.count();
  return origin + base::Duration(ticks * tick.count());
}

}  // namespace vigil::broker
