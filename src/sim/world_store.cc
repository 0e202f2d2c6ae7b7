// The world's processes and their store: what is handed over, crashes, and the start of the next process.
#include <algorithm>

#include "base/check.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

constexpr std::int64_t kUnixStartMs = 1'767'225'600'000;  // 2026-01-01T00:00:00Z, when the world begins
constexpr base::Instant kWorldStart = base::Instant::from_ns(1'000'000'000);
constexpr std::uint64_t kNsAMs = 1'000'000;
// What a joint change needs, at most, to get round all shards, if none of them is stalled.
constexpr base::Duration kJointTravel = base::milliseconds(10);

}  // namespace

broker::ClockReading World::read_clocks() const {
  const auto whole_ms = [](base::Duration d) { return std::chrono::floor<base::milliseconds>(d).count(); };
  return {.wall_ms = kUnixStartMs + whole_ms(now_ - kWorldStart + wall_set_),
          .boot_ms = whole_ms(now_ - booted_),
          .boot = boot_};
}

void World::set_wall(base::Duration by) {
  wall_set_ += by;
  // The broker looks each second.
  after(base::seconds(1), [this] { look_at_clocks(); });
}

void World::look_at_clocks() {
  if (down_ || !time_->look(read_clocks())) return;
  store_.keep_time(time_->kept());
  for (ShardState& shard : shards_) shard.core->wall_time(time_->kept().wall);
}

void World::build_shards() {
  const broker::ClockReading clocks = read_clocks();
  time_.emplace(store_.kept_time(), clocks);
  time_->look(clocks);
  store_.keep_time(time_->kept());
  store_.set_ahead(base::milliseconds(time_->boot_began_ms()) - (booted_ - base::Instant()));
  // A process begins at a whole millisecond of store time.
  const std::int64_t unix_ms = time_->at(clocks);
  shards_ = std::vector<ShardState>(options_.shards);
  for (unsigned i = 0; i < options_.shards; ++i) {
    broker::ShardSetup setup;
    setup.id = static_cast<broker::ShardId>(i);
    setup.shards = options_.shards;
    setup.seed = options_.seed * 64 + i + run_ * 1'000'003;
    setup.limits = options_.limits;
    setup.keep_alive = options_.keep_alive;
    setup.auth_methods = options_.auth_methods;
    setup.durable = options_.durable;
    setup.incarnation = 1 + run_;
    setup.wall = time_->kept().wall;
    if (run_ > 0) setup.first_position = std::max(store_.next_position(), static_cast<std::uint64_t>(unix_ms) * kNsAMs);
    shards_[i].core = std::make_unique<broker::ShardCore>(std::move(setup), now_);
    shards_[i].core->store_time(unix_ms, now_);
    wake(i);
  }
}

// --- the store at work

// Before any mail of the turn is posted: receipts follow what they stand for.
void World::hand_over(unsigned shard) {
  broker::ShardCore& core = *shards_[shard].core;
  core.end_turn();
  broker::StoreBatch& batch = core.effects().store;
  if (batch.empty()) return;
  if (!options_.durable) {
    fail("a shard hands something to a store, and there is none");
    return;
  }
  store_.submit(shard, std::exchange(batch, {}), now_);
  if (!store_at_work_) begin_writing();
}

void World::begin_writing() {
  store_at_work_ = true;
  schedule(std::max(now_ + jitter(options_.store_delay), store_stalled_until_), EventKind::StoreWrite, 0);
}

void World::store_write() {
  if (store_stalled_until_ > now_) {
    schedule(store_stalled_until_, EventKind::StoreWrite, 0);
    return;
  }
  store_replies_ = store_.write(now_, time_->at(read_clocks()));
  if (!store_.fault().empty()) fail(store_.fault());
  schedule(now_ + jitter(options_.store_delay / 4), EventKind::StoreReply, 0);
}

void World::store_reply() {
  for (SimStore::Reply& reply : std::exchange(store_replies_, {})) {
    shards_[reply.shard].mailbox.emplace_back(std::move(reply.reply));
    wake(reply.shard);
  }
  store_at_work_ = false;
  if (store_.busy()) begin_writing();
}

