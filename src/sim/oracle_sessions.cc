// The oracle on connections and sessions: what CONNACK says of them, how they end.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::Property;

// The core has decided on a CONNECT when it has an answer, whatever the socket takes of it.
void Oracle::on_offer(LinkId link, base::Bytes bytes, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (c.connected || !c.version) return;
  Framer framer;
  framer.add(bytes);
  const auto frame = framer.next();
  if (!frame || frame->header.type != mqtt::PacketType::ConnAck) return;
  const auto packet = mqtt::decode_connack(frame->header, frame->body(), *c.version);
  if (packet) c.refused = mqtt::is_failure(packet->reason);
  if (packet) connack_offered(link, c, *packet);
}

// What the model knows of a session must agree with Session Present. The core decided on it between reading CONNECT and
// offering CONNACK: a while, if the store is slow.
void Oracle::session_check(LinkId link, Conn& c, Session& s, bool present) {
  if (c.clean && present) fail(link, "Session Present although Clean Start was 1  [MQTT-3.2.2-2]");
  if (present && !s.exists && !s.perhaps_begun)
    fail(link, "Session Present although there was no session  [MQTT-3.2.2-2]");
  if (c.clean || !(s.exists || s.perhaps_begun)) return;
  if (s.link.has_value()) {
    const Conn& old = conn(*s.link);
    // A session that ends with its connection may be said to have ended before it is taken over, or not.
    if (!present && old.expiry.count() > 0) fail(link, "a take-over lost the session");
    return;
  }
  const unsigned shard = world_->shard_of(link);
  if (present && c.connect_read - world_->stalled(shard, s.ends_to, c.connect_read) > s.ends_to + kBlur)
    fail(link, "a session outlived its expiry");
  const bool certain = s.exists && !s.perhaps_gone;
  if (!present && certain && now_ + kBlur < s.ends_from) fail(link, "a session ended before its expiry");
}

void Oracle::end_intervals(const std::string& client, std::uint64_t generation, Instant when) {
  for (const std::size_t i : intervals_of_[client]) {
    Interval& interval = intervals_[i];
    if (interval.session != generation) continue;
    interval.dropped = std::min(interval.dropped, when);
    if (interval.gone <= now_) continue;
    interval.gone = now_;
    interval.ended = true;
  }
}

// The session may be gone, and with it all that it had: nothing is owed to it any more; but it may come.
void Oracle::owe_nothing(const std::string& client, std::uint64_t generation) {
  for (const std::size_t i : intervals_of_[client]) {
    if (intervals_[i].session == generation) intervals_[i].dropped = Instant();
  }
}

unsigned Oracle::home(const std::string& client) const { return broker::ShardCore::home_of(client, world_->shards()); }

void Oracle::connack_offered(LinkId link, Conn& c, const mqtt::ConnAck& packet) {
  if (mqtt::is_failure(packet.reason)) return;
  if (packet.properties.has(Property::AssignedClientIdentifier))
    c.client = packet.properties.text_or(Property::AssignedClientIdentifier);
  c.connected = true;
  // The keep alive begins here, where the connection may have waited for its home shard.
  c.last_read = now_;
  ++counts_.connects;
  if (const auto k = packet.properties.number(Property::ServerKeepAlive)) {
    if (*k == c.keep_alive_s) fail(link, "Server Keep Alive says what the client asked for");
    c.keep_alive_s = *k;
  } else if (c.version != mqtt::Version::V5) {
    const auto& policy = world_->options().keep_alive;
    const bool over = policy.max_s > 0 && (c.keep_alive_s == 0 || c.keep_alive_s > policy.max_s);
    if (over && policy.over_max_v3 == broker::OverMaxV3::Enforce) c.keep_alive_s = policy.max_s;
  }
  for (LinkId other = 0; other < conns_.size(); ++other) {
    const Conn& o = conns_[other];
    if (other != link && o.connected && !o.over && o.client == c.client) {
      fail(link, fmt::format("CONNACK while link {} is still connected with the same client id", other));
    }
  }
  Session& s = sessions_[c.client];
  session_check(link, c, s, packet.session_present);
  if (!packet.session_present || !s.exists) {
    end_intervals(c.client, s.generation, s.link ? c.connect_read : std::min(c.connect_read, s.ends_from));
    s = {};
    s.generation = next_generation_++;
    // It may have had connections whose CONNACK waited for the store.
    if (packet.session_present) s.connections = 1;
  }
  if (s.perhaps_gone) {
    s.perhaps_another = true;
    s.surely_since = now_;
    s.last_order.clear();
  }
  s.perhaps_begun = s.perhaps_gone = false;
  ++s.connections;
  for (WillState& will : wills_) {
    if (will.client == c.client && !will.ended.is_never() && will.next_connack.is_never()) {
      will.next_connack = now_;
      will.next_read = c.connect_read;
      will.resumed = packet.session_present;
      will.shard = world_->shard_of(link);
    }
  }
  if (c.client == kWatcher) watcher_connacks_.push_back(now_);
  s.exists = true;
  s.link = link;
  if (c.max_packet > 0) {
    for (auto& [id, out] : s.outflight) out.perhaps_too_large = true;
  }
  c.generation = s.generation;
  if (c.will) {
    wills_[*c.will].armed = true;
    wills_[*c.will].shard = world_->shard_of(link);
  }
  // A client that pipelines has been read before its CONNACK was written.
  for (const auto& [id, pending] : c.subscribes) {
    for (const std::size_t i : pending.intervals) {
      intervals_[i].session = s.generation;
      intervals_[i].client = c.client;
    }
  }
}

