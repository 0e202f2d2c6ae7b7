// The world around the broker's core: N shards in virtual time, their sockets, mailboxes and wake-ups.
//
// It applies the effects of a turn in the order that effect.h gives, as the server does. Posting the mail of a turn
// takes (virtual) time unless the world is prompt: other shards' turns fall between. A mailbox is one queue a shard, so
// what was posted first is taken first. A stalled shard takes no turns; when it wakes, what waits in its sockets and
// its mailbox is processed before its timers.
//
// A durable world has a store (sim_store.h), which outlives the process: a crash ends all shards at once, at any moment
// between two events, also between two posts of one turn. What the sockets took is on its way to the clients. After a
// while a new process is built from what had been written, with as many shards or another number of them; it tells all
// its shards what each of them holds before anybody may connect.
//
// Deterministic: the same options and the same calls give the same run, and the same trace().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"
#include "broker/shard_core.h"
#include "sim/sim_network.h"
#include "sim/sim_store.h"

namespace vigil::sim {

using LinkId = std::uint32_t;

// The program at the other end of a link.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void on_bytes(LinkId link, base::Bytes bytes, base::Instant now) = 0;
  // The broker closed, or nothing: a silent link tells nobody.
  virtual void on_closed(LinkId link, base::Instant now) = 0;
};

// What the core did, as seen at its sockets, at the moment it did it. The oracle's and the log's eyes.
class Observer {
 public:
  virtual ~Observer() = default;
  // The core was given these bytes.
  virtual void on_read(LinkId, base::Bytes, base::Instant) {}
  // The core is about to decide whether a silent connection is dead. What arrives from here on came too late for it.
  virtual void on_judged(LinkId, base::Instant) {}
  // The socket took these bytes of the core's.
  virtual void on_write(LinkId, base::Bytes, base::Instant) {}
  // The core has these bytes for the socket, which may take fewer of them, or none.
  virtual void on_offer(LinkId, base::Bytes, base::Instant) {}
  // The core closed the link.
  virtual void on_close(LinkId, broker::DisconnectReason, base::Instant) {}
  // The core was told that the link ended.
  virtual void on_end(LinkId, broker::SocketEnd, base::Instant) {}
  // Bytes reached the broker's socket (they are not read yet).
  virtual void on_arrival(LinkId, base::Bytes, base::Instant) {}
  // All effects of a turn have been applied.
  virtual void on_turn(unsigned /*shard*/, base::Instant) {}
  // The broker's process has died. Whatever it decided before `stored_before` is in the store.
  virtual void on_crash(base::Instant /*stored_before*/, base::Instant) {}
  // A new one has read the store, and accepts connections from now on.
  virtual void on_restart(base::Instant) {}
};

struct WorldOptions {
  unsigned shards = 1;
  std::uint64_t seed = 1;
  broker::Limits limits;
  broker::KeepAlivePolicy keep_alive;
  std::vector<std::string> auth_methods;
  // Everything without delay, whole writes; otherwise wake-ups, posting and writes vary.
  bool prompt = false;
  // The store takes a few changes at a time: whoever sends more messages is put off.
  bool narrow = false;
  // There is a store.
  bool durable = false;
  // Writing a group takes at most so long, and so does the way of its answers. 0 in a prompt world.
  base::Duration store_delay{0};
  // Of so many percent of the loads a part cannot be read.
  unsigned load_failures = 0;
};

enum class Dies : std::uint8_t { Process, Machine };

class World {
 public:
  // A shard is never later than this to take the turn it owes, unless it is stalled.
  static constexpr base::Duration kMaxWakeUp = base::milliseconds(1);

  explicit World(WorldOptions options, Observer* observer = nullptr);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  base::Instant now() const { return now_; }
  const WorldOptions& options() const { return options_; }

  // --- clients
  // Opens a connection to `shard`. The peer lives longer than the world, or detaches.
  LinkId connect(Peer& peer, const LinkProfile& profile, unsigned shard);
  void send(LinkId link, base::Bytes bytes);
  // Without a DISCONNECT of MQTT: that is for the peer to send.
  void end(LinkId link, StreamEnd how);
  void silence(LinkId link);
  void set_reading(LinkId link, bool reading);
  void set_window(LinkId link, std::size_t bytes);
  void detach(LinkId link);

  // --- the broker
  // The shard takes no turn for this long.
  void stall(unsigned shard, base::Duration length);
  // In the shard's next turn. False if the client is not connected now.
  bool kick(std::string_view client_id);
  // Every shard, until nobody is connected.
  void shut_down();
  void reconfigure(const broker::Limits& limits, const broker::KeepAlivePolicy& keep_alive);
  // The process dies now, alone or with its machine, and is there again after `down`, with so many shards (0: as many
  // as before).
  void crash(base::Duration down, unsigned shards = 0, Dies dies = Dies::Process);
  // The wall clock is set forward, or back. The broker notices a second later.
  void set_wall(base::Duration by);
  bool down() const { return down_; }
  // The store writes nothing for this long.
  void stall_store(base::Duration length);
  // From now on all that is loaded can be read.
  void mend_loads() { store_.let_loads_fail(0, 0); }
  const SimStore& store() const { return store_; }
  // Messages that were dropped or expired, by all processes.
  std::uint64_t dropped() const;
  broker::ShardCore& core(unsigned shard) { return *shards_[shard].core; }
  const broker::ShardCore& core(unsigned shard) const { return *shards_[shard].core; }
  unsigned shards() const { return static_cast<unsigned>(shards_.size()); }
  std::size_t connections() const;
  std::size_t sessions() const;
  broker::Stats stats() const;
  // The broker's end of the link is open.
  bool open(LinkId link) const;
  // Nothing waits to be written to it.
  bool drained(LinkId link) const;
  // The length of all stalls of this shard that fall into the span.
  base::Duration stalled(unsigned shard, base::Instant from, base::Instant to) const;
  // Likewise of the store.
  base::Duration store_stalled(base::Instant from, base::Instant to) const { return overlap(store_stalls_, from, to); }
  unsigned shard_of(LinkId link) const { return links_[link].shard; }

