#include "broker/retained_messages.h"

#include <utility>
#include <vector>

#include "broker/access.h"

namespace vigil::broker {

RetainedMessages::Answer RetainedMessages::keep(const MessagePtr& message, base::Instant now) {
  const std::string_view topic = message->topic();
  Entry* entry = tree_.find(topic);
  if (entry != nullptr && entry->position > message->position()) return {.what = What::Older};
  const bool was_there = entry != nullptr && entry->message;
  const bool empty = message->payload().empty();
  // What does not fit does not stay, and what it replaces is no longer true [MQTT-3.3.1-5].
  if (!empty && fits(*message, was_there ? entry : nullptr)) {
    put(entry, message);
    return {.what = What::Kept, .was_there = was_there};
  }
  const Answer answer{.what = empty ? What::Deleted : What::DidNotFit, .was_there = was_there};
  if (entry != nullptr) clear(*entry);
  if (shards_ == 1 || tombstones_ >= kMostTombstones || tombstone_bytes_ + topic.size() > kMostTombstoneBytes) {
    if (entry != nullptr) tree_.erase(topic);
    return answer;
  }
  if (entry == nullptr) entry = &tree_.set(topic, {});
  entry->position = message->position();
  ++tombstones_;
  tombstone_bytes_ += entry->tombstone = topic.size();
  arm(*entry, topic, now + kTombstoneLife);
  return answer;
}

bool RetainedMessages::fits(const Message& message, const Entry* replaced) const {
  if (is_brokers_own(message.topic())) return true;
  if (replaced == nullptr && count_ >= bounds_.messages) return false;
  const std::size_t freed = replaced != nullptr ? replaced->message->size() : 0;
  return bytes_ - freed + message.size() <= bounds_.bytes;
}

// `entry` is that of the message's topic, or null if there is none.
void RetainedMessages::put(Entry* entry, const MessagePtr& message) {
  const std::string_view topic = message->topic();
  if (entry != nullptr) {
    clear(*entry);
  } else {
    entry = &tree_.set(topic, {});
  }
  entry->message = message;
  entry->position = message->position();
  if (!is_brokers_own(topic)) {
    ++count_;
    bytes_ += message->size();
  }
  if (!message->expires().is_never()) arm(*entry, topic, message->expires());
}

void RetainedMessages::arm(Entry& entry, std::string_view topic, base::Instant due) {
  entry.timer_slot = timers_.emplace(topic);
  entry.timer = wheel_.arm(due, {timer_kind_, entry.timer_slot.value()});
}

// Undoes all that the entry stands for. The entry itself stays in the tree.
void RetainedMessages::clear(Entry& entry) {
  if (entry.timer) {
    wheel_.cancel(entry.timer);
    timers_.erase(entry.timer_slot);
  }
  if (entry.message && !is_brokers_own(entry.message->topic())) {
    --count_;
    bytes_ -= entry.message->size();
  }
  if (entry.tombstone > 0) {
    --tombstones_;
    tombstone_bytes_ -= entry.tombstone;
  }
  entry = {};
}

std::optional<std::string> RetainedMessages::expired(std::uint64_t timer_id, base::Instant now) {
  const auto id = base::SlotId<TimerTag>::from_value(timer_id);
  std::string* named = timers_.find(id);
  if (named == nullptr) return std::nullopt;
  std::string topic = std::move(*named);
  timers_.erase(id);
  Entry* entry = tree_.find(topic);
  if (entry == nullptr || entry->timer_slot != id) return std::nullopt;
  const bool was_there = static_cast<bool>(entry->message);
  if (was_there && !entry->message->expired(now)) return std::nullopt;
  entry->timer = {};  // it has fired
  clear(*entry);
  tree_.erase(topic);
  if (!was_there) return std::nullopt;
  return topic;
}

void RetainedMessages::forget_brokers_own() {
  std::vector<std::string> topics;
  tree_.for_each_match("$SYS/#", [&](std::string_view topic, Entry&) {
    if (is_brokers_own(topic)) topics.emplace_back(topic);
  });
  for (const std::string& topic : topics) {
    clear(*tree_.find(topic));
    tree_.erase(topic);
  }
}

bool RetainedMessages::may_log_full(base::Instant now) {
  if (now - full_logged_ < kFullLoggedEvery) return false;
  full_logged_ = now;
  return true;
}

}  // namespace vigil::broker
