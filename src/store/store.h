// The port to what outlives the broker: shards hand over batches of changes (broker/change.h), answers come back later.
//
//   shard ── submit(batch) ──► Store ── Reply(shard, Stored | Loaded | Swept ...) ──► the shard's mail
//
// No call here waits for a disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "broker/change.h"
#include "broker/ids.h"

namespace vigil::store {

// What a batch that is answered has outlived already.
enum class Sync : std::uint8_t {
  Process,  // a SIGKILL of the broker: the kernel has it
  Power     // a power cut: the disk has it
};

struct Options {
  std::filesystem::path directory;
  Sync sync = Sync::Process;
  std::size_t cache_bytes = std::size_t{32} << 20U;  // of blocks read
  // The log is read up to the first damage and what stands behind it is given up. Otherwise a store whose log is
  // damaged before its end is not opened.
  bool give_up_behind_damage = false;
  std::size_t buffered_bytes = std::size_t{64} << 20U;  // changes that are in the log only, about
};

// What a store has to tell its operator.
enum class NoticeKind : std::uint8_t {
  WritingFails,   // said at once and then every ten seconds; nothing is answered meanwhile, and nothing is lost
  WritesAgain,    // all that waited is written
  RecordSkipped,  // a record on disk cannot be read; it is left where it is
  ReadingFails,   // messages cannot be read at present; they stay where they are, and it is tried again
};
using Notice = std::function<void(NoticeKind, std::string text)>;

// The answers for one shard.
using Reply = std::function<void(broker::ShardId, std::vector<broker::StoreReply>&&)>;

class Store {
 public:
  virtual ~Store() = default;
  // Any thread. Batches of one shard are written in the order in which they come.
  virtual void submit(broker::ShardId shard, broker::StoreBatch&& batch) = 0;
  // Any thread. Bytes of changes handed over and not written yet, about: what back-pressure looks at.
  virtual std::size_t backlog_bytes() const = 0;
  // Any thread. Those of them that wait for the disk alone, and not for another shard to commit a joint change: a shard
  // may stand still for these, as they go without its doing.
  virtual std::size_t unwritten_bytes() const = 0;
};

}  // namespace vigil::store
