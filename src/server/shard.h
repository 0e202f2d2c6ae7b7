// One thread of the broker: a core, a reactor, the sockets of its clients, and the loop between them.
//
//   wait ──► read sockets ──► take mail ──► advance the core's time ──► apply effects ──► wait
//
// All but the functions marked "any thread" belong to the shard's own thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/mailbox.h"
#include "base/slot_map.h"
#include "broker/shard_core.h"
#include "config/config.h"
#include "io/reactor.h"
#include "io/socket.h"
#include "log/log.h"
#include "net/lingering.h"
#include "net/listening.h"
#include "net/seats.h"
#include "server/peer.h"
#include "store/store.h"

namespace vigil::server {

class Shard;

// What all shards share. Owned by the ShardSet, which outlives the shards' threads.
struct ShardContext {
  net::Seats seats;
  log::Log& log;
  store::Store* store = nullptr;               // null: nothing is kept on disk
  std::int64_t boot_began_ms = 0;              // store time when the boot clock said 0
  std::vector<std::unique_ptr<Shard>> shards;  // last, so first to go: their connections give their seats back
};

// A connection on its way to its home shard.
struct Arrival {
  Peer peer;
  broker::HandOver handover;
};
// What a shard needs of the configuration; limits are already its share.
struct ShardConfig {
  broker::Limits limits;
  broker::KeepAlivePolicy keep_alive;
  std::vector<net::ListenerSettings> listeners;
  std::uint32_t max_connections = 0;  // of the process
  bool allow_anonymous_remote = false;
  std::size_t max_store_backlog = 0;  // bytes that wait for the disk before clients are slowed down
};
using Listeners = std::shared_ptr<const std::vector<net::Listening>>;
enum class Command : std::uint8_t {
  Alive,      // nothing: shows that the loop turns
  Answer,     // nothing: shows that all mail posted before has been worked off
  Recovered,  // all shards have back what was stored
  StopAccepting,
  BeginShutdown,     // wills are published
  CloseConnections,  // DISCONNECT to everybody
  CountUnsent,       // unsent() is brought up to date
  Exit,
};
using StoreReplies = std::vector<broker::StoreReply>;
using RecoveredFacts = std::vector<broker::RecoveredFact>;
// Listeners: where clients come in from now on. WallTime: the wall clock was set.
using Post = std::variant<Arrival, std::shared_ptr<const ShardConfig>, Listeners, StoreReplies, RecoveredFacts,
                          broker::WallTime, Command>;

class Shard {
 public:
  Shard(ShardContext& context, const broker::ShardSetup& setup, std::shared_ptr<const ShardConfig> config,
        io::Reactor reactor);

  // Until Command::Exit.
  void run();

  // --- any thread ---
  void post(Post post);
  // Moves the mail in; true if wake() must follow.
  [[nodiscard]] bool post_mail(std::vector<broker::Mail>& mail) { return mail_.push(mail); }
  void wake() { reactor_.notify(); }
  std::size_t mail_waiting() const { return mail_.size() + mail_left_.load(std::memory_order_relaxed); }
  // Commands and configurations carried out, with all their effects.
  std::uint64_t answered() const { return answered_.load(std::memory_order_acquire); }
  // Connections with output that waits for their socket, as of the last CountUnsent.
  std::size_t unsent() const { return unsent_count_.load(std::memory_order_acquire); }
  // Connections that were ended and are read on, as of the last turn.
  std::size_t lingering() const { return lingering_count_.load(std::memory_order_acquire); }
  // Connections, as of the last turn.
  std::size_t open_connections() const { return open_connections_.load(std::memory_order_acquire); }

 private:
  // So many above the bound on connections still hear, in their CONNACK, why they are refused; what comes beyond is
  // closed unheard.
  static constexpr std::uint32_t kRefusedPolitely = 64;
  // What connections may occupy of the process's open files: those of clients, of refused ones, and of ended ones.
  std::uint64_t room_for_files() const { return std::uint64_t{config_->max_connections} + kRefusedPolitely; }

  void turn();
  bool more_to_do() const;
  bool congested() const;
  bool store_is_full() const;
  void allow_intake();
  void catch_up();
  void sync_store_time();
  broker::LogLevel lowest_logged() const;

