#include "server/shard_set.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <numeric>
#include <system_error>
#include <utility>

#include "io/reactor.h"

namespace vigil::server {

base::Result<std::unique_ptr<ShardSet>, std::string> ShardSet::create(const config::Config& config,
                                                                      const NodeSetup& node, unsigned shards,
                                                                      log::Log& log) {
  std::unique_ptr<ShardSet> set(new ShardSet(config.listeners.size(), node, log));
  set->count_ = shards;
  set->recovered_.resize(shards);
  const auto shared = set->shard_config(config, node.max_connections);
  for (unsigned i = 0; i < shards; ++i) {
    io::Result<io::Reactor> reactor = io::Reactor::create();
    if (!reactor) {
      return base::Err(fmt::format(
          "Cannot start shard {} of {}: {}. Allow more open files (LimitNOFILE= in the systemd unit, or `ulimit -n` "
          "before the start), or set fewer shards.",
          i + 1, shards, reactor.error().message()));
    }
    broker::ShardSetup setup;
    setup.id = static_cast<broker::ShardId>(i);
    setup.shards = shards;
    setup.node_id = node.node_id;
    setup.version = node.version;
    setup.incarnation = node.incarnation;
    setup.seed = node.incarnation;
    setup.limits = shared->limits;
    setup.keep_alive = shared->keep_alive;
    setup.durable = node.store != nullptr;
    setup.first_position = node.first_position;
    setup.wall = node.wall;
    set->context_.shards.push_back(
        std::make_unique<Shard>(set->context_, std::move(setup), shared, std::move(*reactor)));
  }
  return set;
}

ShardSet::~ShardSet() { join(); }

base::Result<void, std::string> ShardSet::start() {
  threads_.reserve(context_.shards.size());
  for (std::size_t i = 0; i < context_.shards.size(); ++i) {
    try {
      threads_.emplace_back([shard = context_.shards[i].get()] { shard->run(); });
    } catch (const std::system_error& error) {
      return base::Err(fmt::format(
          "Cannot start thread {} of {}: {}. Allow more tasks (TasksMax= in the systemd unit, or `ulimit -u` before "
          "the start), or set fewer shards.",
          i + 1, context_.shards.size(), error.code().message()));
    }
    // For `top -H` and debuggers only.
    static_cast<void>(pthread_setname_np(threads_.back().native_handle(), fmt::format("shard-{}", i).c_str()));
  }
  return {};
}

void ShardSet::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::shared_ptr<const ShardConfig> ShardSet::shard_config(const config::Config& config,
                                                          std::uint32_t max_connections) const {
  auto shared = std::make_shared<ShardConfig>();
  shared->limits = config.limits;
  shared->limits.max_connections = max_connections;
  // Rounded up: a shard with none could accept nobody.
  if (config.limits.max_connections_per_s > 0) {
    shared->limits.max_connections_per_s = (config.limits.max_connections_per_s - 1) / count_ + 1;
  }
  shared->keep_alive = config.keep_alive;
  shared->listeners = config.listeners;
  shared->max_connections = max_connections;
  shared->allow_anonymous_remote = config.allow_anonymous_remote;
  shared->max_store_backlog = config.store.max_backlog_bytes;
  return shared;
}

void ShardSet::listen(std::vector<net::Listening> listening) {
  listening_ = std::make_shared<const std::vector<net::Listening>>(std::move(listening));
  for (const auto& shard : context_.shards) shard->post(listening_);
  ++sent_;
}

void ShardSet::recover(broker::RecoveredFact&& fact) {
  if (const auto* retained = std::get_if<broker::RecoveredRetained>(&fact)) {
    for (std::size_t i = 0; i < size(); ++i) give(i, broker::RecoveredRetained(*retained));
    return;
  }
  const auto* session = std::get_if<broker::RecoveredSession>(&fact);
  const std::string& client_id =
      session != nullptr ? session->session.client_id : std::get<broker::RecoveredPresence>(fact).client_id;
  give(broker::ShardCore::home_of(client_id, count_), std::move(fact));
}

void ShardSet::give(std::size_t shard, broker::RecoveredFact&& fact) {
  constexpr std::size_t kTogether = 256;
  recovered_[shard].push_back(std::move(fact));
  if (recovered_[shard].size() >= kTogether) context_.shards[shard]->post(std::exchange(recovered_[shard], {}));
}

void ShardSet::flush_recovered() {
  for (std::size_t i = 0; i < size(); ++i) context_.shards[i]->post(std::exchange(recovered_[i], {}));
}

void ShardSet::reply(broker::ShardId shard, std::vector<broker::StoreReply>&& replies) {
  context_.shards[shard]->post(std::move(replies));
}

void ShardSet::wall_time(const broker::WallTime& wall) {
  for (const auto& shard : context_.shards) shard->post(wall);
}

void ShardSet::reconfigure(const config::Config& config, std::uint32_t max_connections) {
  const auto shared = shard_config(config, max_connections);
  for (const auto& shard : context_.shards) shard->post(shared);
  ++sent_;
}

void ShardSet::command(Command command) {
  for (const auto& shard : context_.shards) shard->post(command);
  ++sent_;
}

bool ShardSet::settled() const {
  return std::ranges::all_of(context_.shards, [this](const auto& shard) { return shard->answered() == sent_; });
}

std::size_t ShardSet::unsent() const {
  return std::accumulate(context_.shards.begin(), context_.shards.end(), std::size_t{0},
                         [](std::size_t sum, const auto& shard) { return sum + shard->unsent(); });
}

std::size_t ShardSet::lingering() const {
  return std::accumulate(context_.shards.begin(), context_.shards.end(), std::size_t{0},
                         [](std::size_t sum, const auto& shard) { return sum + shard->lingering(); });
}

std::size_t ShardSet::open_connections() const {
  return std::accumulate(context_.shards.begin(), context_.shards.end(), std::size_t{0},
                         [](std::size_t sum, const auto& shard) { return sum + shard->open_connections(); });
}

}  // namespace vigil::server
