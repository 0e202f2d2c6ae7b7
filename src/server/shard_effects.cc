// What a turn of the core asked for is done here, in the order that broker/effect.h gives.
#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"
#include "io/clock.h"
#include "server/closing.h"
#include "server/shard.h"

namespace vigil::server {
namespace {

constexpr std::size_t kPieces = 128;
// Gathered writes to one connection in a turn; what is left then goes in the next.
constexpr int kWritesPerTurn = 4;
// What effects bring about in the core may have effects. Those of the last round wait for the next turn.
constexpr int kRounds = 8;

// More than a socket's buffer holds, unless its peer goes on sending while it is read.
constexpr int kReadsOfAnOldConnection = 256;

// How often a connection with data in flight is asked whether it still has some.
constexpr base::Duration kRelaxEvery = base::seconds(2);

}  // namespace

void Shard::apply() {
  for (int round = 0; round < kRounds; ++round) {
    core_.end_turn();
    if (core_.effects().empty() && writable_.empty()) break;
    apply_round();
  }
  unapplied_ = !core_.effects().empty();
  erase_ended();
  allow_intake();
}

void Shard::apply_round() {
  // What the core adds from here on belongs to the next round.
  effects_.swap(core_.effects());
  if (!effects_.store.empty()) {
    context_.store->submit(id_, std::move(effects_.store));
    effects_.store = {};
  }
  // Late mail must not reach anybody before the mail has reached everybody.
  post_effects(effects_.mail);
  post_effects(effects_.late_mail);
  for (; wake_ != 0; wake_ &= wake_ - 1) context_.shards[static_cast<std::size_t>(std::countr_zero(wake_))]->wake();
  close_peers();
  hand_over();
  set_tcp_timeouts();
  send();
  judge_suspects();
  answer_auth();
  drain_old_connections();
  write_log();
  effects_.clear();
}

void Shard::post_effects(std::vector<std::vector<broker::Mail>>& mail) {
  effects_.for_each_addressee([&](unsigned to) {
    if (!mail[to].empty() && context_.shards[to]->post_mail(mail[to])) wake_ |= std::uint64_t{1} << to;
  });
}

void Shard::close_peers() {
  for (const broker::Close& close : effects_.closes) {
    const PeerId id = PeerId::from_value(close.socket);
    Peer* peer = peers_.find(id);
    if (peer == nullptr) continue;
    Farewell farewell{.place = context_.seats.linger(peer->give_up_seat())};
    farewell.goodbye = peer->finish(close.last_bytes, closing_of(close.reason), scratch_);
    farewell.unsent = base::Bytes(close.last_bytes).subspan(farewell.goodbye.written);
    if (farewell.goodbye.read_on) linger(id, *peer, std::move(farewell));
    forget(id);
  }
}

// A broker that stops waits for those only that are known to send: a quiet one is told by FIN as well.
void Shard::linger(PeerId id, Peer& peer, Farewell farewell) {
  if (closing_ && !farewell.goodbye.was_sending) return;
  if (context_.seats.open_files() > room_for_files()) return;
  lingering_.add(id.value(), peer.give_up_socket(), std::move(farewell.place), farewell.unsent, now_);
}

void Shard::tend_lingering() {
  lingering_.advance(now_);
  // Another shard needs the room for a client.
  if (context_.seats.open_files() > room_for_files()) lingering_.close_all();
}

void Shard::hand_over() {
  for (broker::HandOver& handover : effects_.handovers) {
    const PeerId id = PeerId::from_value(handover.socket);
    Peer* peer = peers_.find(id);
    if (peer == nullptr) continue;
    // Closed or not, from here on it is another reactor's; one that refuses now would have refused before.
    CHECK(reactor_.remove(peer->fd()).has_value());
    Shard& home = *context_.shards[handover.to];
    Arrival arrival{std::move(*peer), std::move(handover)};
    forget(id);
    home.post(std::move(arrival));
  }
}

void Shard::set_tcp_timeouts() {
  for (const broker::TcpTimeout& timeout : effects_.tcp_timeouts) {
    Peer* peer = peers_.find(PeerId::from_value(timeout.socket));
    if (peer == nullptr) continue;
    const net::ListenerSettings& listener = config_->listeners[peer->listener()];
    const auto keep_alive_s = static_cast<std::uint16_t>(std::min<std::uint32_t>(timeout.keep_alive_s, UINT16_MAX));
    peer->set_tcp_timeouts(listener.tcp, keep_alive_s);
  }
}

void Shard::send() {
  writing_.swap(writable_);
  for (const broker::ConnectionId id : writing_) send_to(id);
  writing_.clear();
  for (const broker::ConnectionId id : effects_.sends) send_to(id);
}

void Shard::send_to(broker::ConnectionId id) {
  const PeerId peer_id = peer_of(id);
  Peer* peer = peers_.find(peer_id);
  // A blocked one goes on when its socket is writable.
  if (peer == nullptr || peer->blocked || peer->broken) return;
  std::array<base::Bytes, kPieces> pieces;
  const broker::Outbox* outbox = core_.outbox(id);
  for (int i = 0; i < kWritesPerTurn; ++i) {
    if (outbox == nullptr || outbox->empty()) return;
    const Peer::Output output = peer->write(std::span(pieces).first(outbox->gather(pieces)));
    if (output.failed) {
      // Unread input first: a DISCONNECT may be in it, and decides what becomes of the will.
      broken_.push_back(peer_id);
      return;
    }
    outbox =
        core_.wrote(id, output.written, output.blocked ? broker::SocketRoom::Full : broker::SocketRoom::Left, now_);
    if (output.written > 0 && peer->hasten()) hastened_.push_back({now_ + kRelaxEvery, peer_id});
    if (output.blocked) {
      peer->blocked = true;
      CHECK(reactor_.modify(peer->fd(), peer_id.value(), io::Interest::ReadWrite).has_value());
      return;
    }
  }
  if (outbox != nullptr && !outbox->empty()) writable_.push_back(id);
}

// Those that still wait for an acknowledgement come again.
void Shard::relax_timeouts() {
  while (!hastened_.empty() && hastened_.front().due <= now_) {
    const PeerId id = hastened_.front().peer;
    hastened_.pop_front();
    Peer* peer = peers_.find(id);
    if (peer != nullptr && !peer->relax()) hastened_.push_back({now_ + kRelaxEvery, id});
  }
}

void Shard::judge_suspects() {
  for (const broker::ConnectionId id : effects_.suspects) {
    const PeerId peer_id = peer_of(id);
    Peer* peer = peers_.find(peer_id);
    if (peer == nullptr) continue;
    if (core_.behind(id)) {
      if (peer->has_input()) {
        core_.waits_to_be_read(id, now_);
        continue;
      }
    } else {
      read_once(peer_id, *peer);
    }
    core_.judge(id, peer->evidence(), now_);
  }
}

// A client that comes back may have said goodbye on the connection it left.
void Shard::drain_old_connections() {
  for (const broker::TakeOver& takeover : effects_.takeovers) {
    const PeerId old = peer_of(takeover.old);
    for (int reads = 0; reads < kReadsOfAnOldConnection; ++reads) {
      Peer* peer = peers_.find(old);
      if (peer == nullptr || !read_once(old, *peer)) break;
    }
    core_.take_over(takeover, now_);
  }
}

// No method is configured, so nobody is there to ask.
void Shard::answer_auth() {
  for (const broker::AuthRequest& request : effects_.auth_requests) {
    core_.authenticated(
        request.connection,
        {.kind = broker::AuthVerdict::Kind::Failure, .reason = mqtt::ReasonCode::NotAuthorized, .data = {}}, now_);
  }
}

broker::LogLevel Shard::lowest_logged() const {
  using enum broker::LogLevel;
  for (const broker::LogLevel level : {Trace, Debug, Info, Warn}) {
    if (context_.log.enabled(level)) return level;
  }
  return Error;
}

void Shard::write_log() {
  for (const broker::LogLine& line : effects_.log) {
    if (!context_.log.enabled(line.level)) continue;
    log_fields_.clear();
    for (const auto& [name, value] : line.fields) log_fields_.emplace_back(name, std::string_view(value));
    context_.log.write(line.level, line.event, line.message, log_fields_);
  }
}

void Shard::erase_ended() {
  for (const PeerId id : ended_) forget(id);
  ended_.clear();
}

void Shard::forget(PeerId id) {
  peers_.erase(id);
  if (!held_back_.empty()) held_back_.erase(id.value());
}

}  // namespace vigil::server