void Oracle::on_close(LinkId link, broker::DisconnectReason reason, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (verbose_)
    std::printf("%12.6f link %-3u %-8s X closed by the broker: %s\n", in_seconds(now), link, c.client.c_str(),
                std::string(broker::name(reason)).c_str());
  if (reason == broker::DisconnectReason::KeepAliveTimeout) {
    ++counts_.timeouts;
    const Duration silent = c.silent_when_judged;
    if (c.keep_alive_s == 0) fail(link, "closed for keep alive, which is off");
    if (!c.connected) fail(link, "judged dead while it waits for its CONNACK");
    if (silent < one_and_a_half(c.keep_alive_s)) {
      fail(link, fmt::format("judged dead {:.6f} s after its last packet reached the socket; K is {}",
                             in_seconds(silent), c.keep_alive_s));
    }
    keep_alive_check(link, c);
  }
  if (reason == broker::DisconnectReason::SessionTakenOver) ++counts_.takeovers;
  connection_over(link, c, reason);
}

void Oracle::on_end(LinkId link, broker::SocketEnd, Instant now) {
  now_ = now;
  Conn& c = conn(link);
  if (verbose_) std::printf("%12.6f link %-3u %-8s X ended by the client\n", in_seconds(now), link, c.client.c_str());
  // (At a take-over the socket is read to its end in one go: the core may have had a goodbye before.)
  connection_over(link, c,
                  c.goodbye ? broker::DisconnectReason::ClientDisconnect : broker::DisconnectReason::ConnectionClosed);
}

void Oracle::connection_over(LinkId link, Conn& c, broker::DisconnectReason reason) {
  if (c.over) fail(link, "closed twice");
  c.over = true;
  if (!c.connected) {
    if (c.version && !c.refused && world_->options().durable) unanswered(c, now_);
    return;
  }
  const bool said_goodbye = reason == broker::DisconnectReason::ClientDisconnect;
  if (said_goodbye && !c.goodbye) fail(link, "recorded as a goodbye, and there was none");
  Session& s = sessions_[c.client];
  if (s.link == link) {
    s.link.reset();
    s.ends_from = s.ends_to = c.for_ever ? Instant::never() : now_ + c.expiry;
    s.decided = now_;
    s.keeps_nothing = c.expiry_zero;
    s.ended_at_once = c.expiry.count() == 0;
    // A process that finds it as a connected client's knows nothing of what DISCONNECT said. With a will it is there
    // until that has been published.
    const Duration grace = base::seconds(world_->options().limits.will_restart_grace_s);
    const Duration asked = c.connect_for_ever ? Duration::max() : c.connect_expiry;
    s.after_restart_least = asked;
    s.after_restart_most = c.will && asked.count() > 0 ? std::max(asked, grace) : asked;
    if (s.ended_at_once) end_intervals(c.client, s.generation, now_);
  }
  if (c.will) will_ended(c, said_goodbye);
}

