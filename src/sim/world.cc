#include "sim/world.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/check.h"

namespace vigil::sim {
namespace {

constexpr unsigned kMostTurnsAtOnce = 20'000;

}  // namespace

World::World(WorldOptions options, Observer* observer)
    : options_(std::move(options)),
      observer_(observer),
      random_(options_.seed),
      now_(base::Instant::from_ns(1'000'000'000)),
      stalls_(broker::kMaxShards) {
  store_.let_loads_fail(options_.load_failures, options_.seed);
  build_shards();
}

World::~World() = default;

void World::fail(std::string what) {
  if (fault_.empty()) fault_ = std::move(what);
}

base::Duration World::jitter(base::Duration most) {
  if (options_.prompt) return base::Duration(0);
  return base::Duration(random_.between(0, most.count()));
}

void World::note(std::uint64_t kind, LinkId link, base::Bytes bytes) {
  auto mix = [this](std::uint64_t value) {
    trace_ ^= value;
    trace_ *= 0x100000001b3ULL;
    trace_ ^= trace_ >> 29U;
  };
  mix(static_cast<std::uint64_t>(now_.ns()));
  mix(kind << 32U | link);
  for (const std::uint8_t byte : bytes) mix(byte);
}

// --- time

void World::schedule(base::Instant when, EventKind kind, std::uint64_t a) {
  queue_.push({std::max(when, now_), sequence_++, kind, a, run_});
}

void World::schedule_link(LinkId link, const std::vector<base::Instant>& arrivals) {
  for (const base::Instant when : arrivals) schedule(when, EventKind::LinkDue, link);
}

void World::at(base::Instant when, std::function<void()> what) {
  calls_.emplace(next_call_, std::move(what));
  schedule(when, EventKind::Call, next_call_++);
}

void World::run_until(base::Instant until) {
  while (fault_.empty() && !queue_.empty() && queue_.top().when <= until) {
    const Event event = queue_.top();
    queue_.pop();
    now_ = event.when;
    ++events_;
    dispatch(event);
  }
  if (until > now_) now_ = until;
}

void World::dispatch(const Event& event) {
  const bool of_a_process = event.kind != EventKind::LinkDue && event.kind != EventKind::Call;
  if (of_a_process && event.run != run_) return;  // it has died
  switch (event.kind) {
    case EventKind::Turn: {
      ShardState& shard = shards_[event.a];
      if (shard.turn_at != event.when) return;  // an earlier turn has taken its place
      shard.turn_at = base::Instant::never();
      turn(static_cast<unsigned>(event.a));
      return;
    }
    case EventKind::LinkDue: deliver(static_cast<LinkId>(event.a)); return;
    case EventKind::Post: {
      // A stall may come in the middle of a turn, too.
      const base::Instant until = shards_[event.a].stalled_until;
      if (until > now_) {
        schedule(until, EventKind::Post, event.a);
      } else {
        post_next(static_cast<unsigned>(event.a));
      }
      return;
    }
    case EventKind::StoreWrite: store_write(); return;
    case EventKind::StoreReply: store_reply(); return;
    case EventKind::Call: {
      auto node = calls_.extract(event.a);
      node.mapped()();
      return;
    }
  }
}

// --- clients

LinkId World::connect(Peer& peer, const LinkProfile& profile, unsigned shard) {
  const auto id = static_cast<LinkId>(links_.size());
  links_.push_back({Link(profile, random_.next()), &peer, shard, Stage::Connecting, {}, false, false});
  if (down_) {
    links_[id].stage = Stage::Closed;
    schedule_link(id, links_[id].link.server_close(now_));
    return id;
  }
  mark_ready(id);
  return id;
}

void World::send(LinkId link, base::Bytes bytes) { schedule_link(link, links_[link].link.client_send(bytes, now_)); }

void World::end(LinkId link, StreamEnd how) { schedule_link(link, links_[link].link.client_end(how, now_)); }

void World::silence(LinkId link) { links_[link].link.silence(); }

void World::set_reading(LinkId link, bool reading) {
  links_[link].link.set_reading(reading);
  if (reading) schedule(now_, EventKind::LinkDue, link);
}

void World::set_window(LinkId link, std::size_t bytes) {
  LinkState& state = links_[link];
  state.link.set_window(bytes);
  if (state.blocked && state.link.room() > 0) {
    state.writable = true;
    mark_ready(link);
  }
}

void World::detach(LinkId link) { links_[link].peer = nullptr; }

void World::deliver(LinkId id) {
  LinkState& state = links_[id];
  const std::size_t before = state.link.unread();
  Link::Delivery delivery = state.link.deliver(now_);
  if (delivery.to_server && state.stage != Stage::Closed) {
    if (observer_ != nullptr && state.link.unread() > before)
      observer_->on_arrival(id, state.link.arrived_from(before), now_);
    mark_ready(id);
  }
  if (delivery.room_again && state.stage != Stage::Closed) {
    state.writable = true;
    mark_ready(id);
  }
  if (state.peer != nullptr && !delivery.to_client.empty()) state.peer->on_bytes(id, delivery.to_client, now_);
  if (links_[id].peer != nullptr && delivery.client_end) links_[id].peer->on_closed(id, now_);
}

// --- the broker

void World::wake(unsigned shard) { wake_at(shard, now_ + jitter(kMaxWakeUp / 4)); }

void World::wake_at(unsigned shard, base::Instant when) {
  ShardState& state = shards_[shard];
  when = std::max({when, now_, state.stalled_until});
  if (when >= state.turn_at) return;
  state.turn_at = when;
  if (!when.is_never()) schedule(when, EventKind::Turn, shard);
}

void World::mark_ready(LinkId link) {
  LinkState& state = links_[link];
  if (state.stage == Stage::Moving || state.stage == Stage::Closed) return;  // its new shard looks when it arrives
  ShardState& shard = shards_[state.shard];
  shard.ready.push_back(link);
  wake(state.shard);
}

void World::stall(unsigned shard, base::Duration length) {
  if (down_) return;
  ShardState& state = shards_[shard];
  const base::Instant until = std::max(state.stalled_until, now_ + length);
  stalls_[shard].emplace_back(std::max(now_, state.stalled_until), until);
  state.stalled_until = until;
  if (!state.turn_at.is_never() && state.turn_at < until) {
    state.turn_at = base::Instant::never();
    wake_at(shard, until);
  }
}

base::Duration World::overlap(const Spans& spans, base::Instant from, base::Instant to) {
  base::Duration sum(0);
  for (const auto& [begin, end] : spans) {
    const base::Instant low = std::max(begin, from);
    const base::Instant high = std::min(end, to);
    if (high > low) sum += high - low;
  }
  return sum;
}

base::Duration World::stalled(unsigned shard, base::Instant from, base::Instant to) const {
  return overlap(stalls_[shard], from, to);
}

bool World::kick(std::string_view client_id) {
  if (down_) return false;
  const unsigned shard = broker::ShardCore::home_of(client_id, shards());
  shards_[shard].kicks.emplace_back(client_id);
  wake(shard);
  return shards_[shard].core->client(client_id).connected;
}

void World::shut_down() {
  if (down_) return;
  for (unsigned i = 0; i < shards(); ++i) {
    while (!shards_[i].core->shut_down(100, now_)) {
      if (!shards_[i].busy) apply(i);
    }
    wake(i);
  }
}

void World::reconfigure(const broker::Limits& limits, const broker::KeepAlivePolicy& keep_alive) {
  options_.limits = limits;
  options_.keep_alive = keep_alive;
  if (down_) return;
  for (unsigned i = 0; i < shards(); ++i) {
    shards_[i].core->reconfigure(limits, keep_alive);
    wake(i);
  }
}

std::size_t World::connections() const {
  std::size_t sum = 0;
  for (const ShardState& shard : shards_) sum += shard.core ? shard.core->connections() : 0;
  return sum;
}

std::size_t World::sessions() const {
  std::size_t sum = 0;
  for (const ShardState& shard : shards_) sum += shard.core ? shard.core->sessions() : 0;
  return sum;
}

broker::Stats World::stats() const {
  if (down_) return {};
  broker::Stats sum = shards_[0].core->stats();
  for (unsigned i = 1; i < shards(); ++i) sum.add(shards_[i].core->stats());
  return sum;
}

bool World::open(LinkId link) const { return links_[link].stage == Stage::Open || links_[link].stage == Stage::Moving; }

bool World::drained(LinkId link) const {
  const LinkState& state = links_[link];
  if (state.stage != Stage::Open) return true;
  const broker::Outbox* outbox = shards_[state.shard].core->outbox(state.connection);
  return outbox == nullptr || outbox->empty();
}

World::LinkState* World::find(unsigned shard, broker::ConnectionId connection, LinkId* id) {
  const auto found = shards_[shard].connections.find(connection.value());
  if (found == shards_[shard].connections.end()) return nullptr;
  *id = found->second;
  return &links_[found->second];
}

// One turn: sockets, mail, then time; then the effects.
void World::turn(unsigned shard) {
  ShardState& state = shards_[shard];
  if (state.stalled_until > now_) {
    wake_at(shard, state.stalled_until);
    return;
  }
  if (state.busy) {
    state.turn_wanted = true;
    return;
  }
  if (state.spinning_since != now_) {
    state.spinning_since = now_;
    state.turns_now = 0;
  }
  if (++state.turns_now > kMostTurnsAtOnce) {
    fail(fmt::format("shard {} never comes to rest", shard));
    return;
  }
  if (options_.narrow) state.core->allow({.changes = random_.below(4)});
  take_sockets(shard);
  take_mail(shard);
  if (state.core->behind()) catch_up(shard);
  for (const std::string& client_id : std::exchange(state.kicks, {})) state.core->kick(client_id, now_);
  if (state.core->next_deadline() <= now_) state.core->advance(now_);
  apply(shard);
}

// Those who were put off wait a while, and then some of them go on.
void World::catch_up(unsigned shard) {
  ShardState& state = shards_[shard];
  if (!options_.narrow) {
    state.core->catch_up(now_);
  } else if (random_.chance(50)) {
    state.core->allow({.changes = 1 + random_.below(8)});
    state.core->catch_up(now_);
  }
  if (state.core->behind()) wake_at(shard, now_ + base::Duration(1 + random_.between(0, kMaxWakeUp.count())));
}

void World::take_sockets(unsigned shard) {
  ShardState& state = shards_[shard];
  std::vector<LinkId> ready = std::exchange(state.ready, {});
  std::ranges::sort(ready);
  const auto repeated = std::ranges::unique(ready);
  ready.erase(repeated.begin(), repeated.end());
  for (const LinkId id : ready) {
    LinkState& link = links_[id];
    if (link.shard != shard || link.stage == Stage::Closed || link.stage == Stage::Moving) continue;
    if (link.stage == Stage::Connecting) {
      broker::PeerInfo peer;
      peer.address = fmt::format("192.0.2.{}:{}", 1 + id % 200, 40'000 + id % 20'000);
      peer.listener = "sim";
      peer.loopback = link.link.loopback();
      peer.allow_anonymous = true;
      peer.socket = id + 1;
      link.connection = state.core->opened(std::move(peer), now_);
      if (!link.connection) {
        link.stage = Stage::Closed;
        schedule_link(id, link.link.server_close(now_));
        continue;
      }
      link.stage = Stage::Open;
      state.connections.emplace(link.connection.value(), id);
    }
    if (state.core->behind(link.connection)) {
      state.put_off.push_back(id);
    } else if (link.link.readable()) {
      read_link(id, false);
    }
    if (link.writable && link.stage == Stage::Open) {
      link.writable = false;
      write_link(id);
    }
  }
}

// One read a turn: a connection that it handed over or closed is not to be given more here. What is left waits for the
// next turn.
void World::read_link(LinkId id, bool all) {
  LinkState& link = links_[id];
  ShardState& shard = shards_[link.shard];
  if (link.link.unread() > 0) {
    // Now and then the buffer of a read ends in the middle.
    const bool whole = all || options_.prompt || random_.chance(90);
    const std::size_t limit = whole ? SIZE_MAX : 1 + random_.below(link.link.unread());
    const std::vector<std::uint8_t> bytes = link.link.server_read(limit);
    note(1, id, bytes);
    // A connection that was ended earlier in this turn, by a take-over, say, still has its socket: nothing of it counts
    // any more.
    const bool ended = std::ranges::any_of(shard.core->effects().closes, [&link](const broker::Close& close) {
      return close.connection == link.connection;
    });
    if (observer_ != nullptr && !ended) observer_->on_read(id, bytes, now_);
    shard.core->received(link.connection, bytes, now_);
    if (link.link.readable()) mark_ready(id);
    return;
  }
  const auto end = link.link.server_end();
  if (!end || link.stage != Stage::Open) return;
  const auto how = *end == StreamEnd::Closed ? broker::SocketEnd::Closed : broker::SocketEnd::Reset;
  note(2, id, {});
  link.stage = Stage::Closed;
  shard.connections.erase(link.connection.value());
  if (observer_ != nullptr) observer_->on_end(id, how, now_);
  shard.core->closed(link.connection, how, std::nullopt, now_);
  link.link.server_close(now_);
}

void World::take_mail(unsigned shard) {
  ShardState& state = shards_[shard];
  std::size_t count = state.mailbox.size();
  if (!options_.prompt && count > 1 && random_.chance(20)) count = 1 + random_.below(count);
  for (; count > 0; --count) {
    Post post = std::move(state.mailbox.front());
    state.mailbox.pop_front();
    if (auto* mail = std::get_if<broker::Mail>(&post)) {
      state.core->mail(std::move(*mail), now_);
      continue;
    }
    if (auto* reply = std::get_if<broker::StoreReply>(&post)) {
      if (auto* stored = std::get_if<broker::Stored>(reply)) state.core->stored(std::move(*stored), now_);
      if (auto* loaded = std::get_if<broker::Loaded>(reply)) state.core->loaded(std::move(*loaded), now_);
      if (auto* swept = std::get_if<broker::Swept>(reply)) state.core->swept(*swept, now_);
      continue;
    }
    auto handover = std::get<broker::HandOver>(std::move(post));
    const auto id = static_cast<LinkId>(handover.socket - 1);
    LinkState& link = links_[id];
    link.stage = Stage::Open;
    link.shard = shard;
    link.connection = state.core->adopted(std::move(handover), now_);
    if (!link.connection) {
      link.stage = Stage::Closed;
      schedule_link(id, link.link.server_close(now_));
      continue;
    }
    state.connections.emplace(link.connection.value(), id);
    if (link.link.readable() || link.writable) mark_ready(id);
  }
}

// --- effects

void World::apply(unsigned shard) {
  ShardState& state = shards_[shard];
  hand_over(shard);
  broker::Effects& effects = state.core->effects();
  // Its lists of mail, one a shard, stay where they are.
  auto collect = [&](std::vector<std::vector<broker::Mail>>& mail) {
    const std::size_t first = options_.prompt || mail.empty() ? 0 : random_.below(mail.size());
    for (std::size_t i = 0; i < mail.size(); ++i) {
      const std::size_t target = (i + first) % mail.size();
      if (!mail[target].empty()) state.posts.emplace_back(static_cast<unsigned>(target), std::move(mail[target]));
    }
  };
  collect(effects.mail);
  collect(effects.late_mail);
  state.pending = {};
  state.pending.closes = std::move(effects.closes);
  state.pending.handovers = std::move(effects.handovers);
  state.pending.sends = std::move(effects.sends);
  state.pending.suspects = std::move(effects.suspects);
  state.pending.auth_requests = std::move(effects.auth_requests);
  state.pending.takeovers = std::move(effects.takeovers);
  effects.clear();
  state.busy = true;
  post_next(shard);
}

void World::post_next(unsigned shard) {
  ShardState& state = shards_[shard];
  while (!state.posts.empty()) {
    auto [target, mail] = std::move(state.posts.front());
    state.posts.pop_front();
    if (target >= shards()) {
      fail(fmt::format("shard {} posts to shard {}, which does not exist", shard, target));
      return;
    }
    for (broker::Mail& item : mail) shards_[target].mailbox.emplace_back(std::move(item));
    wake(target);
    if (!options_.prompt && !state.posts.empty()) {
      schedule(now_ + jitter(kMaxWakeUp / 16), EventKind::Post, shard);
      return;
    }
  }
  finish(shard);
}

void World::finish(unsigned shard) {
  ShardState& state = shards_[shard];
  broker::Effects effects = std::move(state.pending);
  state.pending = {};
  apply_closes(shard, effects);
  apply_handovers(shard, effects);
  for (const broker::ConnectionId connection : effects.sends) {
    LinkId id = 0;
    if (find(shard, connection, &id) != nullptr) write_link(id);
  }
  answer_auth(shard, effects);
  for (const broker::ConnectionId connection : effects.suspects) {
    LinkId id = 0;
    if (LinkState* link = find(shard, connection, &id); link != nullptr && link->link.readable()) {
      if (state.core->behind(connection)) {
        state.core->waits_to_be_read(connection, now_);
        continue;
      }
      read_link(id, true);
    }
    base::TcpEvidence evidence;
    if (LinkState* link = find(shard, connection, &id); link != nullptr) {
      evidence.unacknowledged_segments = link->link.silent() && link->link.outstanding() > 0 ? 1 : 0;
      evidence.retransmits = evidence.unacknowledged_segments > 0 ? 3 : 0;
      if (observer_ != nullptr) observer_->on_judged(id, now_);
    }
    state.core->judge(connection, evidence, now_);
  }
  for (const broker::TakeOver& takeover : effects.takeovers) {
    LinkId id = 0;
    while (LinkState* link = find(shard, takeover.old, &id)) {
      if (!link->link.readable()) break;
      read_link(id, true);
    }
    state.core->take_over(takeover, now_);
  }
  state.core->end_turn();
  if (!state.core->effects().empty()) {
    apply(shard);
    return;
  }
  end_turn(shard);
}

void World::end_turn(unsigned shard) {
  ShardState& state = shards_[shard];
  state.busy = false;
  // What could not be read goes on when the core is done with what it has of it.
  std::erase_if(state.put_off, [&](const LinkId id) {
    if (state.core->behind(links_[id].connection)) return false;
    state.ready.push_back(id);
    return true;
  });
  if (observer_ != nullptr) observer_->on_turn(shard, now_);
  if (state.turn_wanted || !state.mailbox.empty() || !state.ready.empty()) {
    state.turn_wanted = false;
    wake(shard);
  }
  if (state.core->behind()) wake_at(shard, now_ + kMaxWakeUp);
  const base::Instant deadline = state.core->next_deadline();
  if (!deadline.is_never()) wake_at(shard, std::max(deadline, now_) + jitter(kMaxWakeUp / 4));
}

void World::apply_closes(unsigned shard, const broker::Effects& effects) {
  ShardState& state = shards_[shard];
  for (const broker::Close& close : effects.closes) {
    LinkId id = 0;
    LinkState* link = find(shard, close.connection, &id);
    if (link == nullptr) continue;
    if (close.socket != id + 1) fail(fmt::format("a close names socket {} for link {}", close.socket, id));
    const std::size_t size = std::min(link->link.room(), close.last_bytes.size());
    const base::Bytes taken(close.last_bytes.data(), size);
    note(3, id, taken);
    if (observer_ != nullptr) {
      observer_->on_offer(id, close.last_bytes, now_);
      if (size > 0) observer_->on_write(id, taken, now_);
      observer_->on_close(id, close.reason, now_);
    }
    schedule_link(id, link->link.server_write(taken, now_));
    schedule_link(id, link->link.server_close(now_));
    link->stage = Stage::Closed;
    state.connections.erase(close.connection.value());
  }
}

void World::apply_handovers(unsigned shard, broker::Effects& effects) {
  for (broker::HandOver& handover : effects.handovers) {
    LinkId id = 0;
    LinkState* link = find(shard, handover.connection, &id);
    if (link == nullptr) continue;
    if (handover.to >= shards() || handover.socket != id + 1) {
      fail(fmt::format("a handover of link {} goes to shard {} with socket {}", id, handover.to, handover.socket));
      return;
    }
    shards_[shard].connections.erase(handover.connection.value());
    link->stage = Stage::Moving;
    const unsigned to = handover.to;
    link->shard = to;
    shards_[to].mailbox.emplace_back(std::move(handover));
    wake(to);
  }
}

// The method that the simulator answers for: data `ok` succeeds, `no` fails, all else asks for more.
void World::answer_auth(unsigned shard, const broker::Effects& effects) {
  for (const broker::AuthRequest& request : effects.auth_requests) {
    broker::AuthVerdict verdict;
    const std::string_view data = base::as_text(request.data);
    if (data == "ok") {
      verdict.kind = broker::AuthVerdict::Kind::Success;
    } else if (data == "no") {
      verdict.kind = broker::AuthVerdict::Kind::Failure;
    } else {
      verdict.kind = broker::AuthVerdict::Kind::Continue;
      verdict.data = {'m', 'o', 'r', 'e'};
    }
    shards_[shard].core->authenticated(request.connection, std::move(verdict), now_);
  }
}

void World::write_link(LinkId id) {
  LinkState& link = links_[id];
  broker::ShardCore& core = *shards_[link.shard].core;
  link.blocked = false;
  while (link.stage == Stage::Open) {
    const broker::Outbox* outbox = core.outbox(link.connection);
    if (outbox == nullptr || outbox->empty()) return;
    std::array<base::Bytes, 8> pieces;
    const std::size_t count = outbox->gather(pieces);
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < count; ++i) bytes.insert(bytes.end(), pieces[i].begin(), pieces[i].end());
    if (bytes.empty()) {
      fail("an outbox that is not empty gathers nothing");
      return;
    }
    if (observer_ != nullptr) observer_->on_offer(id, bytes, now_);
    std::size_t taken = std::min(bytes.size(), link.link.room());
    // Now and then the socket takes less than it might, and says a little later that it takes more.
    const bool partial = !options_.prompt && taken > 0 && random_.chance(10);
    if (partial) taken = random_.below(taken + 1);
    if (taken > 0) {
      const base::Bytes part(bytes.data(), taken);
      note(4, id, part);
      if (observer_ != nullptr) observer_->on_write(id, part, now_);
      schedule_link(id, link.link.server_write(part, now_));
      core.wrote(link.connection, taken, link.link.room() > 0 ? broker::SocketRoom::Left : broker::SocketRoom::Full,
                 now_);
    }
    if (partial) {
      link.writable = true;
      mark_ready(id);
      return;
    }
    if (taken < bytes.size()) {
      link.blocked = true;
      return;
    }
  }
}

}  // namespace vigil::sim
