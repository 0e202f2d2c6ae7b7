// The oracle on wills: each exactly one of published and cancelled, and published in time.
#include <algorithm>

#include <fmt/format.h>

#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;

// Its connection is over: published at once or after its delay, but no later than the session ends [MQTT-3.1.2-8].
void Oracle::will_ended(const Conn& c, bool said_goodbye) {
  WillState& will = wills_[*c.will];
  const Duration wait = c.for_ever ? will.delay : std::min(will.delay, c.expiry);
  will.ended = will.decided = now_;
  will.cancelled = said_goodbye;
  will.ends_with_session = c.expiry.count() == 0;
  will.due_from = will.due_to = now_ + wait;
  // A process that finds the client connected waits a little for it to come back, and knows nothing of a DISCONNECT.
  const Duration grace = base::seconds(world_->options().limits.will_restart_grace_s);
  const auto wait_of = [&](Duration expiry, bool for_ever) {
    const Duration most = std::max(grace, will.delay);
    return for_ever ? most : std::min(most, std::max(expiry, grace));
  };
  const Duration now_known = wait_of(c.expiry, c.for_ever);
  const Duration known_before = wait_of(c.connect_expiry, c.connect_for_ever);
  will.after_restart_least = std::min(now_known, known_before);
  will.after_restart_most = std::max(now_known, known_before);
}

void Oracle::check_will(const WillState& will) {
  const std::size_t seen = will.seen.size();
  // (At QoS 0 it is passed on before it is stored that it is not owed any more: a crash then brings it again, or takes
  // it from whom it was on its way to.)
  const auto crashes_after = static_cast<std::size_t>(
      std::ranges::count_if(restarts_, [&will](Instant restart) { return restart > will.ended; }));
  const auto published = publications_.find(will.key);
  const bool at_most_once = published != publications_.end() && published->second.qos == mqtt::QoS::AtMostOnce;
  if (seen > 1 + (at_most_once ? crashes_after : 0))
    fail(will.link, fmt::format("will '{}' was published {} times", will.key, seen));
  if (!will.armed) {
    if (seen > 0 && !will.held)
      fail(will.link, fmt::format("will '{}' was published, and its CONNECT was never accepted", will.key));
    return;
  }
  if (will.ended.is_never()) {
    if (seen > 0) fail(will.link, fmt::format("will '{}' of a living connection was published", will.key));
    return;
  }
  Instant earliest = will.due_from;
  Instant latest = will.due_to;
  const bool waits = will.due_to > will.ended;
  const Duration stall_at_due =
      world_->stalled(will.shard, will.due_to, will.next_connack.is_never() ? now_ : will.next_connack);
  bool may_be_published = true;
  bool must_be_published = true;
  const char* why = "";
  if (will.cancelled) {
    may_be_published = must_be_published = false;
    why = "the client said goodbye";
  } else if (waits && !will.next_read.is_never() && will.next_read <= will.due_to + kBlur + stall_at_due) {
    // The client came back before it was due, or about then.
    const bool clearly_before = will.next_connack + kBlur < will.due_from || will.next_read <= will.ended;
    if (!will.resumed) {
      // The old session ended when CONNECT was processed, a little before the CONNACK.
      earliest = will.ended;
      latest = std::min(latest, will.next_connack);
      // What it left behind is stored with its end, which the CONNACK does not wait for.
      for (const Instant restart : restarts_) {
        if (restart > will.next_connack && stored_before_ < will.next_connack) latest = std::max(latest, restart);
      }
      why = "the session ended before the delay";
    } else if (clearly_before) {
      may_be_published = will.may_be_both;
      must_be_published = false;
      why = "the session was resumed before the delay";
    } else {
      must_be_published = false;
    }
  }
  must_be_published = must_be_published && !will.doubtful && !(at_most_once && crashes_after > 0);
  const bool dropped = world_->dropped() > 0;
  if (seen > 0 && !may_be_published) fail(will.link, fmt::format("will '{}' was published, and {}", will.key, why));
  if (seen == 0 && must_be_published && !dropped) {
    fail(will.link, fmt::format("will '{}' was not published: its connection ended at {:.6f}, it was due at {:.6f} {}",
                                will.key, in_seconds(will.ended), in_seconds(latest), why));
  }
  if (seen != 1 || !violation_.empty()) return;
  const Instant came = will.seen[0];
  // (A shard that stalls within a turn has told the others of the will, and not yet its socket of the end.)
  if (came + kSlack + world_->stalled(will.shard, came, earliest) < earliest)
    fail(will.link, fmt::format("will '{}' came at {:.6f}, before it was due at {:.6f}", will.key, in_seconds(came),
                                in_seconds(earliest)));
  // It is shown when it is stored, with the fact that it is not owed any more.
  Duration late = kWillTravel + world_->options().store_delay * 8 + world_->store_stalled(latest, came);
  for (unsigned shard = 0; shard < broker::kMaxShards; ++shard) late += world_->stalled(shard, latest, came);
  // What waits for the watcher may have been unreadable for a while, more than once.
  if (world_->options().load_failures > 0) late += base::seconds(64);
  // The watcher may have been away, and what waited for it goes through its window.
  for (const Instant connack : watcher_connacks_) {
    if (connack > latest && connack <= came) latest = connack + base::seconds(1);
  }
  if (came > latest + late) {
    fail(will.link, fmt::format("will '{}' came at {:.6f}, late: it was due at {:.6f}", will.key, in_seconds(came),
                                in_seconds(latest)));
  }
}

void Oracle::check_wills() {
  for (const WillState& will : wills_) {
    check_will(will);
    if (will.ended.is_never()) continue;
    if (will.doubtful) ++counts_.uncertain_wills;
    ++(will.seen.empty() ? counts_.wills_cancelled : counts_.wills_published);
  }
}

}  // namespace vigil::sim
