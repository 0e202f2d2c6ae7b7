#include "broker/system_topics.h"

#include <algorithm>
#include <utility>

namespace vigil::broker {

void SystemTopics::switched(bool on) {
  ++switches_;
  if (on) return;
  texts_.publish_all_again();
  wait_for_the_time();
}

SystemTopics::Texts SystemTopics::due(const Here& here) {
  // Somebody is late.
  if (std::exchange(due_, true)) return update(here);
  return told(shard_, here);
}

SystemTopics::Texts SystemTopics::told(ShardId by, const StatsMail& mail, const Here& here) {
  shards_[by].stats = *mail.stats;
  // One from before the figures were switched off is too old for when they are switched on.
  if (mail.switches < switches_) return {};
  return told(by, here);
}

SystemTopics::Texts SystemTopics::told(ShardId by, const Here& here) {
  shards_[by].told = true;
  if (!due_ || !std::ranges::all_of(shards_, &OfShard::told)) return {};
  wait_for_the_time();
  return update(here);
}

void SystemTopics::wait_for_the_time() {
  due_ = false;
  for (OfShard& shard : shards_) shard.told = false;
}

SystemTopics::Texts SystemTopics::update(const Here& here) {
  shards_[shard_].stats = here.stats;
  Stats sum;
  for (const OfShard& shard : shards_) sum.add(shard.stats);
  return texts_.update(sum, version_, here.uptime);
}

}  // namespace vigil::broker
