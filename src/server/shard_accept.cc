// New connections. The listening sockets are shared by all shards; the kernel wakes one of those that wait.
#include <fmt/format.h>

#include "io/clock.h"
#include "io/socket.h"
#include "server/shard.h"

namespace vigil::server {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr base::Duration kPauseAccepting = base::milliseconds(100);
constexpr base::Duration kComplainEvery = base::seconds(1);

bool is_loopback(const io::Endpoint& peer) { return peer.is_unix() || peer.is_loopback(); }

}  // namespace

void Shard::watch_listeners() {
  accept_again_ = base::Instant::never();
  for (std::size_t i = 0; i < listening_->size(); ++i) {
    const auto added =
        reactor_.add((*listening_)[i].fd.get(), i, io::Interest::Read, io::Trigger::Level, io::Sharing::Exclusive);
    if (!added) {
      pause_accepting(added.error());
      return;
    }
  }
}

void Shard::unwatch_listeners() {
  // Not watched while accepting was paused: then there is nothing to remove.
  for (const net::Listening& listening : *listening_) static_cast<void>(reactor_.remove(listening.fd.get()));
  accept_again_ = base::Instant::never();
}

void Shard::accept_from(std::size_t listening) {
  const net::Listening& from = (*listening_)[listening];
  for (int i = 0; i < kAcceptsPerTurn && accepting_; ++i) {
    io::Result<std::optional<io::Accepted>> accepted = io::accept(from.fd.get());
    if (!accepted) {
      pause_accepting(accepted.error());
      return;
    }
    if (!*accepted) return;
    admit(std::move(**accepted), from.listener);
  }
}

void Shard::admit(io::Accepted accepted, std::uint16_t listener) {
  const net::ListenerSettings& config = config_->listeners[listener];
  net::Seats::Taken taken = context_.seats.take(listener);
  const bool over_total = taken.total > config_->max_connections;
  const bool over_listener = config.max_connections > 0 && taken.listener > config.max_connections;
  if (context_.seats.open_files() > room_for_files()) make_room_for_clients();
  const bool full = taken.total > room_for_files();
  if (full || (over_listener && taken.listener > std::uint64_t{config.max_connections} + kRefusedPolitely)) {
    if (now_ >= complain_again_) {
      complain_again_ = now_ + kComplainEvery;
      const std::string where = full ? std::string() : fmt::format(" at the listener \"{}\"", config.name);
      const std::string_view key = full ? "limits.max_connections and the limit of open files decide"
                                        : "max_connections of that listener decides";
      context_.log.write(log::LogLevel::Warn, "connection_limit",
                         fmt::format("{} connections are open{}, as many as are allowed: closing new ones without an "
                                     "answer, the last from {}. {}{}.",
                                     (full ? taken.total : taken.listener) - 1, where, accepted.peer.text(),
                                     full ? "" : "The setting ", key));
    }
    return;
  }
  const PeerId id = peers_.emplace(std::move(accepted.fd), std::move(taken.seat));
  Peer& peer = peers_.at(id);
  if (const auto added = reactor_.add(peer.fd(), id.value(), io::Interest::Read); !added) {
    peers_.erase(id);
    pause_accepting(added.error());
    return;
  }
  broker::PeerInfo info;
  info.address = accepted.peer.text();
  info.listener = config.name;
  info.loopback = is_loopback(accepted.peer);
  info.allow_anonymous = info.loopback || config_->allow_anonymous_remote;
  if (over_total) {
    info.over_quota = broker::OverQuota::Broker;
  } else if (over_listener) {
    info.over_quota = broker::OverQuota::Listener;
  }
  info.socket = id.value();
  peer.connection = core_.opened(std::move(info), now_);
}

// Connections that were ended and are only read on give way to clients, on all shards.
void Shard::make_room_for_clients() {
  lingering_.close_all();
  if (context_.seats.lingering() == 0) return;
  for (const auto& shard : context_.shards) {
    if (shard.get() != this) shard->wake();
  }
}

// Out of descriptors or memory. The connection goes on waiting, so the listening socket stays ready: looking away for a
// while keeps this from becoming a busy loop.
void Shard::pause_accepting(const std::error_code& why) {
  make_room_for_clients();
  unwatch_listeners();
  accept_again_ = now_ + kPauseAccepting;
  if (now_ < complain_again_) return;
  complain_again_ = now_ + kComplainEvery;
  context_.log.write(log::LogLevel::Error, "accept_failed",
                     fmt::format("New connections have to wait: {}. If files are what is missing, allow more "
                                 "(LimitNOFILE= in the systemd unit, or `ulimit -n` before the start).",
                                 why.message()));
}

}  // namespace vigil::server
