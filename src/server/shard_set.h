// All shards of the broker and their threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "log/log.h"
#include "net/listening.h"
#include "server/shard.h"

namespace vigil::server {

// Who this broker is, and how far it may go.
struct NodeSetup {
  std::string node_id;
  std::string version;
  std::uint64_t incarnation = 1;
  std::uint32_t max_connections = 0;
  std::uint64_t first_position = 0;  // of what is published from now on
  store::Store* store = nullptr;     // null: nothing outlives the process
  std::int64_t boot_began_ms = 0;    // store time when the boot clock said 0
  broker::WallTime wall;             // how times are told to people
};

class ShardSet {
 public:
  // Starts nothing yet. Fails with a plain sentence where the system refuses what a shard needs.
  static base::Result<std::unique_ptr<ShardSet>, std::string> create(const config::Config& config,
                                                                     const NodeSetup& node, unsigned shards,
                                                                     log::Log& log);
  // Joins the threads; they must have been told to exit.
  ~ShardSet();
  ShardSet(const ShardSet&) = delete;
  ShardSet& operator=(const ShardSet&) = delete;

  // One thread a shard. Signals must be blocked in the caller, so that no shard is interrupted by them. Fails with a
  // plain sentence where the system allows no more threads; those that did start must be told to exit.
  base::Result<void, std::string> start();

  // Clients may come from now on.
  void listen(std::vector<net::Listening> listening);
  // Before that: what the store held, for whom it concerns. Kept back until there is a good deal; flush() ends it.
  void recover(broker::RecoveredFact&& fact);
  void flush_recovered();
  // Any thread: what the store answered.
  void reply(broker::ShardId shard, std::vector<broker::StoreReply>&& replies);
  // The wall clock was set: how times are told from now on.
  void wall_time(const broker::WallTime& wall);
  void reconfigure(const config::Config& config, std::uint32_t max_connections);
  void command(Command command);
  // Every shard has carried out everything it was sent.
  bool settled() const;

  std::span<const net::Listening> listening() const { return *listening_; }
  std::size_t size() const { return context_.shards.size(); }
  std::size_t unsent() const;
  std::size_t open_connections() const;
  std::size_t lingering() const;
  // The threads have ended.
  void join();

 private:
  ShardSet(std::size_t listeners, const NodeSetup& node, log::Log& log)
      : context_{.seats = net::Seats(listeners),
                 .log = log,
                 .store = node.store,
                 .boot_began_ms = node.boot_began_ms,
                 .shards = {}} {}
  std::shared_ptr<const ShardConfig> shard_config(const config::Config& config, std::uint32_t max_connections) const;

  void give(std::size_t shard, broker::RecoveredFact&& fact);

  ShardContext context_;
  Listeners listening_ = std::make_shared<const std::vector<net::Listening>>();
  std::vector<RecoveredFacts> recovered_;  // by shard, not handed over yet
  std::vector<std::thread> threads_;
  unsigned count_ = 1;
  std::uint64_t sent_ = 0;  // posts to each shard that it answers
};

}  // namespace vigil::server
