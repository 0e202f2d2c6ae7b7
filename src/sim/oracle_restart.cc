// The oracle on crashes: what has to come back, and what may be either way.
#include <algorithm>
#include <cstdio>
#include <ranges>

#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::QoS;

namespace {

Instant after(Instant from, Duration length) { return length == Duration::max() ? Instant::never() : from + length; }

}  // namespace

void Oracle::on_crash(Instant stored_before, Instant now) {
  now_ = now;
  ++counts_.crashes;
  crashed_ = now;
  stored_before_ = stored_before;
  if (verbose_)
    std::printf("%12.6f the broker dies; what it decided before %.6f is stored\n", in_seconds(now),
                in_seconds(stored_before));
}

// Nobody has connected since: all that a crash means is worked out now, when the moment is known from which the new
// process reckons.
void Oracle::on_restart(Instant now) {
  now_ = now;
  restarts_.push_back(now);
  if (verbose_) std::printf("%12.6f the broker is there again, with %u shards\n", in_seconds(now), world_->shards());
  for (auto& [client, s] : sessions_) {
    if (!s.link) session_after_crash(client, s);
    messages_after_crash(s);
  }
  for (WillState& will : wills_) will_after_crash(will);
  for (LinkId link = 0; link < conns_.size(); ++link) {
    if (!conns_[link].over) connection_after_crash(link, conns_[link]);
  }
}

// A connection that the crash ended.
void Oracle::connection_after_crash(LinkId link, Conn& c) {
  c.over = true;
  if (!c.connected) {
    if (c.version && !c.refused) unanswered(c, now_);
    return;
  }
  const Duration grace = base::seconds(world_->options().limits.will_restart_grace_s);
  Session& s = sessions_[c.client];
  if (s.link == link) {
    s.link.reset();
    s.decided = now_;
    s.keeps_nothing = c.expiry_zero;
    s.ended_at_once = false;
    s.after_restart_least = c.for_ever ? Duration::max() : c.expiry;
    s.after_restart_most = c.for_ever || !c.will ? s.after_restart_least : std::max(c.expiry, grace);
    s.ends_from = after(now_, s.after_restart_least);
    s.ends_to = after(now_, s.after_restart_most);
    // Without an expiry it is gone, although its record may stay for its will.
    if (c.expiry.count() == 0) {
      s.ends_from = s.ends_to = crashed_;
      end_intervals(c.client, s.generation, crashed_);
    }
  }
  if (!c.will) return;
  will_ended(c, false);
  WillState& will = wills_[*c.will];
  will.shard = home(will.client);
  will.ended = crashed_;
  will.due_from = now_ + will.after_restart_least;
  will.due_to = now_ + will.after_restart_most;
}

// A session whose client was away.
void Oracle::session_after_crash(const std::string& client, Session& s) {
  if (!s.exists && !s.perhaps_begun) return;
  // Its end may not have been stored, or fell into the time without a broker: it is found and ended now.
  if (s.ends_to >= stored_before_ || s.decided >= stored_before_) s.ends_to = std::max(s.ends_to, now_);
  if (s.decided < stored_before_ || s.keeps_nothing) return;
  // That its client went away may not have been stored: then its expiry begins with this process.
  ++counts_.uncertain_sessions;
  s.decided = now_;
  s.ends_from = std::min(s.ends_from, after(now_, s.after_restart_least));
  s.ends_to = std::max(s.ends_to, after(now_, s.after_restart_most));
  if (!s.ended_at_once) return;
  // DISCONNECT had ended it, perhaps in vain: then its subscriptions are there.
  s.perhaps_gone = true;
  for (const std::size_t i : intervals_of_[client]) {
    Interval& interval = intervals_[i];
    if (interval.session == s.generation && interval.ended && interval.gone >= stored_before_) {
      interval.gone = Instant::never();
    }
  }
}

// A will whose connection had ended before the crash.
void Oracle::will_after_crash(WillState& will) const {
  if (will.ended.is_never() || !will.armed) return;
  if (!will.next_connack.is_never()) return;  // decided by a CONNECT, whose answer was stored
  if (std::max(will.decided, will.due_to + kSlack) >= stored_before_) will.shard = home(will.client);
  if (will.decided >= stored_before_) {
    // That the client went away may not have been stored: it is one that was connected.
    if (will.cancelled) {
      will.cancelled = false;
      will.doubtful = true;
    }
    will.decided = now_;
    will.due_from = std::min(will.due_from, now_ + will.after_restart_least);
    will.due_to = std::max(will.due_to, now_ + will.after_restart_most);
  } else if (!will.cancelled && will.due_to + kSlack >= stored_before_) {
    // It fell due without a broker, or it was published and that was not stored, and nobody has seen it.
    will.due_to = std::max(will.due_to, now_);
  }
}

void Oracle::messages_after_crash(Session& s) {
  for (auto& [id, out] : s.outflight) {
    // What was sent at QoS 1 before it was stored may be lost, if its publisher had no acknowledgement either, or it
    // came with a subscription. QoS 2 is sent when it is stored. (Of a message that was published twice one copy may be
    // acknowledged, and the other lost.)
    const Publication& publication = publications_.at(out.key);
    const bool promised = !out.retained && publication.reads.size() == 1 && !publication.acknowledged.is_never();
    if (out.qos == QoS::AtLeastOnce && out.sent >= stored_before_ && !promised) {
      out.perhaps_lost = true;
    }
    // PUBREL is sent when the PUBREC is stored.
    if (out.released && !out.pubrel && out.recorded >= stored_before_) out.perhaps_unrecorded = true;
  }
  // The latest of an identifier: those before it ended before it began.
  for (Finished& finished : s.finished | std::views::reverse) {
    if (finished.at < stored_before_ || s.outflight.contains(finished.packet_id)) continue;
    finished.out.perhaps_done = true;
    // Whoever has acknowledged it may have to do so again, or, in a group, somebody else.
    for (Delivery& delivery : deliveries_[finished.out.key]) {
      if (delivery.session == s.generation) delivery.acknowledged = Instant::never();
    }
    s.outflight.emplace(finished.packet_id, finished.out);
  }
  s.finished.clear();
}

}  // namespace vigil::sim