  // --- time
  void at(base::Instant when, std::function<void()> what);
  void after(base::Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  // Runs everything up to and including that moment.
  void run_until(base::Instant until);
  void run_for(base::Duration length) { run_until(now_ + length); }
  // What is due now, without letting time pass.
  void run_now() { run_until(now_); }

  // A hash of all that passed the broker's sockets, and when.
  std::uint64_t trace() const { return trace_; }
  std::uint64_t events() const { return events_; }
  // A turn that never ends, an effect for a link that is not there: set once, with the first finding.
  const std::string& fault() const { return fault_; }

 private:
  enum class EventKind : std::uint8_t { Turn, LinkDue, Post, Call, StoreWrite, StoreReply };
  struct Event {
    base::Instant when;
    std::uint64_t sequence = 0;
    EventKind kind = EventKind::Call;
    std::uint64_t a = 0;
    std::uint64_t run = 0;  // of the process that it belongs to
    bool operator>(const Event& other) const {
      return when != other.when ? when > other.when : sequence > other.sequence;
    }
  };

  enum class Stage : std::uint8_t { Connecting, Open, Moving, Closed };
  struct LinkState {
    Link link;
    Peer* peer = nullptr;
    unsigned shard = 0;
    Stage stage = Stage::Connecting;
    broker::ConnectionId connection;
    bool writable = false;  // the window has opened
    bool blocked = false;   // bytes wait for the window
  };

  using Post = std::variant<broker::Mail, broker::HandOver, broker::StoreReply>;
  using Spans = std::vector<std::pair<base::Instant, base::Instant>>;
  struct ShardState {
    std::unique_ptr<broker::ShardCore> core;
    std::deque<Post> mailbox;
    std::vector<LinkId> ready;
    std::vector<LinkId> put_off;     // ready, and not read: what was read of them before waits
    std::vector<std::string> kicks;  // for the next turn
    std::unordered_map<std::uint64_t, LinkId> connections;
    broker::Effects pending;  // being applied
    std::deque<std::pair<unsigned, std::vector<broker::Mail>>> posts;
    bool busy = false;  // applying: its turn is not over
    bool turn_wanted = false;
    base::Instant turn_at = base::Instant::never();
    base::Instant stalled_until;
    base::Instant spinning_since;
    unsigned turns_now = 0;
  };

  void schedule(base::Instant when, EventKind kind, std::uint64_t a);
  void schedule_link(LinkId link, const std::vector<base::Instant>& arrivals);
  void dispatch(const Event& event);
  base::Duration jitter(base::Duration most);
  static base::Duration overlap(const Spans& spans, base::Instant from, base::Instant to);

  // Asks for a turn of the shard, soon.
  void wake(unsigned shard);
  void wake_at(unsigned shard, base::Instant when);
  void mark_ready(LinkId link);
  void turn(unsigned shard);
  void take_sockets(unsigned shard);
  void catch_up(unsigned shard);
  void take_mail(unsigned shard);
  void apply(unsigned shard);
  broker::ClockReading read_clocks() const;
  void look_at_clocks();
  void build_shards();
  void restart();
  void acquaint();
  void hand_over(unsigned shard);
  void begin_writing();
  void store_write();
  void store_reply();
  base::Instant stored_before() const;
  void post_next(unsigned shard);
  void finish(unsigned shard);
  void end_turn(unsigned shard);
  void apply_closes(unsigned shard, const broker::Effects& effects);
  void apply_handovers(unsigned shard, broker::Effects& effects);
  void answer_auth(unsigned shard, const broker::Effects& effects);
  void read_link(LinkId id, bool all);
  void write_link(LinkId id);
  void deliver(LinkId id);
  LinkState* find(unsigned shard, broker::ConnectionId connection, LinkId* id);
  void note(std::uint64_t kind, LinkId link, base::Bytes bytes);
  void fail(std::string what);

  WorldOptions options_;
  Observer* observer_;
  base::Random random_;
  base::Instant now_;
  std::uint64_t sequence_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> queue_;
  std::unordered_map<std::uint64_t, std::function<void()>> calls_;
  std::uint64_t next_call_ = 0;
  std::vector<ShardState> shards_;
  std::vector<Spans> stalls_;  // by shard, over all processes
  std::deque<LinkState> links_;
  SimStore store_;
  std::vector<SimStore::Reply> store_replies_;  // under way
  bool store_at_work_ = false;
  base::Instant store_stalled_until_;
  Spans store_stalls_;
  std::uint64_t run_ = 0;  // processes that have died
  std::optional<broker::StoreTime> time_;
  std::uint64_t boot_ = 1;  // starts of the machine
  base::Instant booted_;
  base::Duration wall_set_{0};
  bool down_ = false;
  std::uint64_t dropped_ = 0;  // by those
  std::uint64_t trace_ = 0xcbf29ce484222325ULL;
  std::uint64_t events_ = 0;
  std::string fault_;
};

}  // namespace vigil::sim
