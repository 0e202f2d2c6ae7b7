// Decides when the broker's figures are published under $SYS/broker, and which of them. Publishes nothing itself: the
// owner (Shard) publishes what it is given, as retained messages. (The presence of clients, $SYS/clients, is in
// presence_topics.cc.)
//
// Each shard has one. At the same time on all shards, every `sys.interval_s`, the shards send their counters to shard 0
// with the number from switches(). Shard 0 calls due() then, and told() for each that arrives. It publishes when all
// shards have told, so that the numbers are of one moment:
//
//   waits for the time ──due()──► waits for the others ──the last told()──► publishes, waits for the time
//                                       └──due() again──► publishes, waits for the others
//
// A shard that has not told by the next time is late, and counts with what it told before.
//
// The figures can be switched off and on while the broker runs. Counters of a shard that were sent before the last
// switch are not those of this period: they do not count as told.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "broker/figures.h"
#include "broker/ids.h"
#include "broker/mail.h"
#include "broker/stats.h"

namespace vigil::broker {

class SystemTopics {
 public:
  using Texts = std::vector<FigureTexts::Text>;
  // This shard, at the time of a call.
  struct Here {
    const Stats& stats;
    base::Duration uptime;
  };

  SystemTopics(ShardId shard, unsigned shards, std::string version)
      : shard_(shard), version_(std::move(version)), shards_(shards) {}

  // The figures were switched off or on. (Off: the owner deletes what is retained of them on its shard.)
  void switched(bool on);
  // How often that was.
  std::uint32_t switches() const { return switches_; }

  // --- shard 0. The result is to be published now: the figures that have changed since the last one.

  // It is time to publish. REQUIRES: the figures are switched on.
  Texts due(const Here& here);
  // Another shard has told its counters.
  Texts told(ShardId by, const StatsMail& mail, const Here& here);

 private:
  struct OfShard {
    Stats stats;  // the last that it told
    bool told = false;
  };
  Texts told(ShardId by, const Here& here);
  void wait_for_the_time();
  Texts update(const Here& here);

  ShardId shard_;
  std::string version_;
  std::uint32_t switches_ = 0;
  bool due_ = false;  // to be published when all have told
  std::vector<OfShard> shards_;
  FigureTexts texts_;
};

}  // namespace vigil::broker
