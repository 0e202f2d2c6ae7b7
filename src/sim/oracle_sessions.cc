// The oracle on connections and sessions: what CONNACK says of them, how they end.
#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::Property;
using mqtt::QoS;

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
  if (packet) connack_offered(link, c, *packet);
}

// What the model knows of a session must agree with Session Present.
void Oracle::session_check(LinkId link, Conn& c, Session& s, bool present) {
  if (c.clean && present) fail(link, "Session Present although Clean Start was 1  [MQTT-3.2.2-2]");
  if (present && !s.exists) fail(link, "Session Present although there was no session  [MQTT-3.2.2-2]");
  if (c.clean || !s.exists) return;
  const bool taken_over = s.link.has_value();
  if (taken_over) {
    const Conn& old = conn(*s.link);
    // A session that ends with its connection may be said to have ended before it is taken over, or not.
    if (!present && old.expiry.count() > 0) fail(link, "a take-over lost the session");
    return;
  }
  if (s.for_ever) {
    if (!present) fail(link, "a session was lost that has no expiry");
    return;
  }
  const Instant expires = s.ended + s.expiry;
  if (present && now_ > expires + kBlur && world_->stalled(world_->shard_of(link), expires, now_).count() == 0 &&
      s.expiry.count() == 0) {
    fail(link, "a session lived on although its expiry was 0");
  }
  if (present && now_ - world_->stalled(world_->shard_of(link), expires, now_) > expires + kBlur)
    fail(link, "a session outlived its expiry");
  if (!present && now_ + kBlur < expires && s.expiry > kBlur) fail(link, "a session ended before its expiry");
}

void Oracle::end_intervals(const std::string& client, std::uint64_t generation, Instant when) {
  for (const std::size_t i : intervals_of_[client]) {
    Interval& interval = intervals_[i];
    if (interval.session != generation) continue;
    interval.dropped = std::min(interval.dropped, when);
    interval.gone = std::min(interval.gone, now_);
  }
}

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
  if (!packet.session_present) {
    end_intervals(c.client, s.generation, s.link ? now_ : std::min(now_, s.ended + s.expiry));
    s = {};
    s.generation = next_generation_++;
  }
  for (WillState& will : wills_) {
    if (will.client == c.client && !will.ended.is_never() && will.next_connack.is_never()) {
      will.next_connack = now_;
      will.resumed = packet.session_present;
    }
  }
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
  connection_over(link, c, broker::DisconnectReason::ConnectionClosed);
}

void Oracle::connection_over(LinkId link, Conn& c, broker::DisconnectReason reason) {
  if (c.over) fail(link, "closed twice");
  c.over = true;
  if (!c.connected) return;
  const bool said_goodbye = reason == broker::DisconnectReason::ClientDisconnect;
  if (said_goodbye && !c.goodbye) fail(link, "recorded as a goodbye, and there was none");
  Session& s = sessions_[c.client];
  if (s.link == link) {
    s.link.reset();
    s.ended = now_;
    s.expiry = c.expiry;
    s.for_ever = c.for_ever;
    if (c.expiry.count() == 0) end_intervals(c.client, s.generation, now_);
  }
  if (c.will) {
    WillState& will = wills_[*c.will];
    will.ended = now_;
    will.cancelled = said_goodbye;
    will.expiry = c.expiry;
    will.for_ever = c.for_ever;
  }
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