// A CONNECT was read, and nothing is known of what became of it: its CONNACK waited for the store. `from`: when the
// session that it made or took has begun to expire.
void Oracle::unanswered(Conn& c, Instant from) {
  Session& s = sessions_[c.client];
  const Instant read = c.connect_read;
  if (c.will) {
    wills_[*c.will].held = true;
    if (wills_[*c.will].ended.is_never()) wills_[*c.will].ended = now_;
  }
  for (WillState& will : wills_) {
    if (will.client != c.client || will.key == (c.will ? wills_[*c.will].key : std::string())) continue;
    if (will.ended.is_never() || will.cancelled || !will.next_connack.is_never() || will.due_to <= will.ended ||
        will.due_to + kBlur + world_->stalled(will.shard, will.due_to, read) < read)
      continue;
    // Resumed, it was not to be published any more; begun anew, at once.
    will.doubtful = true;
    if (!c.clean && !will.ends_with_session) continue;
    will.due_from = std::min(will.due_from, read);
    will.may_be_both = true;
  }
  // (Nobody is told of it while the old connection stands: it was not accepted.)
  if (s.link.has_value()) return;
  ++counts_.uncertain_sessions;
  ++s.connections;
  // (Too large for this one counts as delivered, although nobody hears of it.)
  if (c.max_packet > 0) {
    for (auto& [id, out] : s.outflight) out.perhaps_too_large = true;
  }
  // It had come to its end; but a crash may find it there if that was not stored.
  const bool expired = s.exists && read - world_->stalled(home(c.client), s.ends_to, read) > s.ends_to + kBlur;
  const Duration grace = c.will ? base::seconds(world_->options().limits.will_restart_grace_s) : Duration(0);
  const Instant ends_to = c.for_ever ? Instant::never() : from + std::max(c.expiry, grace);
  if (c.clean || !s.exists || expired || s.ends_from < now_ + kBlur) {
    s.perhaps_begun = s.perhaps_begun || c.expiry.count() > 0;
    if (s.exists) {
      s.perhaps_gone = true;
      owe_nothing(c.client, s.generation);
    }
  }
  const bool was_there = s.exists || s.perhaps_begun;
  s.ends_from = std::min(was_there ? s.ends_from : Instant::never(), c.for_ever ? Instant::never() : read + c.expiry);
  if (c.expiry.count() > 0) {
    s.ends_to = std::max(s.ends_to, ends_to);
    s.keeps_nothing = false;
  }
  s.decided = now_;
  s.after_restart_least = std::min(s.after_restart_least, c.for_ever ? Duration::max() : c.expiry);
  s.after_restart_most = std::max({s.after_restart_most, c.for_ever ? Duration::max() : c.expiry, grace});
}

// Nobody lives on after 1.5 x K and a tick.
void Oracle::keep_alive_check(LinkId link, const Conn& c) {
  const broker::KeepAlivePolicy& policy = world_->options().keep_alive;
  const Instant deadline = c.last_read + one_and_a_half(c.keep_alive_s);
  const unsigned shard = world_->shard_of(link);
  if (c.in.pending() > 0) {
    // While a packet really arrives, the deadline moves. A client that drips is not really sending.
    const Instant generous = c.last_read + one_and_a_half(c.keep_alive_s) * 3 + policy.tick * 2;
    if (now_ <= generous + world_->stalled(shard, c.last_read, now_)) return;
    const double rate = static_cast<double>(c.part_bytes) / in_seconds(now_ - c.last_read);
    if (rate < world_->options().limits.min_receive_rate / 4.0)
      fail(link, "alive long after 1.5 x K, on a packet that drips");
    return;
  }
  const Instant latest = deadline + policy.tick + kSlack;
  if (now_ - world_->stalled(shard, deadline, now_) > latest) {
    fail(link, fmt::format("alive {:.6f} s after 1.5 x K; K is {}, the tick {:.3f} s", in_seconds(now_ - deadline),
                           c.keep_alive_s, in_seconds(policy.tick)));
  }
}

void Oracle::on_turn(unsigned shard, Instant now) {
  now_ = now;
  if (world_->core(shard).next_deadline() <= now) return;  // it is not through with what is due
  for (LinkId link = 0; link < conns_.size(); ++link) {
    const Conn& c = conns_[link];
    if (c.over || !c.connected || c.keep_alive_s == 0 || world_->shard_of(link) != shard) continue;
    keep_alive_check(link, c);
  }
}

}  // namespace vigil::sim
