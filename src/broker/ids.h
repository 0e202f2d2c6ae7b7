// Identities inside one process. All are values; a stale one finds nothing.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include "base/slot_map.h"

namespace vigil::broker {

struct ConnectionTag;
struct SessionTag;
struct PresenceTag;
using ConnectionId = base::SlotId<ConnectionTag>;  // of one shard
using SessionId = base::SlotId<SessionTag>;        // of one shard
using PresenceId = base::SlotId<PresenceTag>;      // of one shard

using ShardId = std::uint8_t;
inline constexpr unsigned kMaxShards = 64;

// The place of an accepted message among all others: an older position never overwrites a newer one. Opaque; ordered.
struct Position {
  std::uint64_t sequence = 0;
  ShardId shard = 0;
  auto operator<=>(const Position&) const = default;
};

struct PositionHash {
  std::size_t operator()(const Position& position) const {
    return static_cast<std::size_t>((position.sequence * 64 + position.shard) * 0x9E37'79B9'7F4A'7C15U);
  }
};

// Who published: a client id, by its hash (client_hash()), so that it is the same after a reconnect and a restart. The
// default is the broker itself. Two client ids with one hash would only be taken for each other by No Local.
struct Publisher {
  std::uint64_t client = 0;
  bool operator==(const Publisher&) const = default;
};

}  // namespace vigil::broker