void World::stall_store(base::Duration length) {
  const base::Instant until = std::max(store_stalled_until_, now_ + length);
  store_stalls_.emplace_back(std::max(now_, store_stalled_until_), until);
  store_stalled_until_ = until;
}

std::uint64_t World::dropped() const {
  const broker::Stats now = stats();
  return dropped_ + now.publish_dropped + now.publish_expired;
}

// --- crash and restart

// What waits to be written may have waited before, as a joint change, for a shard that was stalled, and so on.
base::Instant World::stored_before() const {
  base::Instant since = std::min(now_, store_.unwritten_since());
  for (bool earlier = true; earlier;) {
    earlier = false;
    for (const Spans& spans : stalls_) {
      for (const auto& [begin, end] : spans) {
        if (end + kJointTravel <= since || begin >= since) continue;
        since = begin;
        earlier = true;
      }
    }
  }
  return since - kJointTravel;
}

void World::crash(base::Duration down, unsigned shards, Dies dies) {
  CHECK(options_.durable);
  if (down_) return;
  const base::Instant before = stored_before();
  dropped_ = dropped();
  ++run_;
  note(5, 0, {});
  // What the kernel has taken is sent, then FIN.
  for (LinkId id = 0; id < links_.size(); ++id) {
    LinkState& link = links_[id];
    if (link.stage == Stage::Closed) continue;
    link.stage = Stage::Closed;
    schedule_link(id, link.link.server_close(now_));
  }
  store_.crash();
  store_replies_.clear();
  store_at_work_ = false;
  for (Spans& spans : stalls_) {
    for (auto& span : spans) span.second = std::min(span.second, now_);
  }
  if (shards != 0) options_.shards = shards;
  if (dies == Dies::Machine) {
    ++boot_;
    booted_ = now_;
  }
  shards_ = std::vector<ShardState>(options_.shards);
  down_ = true;
  if (observer_ != nullptr) observer_->on_crash(before, now_);
  after(down, [this] { restart(); });
}

void World::restart() {
  down_ = false;
  build_shards();
  store_.recover(now_, [this](broker::RecoveredFact&& fact) {
    if (const auto* presence = std::get_if<broker::RecoveredPresence>(&fact)) {
      core(broker::ShardCore::home_of(presence->client_id, this->shards())).recover(std::move(fact), now_);
    } else if (const auto* session = std::get_if<broker::RecoveredSession>(&fact)) {
      core(broker::ShardCore::home_of(session->session.client_id, this->shards())).recover(std::move(fact), now_);
    } else {
      for (ShardState& shard : shards_) shard.core->recover(broker::RecoveredFact(fact), now_);
    }
  });
  acquaint();
  for (ShardState& shard : shards_) shard.core->recovered(now_);
  if (observer_ != nullptr) observer_->on_restart(now_);
}

// Every shard hears what the others hold before anybody connects and before any timer fires: else what is published at
// once, a will that fell due meanwhile, say, would miss subscribers that were there before.
void World::acquaint() {
  bool more = true;
  while (more) {
    more = false;
    for (unsigned i = 0; i < shards(); ++i) {
      hand_over(i);
      broker::Effects& effects = shards_[i].core->effects();
      for (auto* mail : {&effects.mail, &effects.late_mail}) {
        for (unsigned to = 0; to < mail->size(); ++to) {
          for (broker::Mail& item : std::exchange((*mail)[to], {})) shards_[to].mailbox.emplace_back(std::move(item));
        }
      }
      effects.mail_to.clear();
      effects.log.clear();
    }
    for (unsigned i = 0; i < shards(); ++i) {
      more = more || !shards_[i].mailbox.empty();
      while (!shards_[i].mailbox.empty()) {
        Post post = std::move(shards_[i].mailbox.front());
        shards_[i].mailbox.pop_front();
        shards_[i].core->mail(std::move(std::get<broker::Mail>(post)), now_);
      }
    }
  }
}

}  // namespace vigil::sim
