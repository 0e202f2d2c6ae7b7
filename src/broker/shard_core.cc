#include "broker/shard_core.h"

#include <algorithm>

#include "broker/shard.h"

namespace vigil::broker {

ShardCore::ShardCore(ShardSetup setup, base::Instant start)
    : shard_(std::make_unique<Shard>(std::move(setup), start)) {}
ShardCore::~ShardCore() = default;

namespace {

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace

std::uint64_t ShardCore::client_hash(std::string_view client_id) {
  return std::max<std::uint64_t>(1, fnv1a(client_id));
}

ShardId ShardCore::home_of(std::string_view client_id, unsigned shards) {
  // With a final mix: the low bits decide.
  std::uint64_t hash = fnv1a(client_id);
  hash ^= hash >> 32U;
  return static_cast<ShardId>(hash % shards);
}

ConnectionId ShardCore::opened(PeerInfo peer, base::Instant now) { return shard_->opened(std::move(peer), now); }
ConnectionId ShardCore::adopted(HandOver handover, base::Instant now) {
  return shard_->adopted(std::move(handover), now);
}
void ShardCore::received(ConnectionId id, base::Bytes bytes, base::Instant now) { shard_->received(id, bytes, now); }
void ShardCore::allow(const Intake& intake) { shard_->allow(intake); }
std::uint64_t ShardCore::changes_made() const { return shard_->changes_made(); }
bool ShardCore::behind() const { return shard_->behind(); }
bool ShardCore::behind(ConnectionId id) const { return shard_->behind(id); }
void ShardCore::catch_up(base::Instant now) { shard_->catch_up(now); }
void ShardCore::waits_to_be_read(ConnectionId id, base::Instant now) { shard_->waits_to_be_read(id, now); }
void ShardCore::closed(ConnectionId id, SocketEnd end, const std::optional<base::TcpEvidence>& evidence,
                       base::Instant now) {
  shard_->closed(id, end, evidence, now);
}
const Outbox* ShardCore::wrote(ConnectionId id, std::size_t written, SocketRoom room, base::Instant now) {
  return shard_->wrote(id, written, room, now);
}
void ShardCore::mail(Mail&& mail, base::Instant now) { shard_->mail(std::move(mail), now); }
void ShardCore::advance(base::Instant now) { shard_->advance(now); }
void ShardCore::judge(ConnectionId id, const std::optional<base::TcpEvidence>& evidence, base::Instant now) {
  shard_->judge(id, evidence, now);
}
void ShardCore::authenticated(ConnectionId id, AuthVerdict verdict, base::Instant now) {
  shard_->authenticated(id, std::move(verdict), now);
}
void ShardCore::take_over(const TakeOver& takeover, base::Instant now) { shard_->take_over(takeover, now); }
void ShardCore::store_time(std::int64_t store_ms, base::Instant now) { shard_->store_time(store_ms, now); }
void ShardCore::wall_time(WallTime wall) { shard_->wall_time(std::move(wall)); }
bool ShardCore::kick(std::string_view client_id, base::Instant now) { return shard_->kick(client_id, now); }
void ShardCore::stored(Stored&& stored, base::Instant now) { shard_->stored(std::move(stored), now); }
void ShardCore::loaded(Loaded&& loaded, base::Instant now) { shard_->loaded(std::move(loaded), now); }
void ShardCore::swept(const Swept& swept, base::Instant now) { shard_->swept(swept, now); }
void ShardCore::recover(RecoveredFact&& recovered, base::Instant now) { shard_->recover(std::move(recovered), now); }
void ShardCore::recovered(base::Instant now) { shard_->recovered(now); }
void ShardCore::end_turn() { shard_->end_turn(); }
void ShardCore::reconfigure(const Limits& limits, const KeepAlivePolicy& keep_alive) {
  shard_->reconfigure(limits, keep_alive);
}
bool ShardCore::shut_down(std::size_t limit, base::Instant now) { return shard_->shut_down(limit, now); }
Effects& ShardCore::effects() { return shard_->effects(); }
const Outbox* ShardCore::outbox(ConnectionId id) const { return shard_->outbox(id); }
std::uint64_t ShardCore::socket(ConnectionId id) const { return shard_->socket(id); }
base::Instant ShardCore::next_deadline() const { return shard_->next_deadline(); }
void ShardCore::log_from(LogLevel level) { shard_->log_from(level); }
const Stats& ShardCore::stats() const { return shard_->stats(); }
ShardCore::ClientView ShardCore::client(std::string_view client_id) const { return shard_->client(client_id); }
std::size_t ShardCore::connections() const { return shard_->connections(); }
std::size_t ShardCore::sessions() const { return shard_->sessions(); }

}  // namespace vigil::broker
