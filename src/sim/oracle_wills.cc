// The oracle on wills: each exactly one of published and cancelled, and published in time.
#include <algorithm>

#include <fmt/format.h>

#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::Property;
using mqtt::QoS;

void Oracle::check_will(const WillState& will) {
  const std::size_t seen = will.seen.size();
  if (seen > 1) fail(will.link, fmt::format("will '{}' was published {} times", will.key, seen));
  if (!will.armed) {
    if (seen > 0) fail(will.link, fmt::format("will '{}' was published, and its CONNECT was never accepted", will.key));
    return;
  }
  if (will.ended.is_never()) {
    if (seen > 0) fail(will.link, fmt::format("will '{}' of a living connection was published", will.key));
    return;
  }
  const Duration wait = will.for_ever ? will.delay : std::min(will.delay, will.expiry);
  Instant due = will.ended + wait;
  const Duration stall_at_due =
      world_->stalled(will.shard, due, will.next_connack.is_never() ? now_ : will.next_connack);
  bool may_be_published = true;
  bool must_be_published = true;
  const char* why = "";
  Instant latest = due;
  if (will.cancelled) {
    may_be_published = must_be_published = false;
    why = "the client said goodbye";
  } else if (will.next_connack <= due + kBlur + stall_at_due && wait.count() > 0) {
    // The client came back before it was due, or about then.
    const bool clearly_before = will.next_connack + kBlur < due || will.next_connack <= will.ended;
    if (!will.resumed) {
      // The old session ended when CONNECT was read, a little before the CONNACK.
      latest = std::min(due, will.next_connack);
      due = will.ended;
      why = "the session ended before the delay";
    } else if (clearly_before) {
      may_be_published = must_be_published = false;
      why = "the session was resumed before the delay";
    } else {
      must_be_published = false;
    }
  }
  const bool dropped = world_->stats().publish_dropped > 0;
  if (seen > 0 && !may_be_published) fail(will.link, fmt::format("will '{}' was published, and {}", will.key, why));
  if (seen == 0 && must_be_published && !dropped) {
    fail(will.link, fmt::format("will '{}' was not published: its connection ended at {:.6f}, it was due at {:.6f} {}",
                                will.key, in_seconds(will.ended), in_seconds(due), why));
  }
  if (seen != 1 || !violation_.empty()) return;
  if (will.seen[0] + kSlack < due)
    fail(will.link, fmt::format("will '{}' came at {:.6f}, before it was due at {:.6f}", will.key,
                                in_seconds(will.seen[0]), in_seconds(due)));
  Duration stalls(0);
  for (unsigned shard = 0; shard < world_->shards(); ++shard) stalls += world_->stalled(shard, latest, will.seen[0]);
  if (will.seen[0] - stalls > latest + kWillTravel) {
    fail(will.link, fmt::format("will '{}' came at {:.6f}, late: it was due at {:.6f}", will.key,
                                in_seconds(will.seen[0]), in_seconds(latest)));
  }
}

void Oracle::check_wills() {
  for (const WillState& will : wills_) {
    check_will(will);
    if (will.ended.is_never()) continue;
    ++(will.seen.empty() ? counts_.wills_cancelled : counts_.wills_published);
  }
}

}  // namespace vigil::sim
