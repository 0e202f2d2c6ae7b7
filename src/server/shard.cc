#include "server/shard.h"

#include <algorithm>
#include <thread>

#include "base/check.h"
#include "base/overloaded.h"
#include "io/clock.h"
#include "io/socket.h"

namespace vigil::server {
namespace {

// What is read of one connection in a turn; the rest comes in the next, after all others had theirs.
constexpr std::size_t kReadBytes = std::size_t{64} * 1024;
// A turn that comes so much later than it was due looks at all sockets again before it judges anybody.
constexpr base::Duration kLate = base::milliseconds(50);
constexpr base::Duration kStoreTimeEvery = base::seconds(1);
// While so much mail waits at another shard, clients are read in slices, and whoever added to that mail only now and
// then: often enough that its keep alive is heard, rarely enough that the mail does not grow.
constexpr std::size_t kMaxWaitingMail = 65'536;
constexpr base::Duration kHeldBack = base::seconds(1);
constexpr std::size_t kCrowdedBytes = std::size_t{2} * 1024;
// What is read of one connection when somebody is to be judged: all input comes first, but quickly.
constexpr std::size_t kHurriedBytes = std::size_t{16} * 1024;
// After so much input what it brought about is done before more is taken in: outboxes are bounded.
constexpr std::size_t kBytesPerStep = std::size_t{256} * 1024;
constexpr std::size_t kMailsPerStep = 1'000;
constexpr std::size_t kMailsKept = 1'024;  // room for so many is kept
// The same of what is to be stored: a message for a thousand absent sessions is a thousand changes, some 200 bytes each
// until they are written. In a turn so many are taken from clients; who wants more waits for the next.
constexpr std::size_t kChangesPerStep = 8'192;
constexpr std::uint64_t kChangesPerTurn = 2 * kChangesPerStep;  // of other shards' messages
// While the disk is slower than clients are, those who were put off go on this often.
constexpr base::Duration kCatchUpEvery = base::milliseconds(100);
// The store's backlog may become twice what it is configured to, and this besides. Then nothing more is taken in.
constexpr std::size_t kBacklogBesides = std::size_t{16} << 20U;
// Looks at the sockets before somebody is judged late, at most.
constexpr int kLooks = 64;
constexpr base::Duration kCongestionPause = base::milliseconds(1);
constexpr std::size_t kClosesPerTurn = 256;
// How long clients that were sending when the broker stopped may take to read why.
constexpr base::Duration kLingerAtStop = base::milliseconds(500);
// What is read in a turn, and thrown away, of a connection that was ended.
constexpr std::size_t kLingeringBytes = std::size_t{16} * 1024;

constexpr base::Instant kNow = base::Instant::from_ns(0);

using base::Overloaded;

}  // namespace

Shard::Shard(ShardContext& context, const broker::ShardSetup& setup, std::shared_ptr<const ShardConfig> config,
             io::Reactor reactor)
    : context_(context),
      config_(std::move(config)),
      listening_(std::make_shared<const std::vector<net::Listening>>()),
      id_(setup.id),
      reactor_(std::move(reactor)),
      core_(setup, io::monotonic_now()),
      now_(io::monotonic_now()),
      lingering_(reactor_),
      scratch_(kReadBytes) {
  effects_.mail.resize(setup.shards);
  effects_.late_mail.resize(setup.shards);
  complain_again_ = now_;
}

void Shard::run() {
  sync_store_time();
  core_.log_from(lowest_logged());
  while (!exit_) turn();
}

void Shard::post(Post post) {
  std::vector<Post> batch;
  batch.push_back(std::move(post));
  if (posts_.push(batch)) wake();
}

bool Shard::more_to_do() const {
  if (!full_ && (mail_taken_ < mail_in_.size() || (core_.behind() && !congested()))) return true;
  return unapplied_ || !writable_.empty() || !broken_.empty() || (closing_ && core_.connections() > 0);
}

// Whether others cannot keep up with what clients give us: other shards, or the disk.
bool Shard::congested() const {
  if (context_.store != nullptr && context_.store->backlog_bytes() > config_->max_store_backlog) return true;
  return std::ranges::any_of(context_.shards, [this](const auto& shard) {
    return shard->id_ != id_ && shard->mail_waiting() > kMaxWaitingMail;
  });
}

// As congested(), but so much that nothing may be added.
bool Shard::store_is_full() const {
  return context_.store != nullptr &&
         context_.store->unwritten_bytes() > 2 * config_->max_store_backlog + kBacklogBesides;
}

// How much of what clients say is acted upon before effects are applied again.
void Shard::allow_intake() {
  full_ = store_is_full();
  core_.allow({.changes = full_ || turn_is_full_ ? 0 : kChangesPerStep, .connects = !full_});
}

// Those who were put off go on, in turn.
void Shard::catch_up() {
  if (!core_.behind()) return;
  now_ = io::monotonic_now();
  if (congested()) {
    if (now_ < catch_up_again_) return;
    catch_up_again_ = now_ + kCatchUpEvery;
  }
  turn_is_full_ = false;
  allow_intake();
  core_.catch_up(now_);
}

void Shard::turn() {
  base::Instant until = std::min(core_.next_deadline(), accept_again_);
  // The store does not tell when it has room again.
  if (core_.behind() || mail_taken_ < mail_in_.size()) until = std::min(until, io::monotonic_now() + kCongestionPause);
  if (!hastened_.empty()) until = std::min(until, hastened_.front().due);
  until = std::min(until, lingering_.next_deadline());
  const bool idle = !more_to_do() && mail_.prepare_sleep() && posts_.prepare_sleep();
  const auto waited = reactor_.wait(idle ? until : kNow, events_);
  CHECK(waited.has_value());
  mail_.awake();
  posts_.awake();

  now_ = io::monotonic_now();
  const bool late = now_ - core_.next_deadline() > kLate;
  const bool seen_all = events_.size() < io::Reactor::kMostReports && !unapplied_;
  if (now_ - time_synced_ >= kStoreTimeEvery) sync_store_time();
  turn_is_full_ = false;
  allow_intake();
  read_sockets();
  // Posts are taken out first and worked off last, so that mail posted before one of them comes before it.
  posts_.drain(posts_in_);
  take_mail();
  take_posts(posts_in_);
  catch_up();
  // Whoever spoke while we were away has spoken in time.
  if (late || (!seen_all && core_.next_deadline() <= now_)) look_again();
  if (closing_) core_.shut_down(kClosesPerTurn, now_);
  now_ = io::monotonic_now();
  if (accepting_ && accept_again_ <= now_) watch_listeners();
  relax_timeouts();
  core_.advance(now_);
  apply();
  if (!lingering_.empty()) tend_lingering();
  lingering_count_.store(lingering_.size(), std::memory_order_release);
  open_connections_.store(core_.connections(), std::memory_order_release);
  answered_.store(obeyed_, std::memory_order_release);
}

// Store time goes on while the machine sleeps, and the monotonic clock does not.
void Shard::sync_store_time() {
  const io::Clocks clocks = io::read_clocks();
  time_synced_ = clocks.at;
  core_.store_time(context_.boot_began_ms + clocks.boot_ms, clocks.at);
}

// --- input

// Each socket once: after a read the core may have asked to move or close the connection, and that has to be done
// before more is read of it. What is left is reported again.
void Shard::read_sockets() {
  // The sockets stay ready.
  if (unapplied_) return;
  bool served = false;
  for (const io::Ready& event : events_) {
    if (event.token < listening_->size()) {
      accept_from(event.token);
      served = true;
    } else {
      served |= serve(PeerId::from_value(event.token), event);
    }
    if (!make_room()) return;
  }
  reading_.swap(broken_);
  for (const PeerId id : reading_) {
    if (Peer* peer = peers_.find(id); peer != nullptr && read_once(id, *peer)) broken_.push_back(id);
  }
  reading_.clear();
  // Only such as are held back were ready, and they stay so: the reactor would not wait.
  if (!served && !events_.empty()) std::this_thread::sleep_for(kCongestionPause);
}

// Does what enough input has brought about. False if the core is still not done with it.
bool Shard::make_room() {
  const bool enough = core_.behind() && !full_ && !turn_is_full_;
  if (step_bytes_ < kBytesPerStep && !enough) return true;
  step_bytes_ = 0;
  // Others may still ping and acknowledge.
  turn_is_full_ |= enough;
  apply();
  return !unapplied_;
}

// Sees all input there is, and all output that goes, in small slices; bounded.
void Shard::look_again() {
  for (int look = 0; look < kLooks; ++look) {
    apply();
    if (unapplied_) continue;
    const auto looked = reactor_.wait(kNow, events_);
    CHECK(looked.has_value());
    const bool all = events_.size() < io::Reactor::kMostReports;
    read_sockets();
    if (all) break;
  }
  apply();
}

// False if there was something to be done, and it was put off.
bool Shard::serve(PeerId id, const io::Ready& event) {
  Peer* peer = peers_.find(id);
  if (peer == nullptr) {
    lingering_.serve(event, std::span(scratch_).first(kLingeringBytes));
    return true;
  }
  if (event.writable && peer->blocked) {
    peer->blocked = false;
    // Closing the socket would be the only other way to end its reports.
    CHECK(reactor_.modify(peer->fd(), id.value(), io::Interest::Read).has_value());
    writable_.push_back(peer->connection);
  }
  if (!event.readable && !event.hangup && !event.error) return true;
  // It is heard again when what it has said before is acted upon.
  if (core_.behind(peer->connection)) return event.writable;
  const bool crowded = congested();
  if (crowded && is_held_back(id)) return event.writable;
  const std::size_t work_before = crowded ? outgoing_work() : 0;
  read_once(id, *peer);
  if (crowded && outgoing_work() > work_before) held_back_[id.value()] = now_ + hold_back_for();
  return true;
}

bool Shard::is_held_back(PeerId id) {
  const auto it = held_back_.find(id.value());
  if (it == held_back_.end()) return false;
  if (now_ < it->second) return true;
  held_back_.erase(it);
  return false;
}

// The longer the disk stands still, the less is taken from each of those who give it more to do.
base::Duration Shard::hold_back_for() const {
  if (context_.store == nullptr) return kHeldBack;
  const std::size_t times = context_.store->backlog_bytes() / std::max<std::size_t>(config_->max_store_backlog, 1);
  return kHeldBack * static_cast<int>(std::clamp<std::size_t>(times, 1, 5));
}

std::size_t Shard::outgoing_work() {
  const broker::Effects& effects = core_.effects();
  std::size_t mail = effects.store.changes.size() + effects.store.parts.size();
  effects.for_each_addressee([&](unsigned to) {
    if (to != id_) mail += effects.mail[to].size() + effects.late_mail[to].size();
  });
  return mail;
}

// True if there may be more to read.
bool Shard::read_once(PeerId id, Peer& peer) {
  std::size_t most = core_.next_deadline() <= now_ ? kHurriedBytes : kReadBytes;
  if (turn_is_full_ || full_ || congested()) most = kCrowdedBytes;
  const Peer::Input input = peer.read(std::span(scratch_).first(most));
  // Stamped after the read: a client is never taken for silent for longer than it was.
  now_ = io::monotonic_now();
  step_bytes_ += input.bytes.size();
  if (!input.bytes.empty()) core_.received(peer.connection, input.bytes, now_);
  if (input.ended) {
    const broker::SocketEnd end = peer.end();
    core_.closed(peer.connection, end, end == broker::SocketEnd::Closed ? std::nullopt : peer.evidence(), now_);
    ended_.push_back(id);
  }
  return !input.bytes.empty();
}

void Shard::take_mail() {
  if (mail_taken_ == mail_in_.size()) {
    if (mail_in_.capacity() > kMailsKept) std::vector<broker::Mail>().swap(mail_in_);
    mail_in_.clear();
    mail_taken_ = 0;
    if (!mail_.drain(mail_in_)) return;
  }
  now_ = io::monotonic_now();
  std::size_t taken = 0;
  const std::uint64_t turn_from = core_.changes_made();
  std::uint64_t step_from = turn_from;
  // What finds no room, or would take this turn too long, waits; its senders see that it does.
  while (mail_taken_ < mail_in_.size() && !full_ && core_.changes_made() - turn_from < kChangesPerTurn) {
    core_.mail(std::move(mail_in_[mail_taken_++]), now_);
    if (++taken % kMailsPerStep != 0 && core_.changes_made() - step_from < kChangesPerStep) continue;
    apply();
    step_from = core_.changes_made();
    now_ = io::monotonic_now();
    if (core_.next_deadline() > now_) continue;
    look_again();
    now_ = io::monotonic_now();
    core_.advance(now_);
    apply();
  }
  mail_left_.store(mail_in_.size() - mail_taken_, std::memory_order_relaxed);
}

void Shard::take_posts(std::vector<Post>& posts) {
  for (Post& post : posts) {
    std::visit(Overloaded{[this](Arrival& arrival) { adopt(std::move(arrival)); },
                          [this](std::shared_ptr<const ShardConfig>& config) {
                            config_ = std::move(config);
                            core_.reconfigure(config_->limits, config_->keep_alive);
                            core_.log_from(lowest_logged());
                            ++obeyed_;
                          },
                          [this](Listeners& listening) {
                            listening_ = std::move(listening);
                            accepting_ = true;
                            watch_listeners();
                            ++obeyed_;
                          },
                          [this](StoreReplies& replies) { take_replies(replies); },
                          [this](RecoveredFacts& facts) { recover(facts); },
                          [this](broker::WallTime& wall) { core_.wall_time(std::move(wall)); },
                          [this](Command command) {
                            // Says that all mail before it has been worked off.
                            if (command == Command::Answer && mail_taken_ < mail_in_.size()) {
                              posts_held_.emplace_back(command);
                              return;
                            }
                            obey(command);
                            ++obeyed_;
                          }},
               post);
  }
  posts.clear();
  if (mail_taken_ == mail_in_.size()) posts.swap(posts_held_);
  for (const Post& post : posts) {
    obey(std::get<Command>(post));
    ++obeyed_;
  }
  posts.clear();
}

void Shard::take_replies(StoreReplies& replies) {
  now_ = io::monotonic_now();
  for (broker::StoreReply& reply : replies) {
    std::visit(Overloaded{[this](broker::Stored& stored) { core_.stored(std::move(stored), now_); },
                          [this](broker::Loaded& loaded) { core_.loaded(std::move(loaded), now_); },
                          [this](broker::Swept& swept) { core_.swept(swept, now_); }},
               reply);
  }
}

void Shard::recover(RecoveredFacts& facts) {
  now_ = io::monotonic_now();
  for (broker::RecoveredFact& fact : facts) core_.recover(std::move(fact), now_);
  apply();
}

void Shard::adopt(Arrival arrival) {
  const PeerId id = peers_.emplace(std::move(arrival.peer));
  Peer& peer = peers_.at(id);
  arrival.handover.socket = arrival.handover.peer.socket = id.value();
  const auto added = reactor_.add(peer.fd(), id.value(), io::Interest::Read);
  now_ = io::monotonic_now();
  peer.connection = core_.adopted(std::move(arrival.handover), now_);
  if (!added) {
    core_.closed(peer.connection, broker::SocketEnd::Failed, std::nullopt, now_);
    ended_.push_back(id);
  }
}

void Shard::obey(Command command) {
  switch (command) {
    case Command::Alive:
    case Command::Answer: break;
    case Command::Recovered: core_.recovered(now_); break;
    case Command::StopAccepting:
      accepting_ = false;
      unwatch_listeners();
      break;
    case Command::BeginShutdown: core_.shut_down(0, now_); break;
    case Command::CloseConnections:
      closing_ = true;
      lingering_.hurry(kLingerAtStop, now_);
      break;
    case Command::CountUnsent: {
      std::size_t count = writable_.size();
      peers_.for_each([&](PeerId, const Peer& peer) { count += peer.blocked && !peer.broken ? 1 : 0; });
      unsent_count_.store(count, std::memory_order_release);
      break;
    }
    case Command::Exit: exit_ = true; break;
  }
}

}  // namespace vigil::server