  // Input.
  void read_sockets();
  bool make_room();
  void look_again();
  bool serve(PeerId id, const io::Ready& event);
  std::size_t outgoing_work();
  bool is_held_back(PeerId id);
  base::Duration hold_back_for() const;
  bool read_once(PeerId id, Peer& peer);
  void take_mail();
  void take_posts(std::vector<Post>& posts);
  void take_replies(StoreReplies& replies);
  void recover(RecoveredFacts& facts);
  void adopt(Arrival arrival);
  void obey(Command command);

  // Listening sockets; shard_accept.cc.
  void watch_listeners();
  void unwatch_listeners();
  void accept_from(std::size_t listening);
  void admit(io::Accepted accepted, std::uint16_t listener);
  void make_room_for_clients();
  void pause_accepting(const std::error_code& why);

  // Effects; shard_effects.cc.
  void apply();
  void apply_round();
  void post_effects(std::vector<std::vector<broker::Mail>>& mail);
  void close_peers();
  struct Farewell {
    Peer::Goodbye goodbye;
    base::Bytes unsent;  // of the last bytes
    net::Seats::Lingerer place;
  };
  void linger(PeerId id, Peer& peer, Farewell farewell);
  void tend_lingering();
  void hand_over();
  void set_tcp_timeouts();
  void send();
  void send_to(broker::ConnectionId id);
  void relax_timeouts();
  void judge_suspects();
  void drain_old_connections();
  void answer_auth();
  void write_log();
  void erase_ended();
  void forget(PeerId id);

  PeerId peer_of(broker::ConnectionId id) const { return PeerId::from_value(core_.socket(id)); }

  ShardContext& context_;
  std::shared_ptr<const ShardConfig> config_;
  Listeners listening_;
  const broker::ShardId id_;
  io::Reactor reactor_;
  broker::ShardCore core_;
  base::Instant now_;

  base::SlotMap<Peer, PeerTag> peers_;
  net::Lingering lingering_;  // under the tokens of the peers that they were
  // Who gives others more to do than they can follow is not read before then.
  boost::unordered_flat_map<std::uint64_t, base::Instant> held_back_;
  std::vector<io::Ready> events_;
  std::size_t step_bytes_ = 0;  // read since effects were applied for room
  // The store's backlog is as large as it may become: messages and connections wait.
  bool full_ = false;
  bool turn_is_full_ = false;  // clients' messages have brought about enough in this turn
  base::Instant catch_up_again_;
  std::vector<PeerId> broken_;  // to be read to the end, as writing has failed
  std::vector<PeerId> reading_;
  std::vector<PeerId> ended_;                   // the core knows; their last bytes may still go
  std::vector<broker::ConnectionId> writable_;  // to be written again
  std::vector<broker::ConnectionId> writing_;
  struct Hastened {
    base::Instant due;
    PeerId peer;
  };
  std::deque<Hastened> hastened_;  // whose TCP timeout is the one for data in flight; by time
  broker::Effects effects_;        // being applied
  std::vector<log::LogField> log_fields_;
  std::uint64_t wake_ = 0;  // a bit for each shard that sleeps and got mail
  std::vector<std::uint8_t> scratch_;

  base::Mailbox<broker::Mail> mail_;
  base::Mailbox<Post> posts_;
  std::vector<broker::Mail> mail_in_;
  std::size_t mail_taken_ = 0;              // of mail_in_
  std::atomic<std::size_t> mail_left_ = 0;  // of mail_in_
  std::vector<Post> posts_in_;
  std::vector<Post> posts_held_;
  std::vector<Post> outgoing_;

  bool accepting_ = false;
  base::Instant accept_again_ = base::Instant::never();  // when accepting was paused
  base::Instant complain_again_;                         // about accepting, at the earliest
  bool unapplied_ = false;                               // effects are left over from the last turn
  bool closing_ = false;
  bool exit_ = false;
  base::Instant time_synced_;
  std::uint64_t obeyed_ = 0;
  std::atomic<std::uint64_t> answered_ = 0;
  std::atomic<std::size_t> unsent_count_ = 0;
  std::atomic<std::size_t> open_connections_ = 0;
  std::atomic<std::size_t> lingering_count_ = 0;
};

}  // namespace vigil::server
