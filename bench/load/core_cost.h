// The broker's core without sockets: fixed scenarios whose cost in instructions is the same each time, so that it can
// be counted and compared from one version to the next (bench/cost).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "broker/shard_core.h"

namespace vigil::bench {

// Some shards and the clients on them. What the shards ask for is done as the server would do it: mail goes to
// the other shards, outboxes are gathered and emptied. Nothing is read from sockets or written to them.
class Rig {
 public:
  explicit Rig(unsigned shards);

  // A client on the shard that its id belongs to.
  struct Client {
    unsigned shard = 0;
    broker::ConnectionId connection;
  };
  Client open(std::string_view client_id);
  void receive(const Client& from, std::string_view bytes) {
    cores_[from.shard]->received(from.connection, base::as_bytes(bytes), now_);
  }
  // Ends a turn on all shards: whatever follows from what was received, until nothing does.
  void settle();

  std::uint64_t bytes_out() const { return bytes_out_; }
  std::size_t connections() const;

 private:
  bool apply(unsigned shard);

  base::Instant now_;
  std::vector<std::unique_ptr<broker::ShardCore>> cores_;
  broker::Effects effects_;
  std::uint64_t bytes_out_ = 0;
};

// A scenario, prepared: everybody is connected and has been through a few rounds, so that no buffer is new.
class Work {
 public:
  virtual ~Work() = default;
  // What comes from clients was encoded before: nearly all of this is the core's.
  virtual void round() = 0;
  // Units (deliveries, pings, ...) in a round.
  virtual std::size_t each() const = 0;
  // Throws if the rounds so far did not bring about what they should.
  virtual void check() const = 0;
};

struct Scenario {
  std::string_view name;
  std::string_view unit;
};
std::vector<Scenario> scenarios();
// For so many rounds, on as many shards as its name says, or on these. Throws for a name that is not known.
std::unique_ptr<Work> prepare(std::string_view scenario, std::size_t rounds, unsigned shards = 0);

}  // namespace vigil::bench
