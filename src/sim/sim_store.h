// The store's twin in memory: keeps what a broker process hands over, over the deaths of the process (broker/change.h
// is the contract).
//
// It has no time of its own: the world says when a group of batches is written. A group holds all that waits then, and
// is written as a whole. What has not been written when the process dies is lost, and so are the parts of joint changes
// whose commit has not been written.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "broker/change.h"
#include "broker/store_time.h"

namespace vigil::sim {

class SimStore {
 public:
  struct Reply {
    unsigned shard = 0;
    broker::StoreReply reply;
  };

  // --- a process
  void submit(unsigned shard, broker::StoreBatch&& batch, base::Instant now);
  // Something waits to be written.
  bool busy() const { return !waiting_.empty(); }
  // Writes all that waits; the answers, in the order in which they are to be given. Store time has got to `store_ms`.
  std::vector<Reply> write(base::Instant now, std::int64_t store_ms);
  // Of so many percent of the loads a part cannot be read.
  void let_loads_fail(unsigned percent, std::uint64_t seed) {
    load_failures_ = percent;
    random_ = base::Random(seed);
  }
  // The process dies.
  void crash();
  // Everything that was handed over before this moment is written: the oldest batch that waits, the oldest part that is
  // held; never if there is none.
  base::Instant unwritten_since() const;

  // --- the start of the next one
  // Store time, as earlier processes left it.
  const broker::KeptTime& kept_time() const { return time_; }
  void keep_time(const broker::KeptTime& time) { time_ = time; }
  // Store time of the new process is ahead of its monotonic clock by this much: what is stored keeps its store time.
  void set_ahead(base::Duration ahead);
  // Presence, then retained messages, then sessions in the order of their keys. What has expired by then is left out.
  void recover(base::Instant now, const std::function<void(broker::RecoveredFact&&)>& give);
  // Above all positions that are stored.
  std::uint64_t next_position() const { return highest_position_ + 1; }

  // --- for the oracle
  std::size_t sessions() const { return sessions_.size(); }
  std::size_t messages() const;    // in queues
  std::size_t packet_ids() const;  // that are stored
  // What an operator would call garbage: parts of sessions that are not there, parts held for no joint. Empty: none.
  std::string leftovers() const;
  // A batch whose number is not the next of its shard, or a change that cannot be: the first one found.
  const std::string& fault() const { return fault_; }

 private:
  struct Entry {
    broker::MessagePtr message;
    broker::Terms terms;
    bool released = false;
  };
  struct Stored {
    bool exists = false;  // its PutSession has been written
    broker::PutSession record;
    std::map<std::uint32_t, broker::PutSubscription> subscriptions;
    std::map<std::uint64_t, Entry> queue;
    std::set<mqtt::PacketId> unreleased;
    std::map<std::uint64_t, mqtt::PacketId> packet_ids;  // by number
  };
  struct Batch {
    unsigned shard = 0;
    broker::StoreBatch batch;
    base::Instant handed_over;
  };
  struct Part {
    unsigned shard = 0;
    std::vector<broker::Change> changes;
    base::Instant handed_over;
  };

  void take(Batch& from, base::Instant now, std::map<unsigned, broker::Stored>& stored, std::vector<Reply>& reads);
  void change(broker::Change&& change);
  Stored* part_of(broker::SessionKey key);
  broker::Loaded load(const broker::LoadRequest& request);
  broker::Swept sweep(const broker::SweepRequest& request, base::Instant now);
  void saw(broker::Position position);
  void fail(std::string what);

  // What lasts.
  std::map<broker::SessionKey, Stored> sessions_;
  std::map<std::string, broker::MessagePtr> retained_;
  std::map<std::string, std::vector<std::uint8_t>> presence_;
  std::uint64_t highest_position_ = 0;
  broker::KeptTime time_;
  std::optional<base::Duration> ahead_;
  std::set<broker::SessionKey> ended_;

  // What dies with the process.
  std::deque<Batch> waiting_;
  std::map<broker::JointId, std::vector<Part>> held_;
  std::map<unsigned, std::uint64_t> last_number_;  // by shard

  std::string fault_;
  unsigned load_failures_ = 0;
  base::Random random_{1};
};

}  // namespace vigil::sim
