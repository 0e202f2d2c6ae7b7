// "Who": the subscriptions of one shard's sessions, found by topic name. Lives on its shard; not thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "mqtt/topic.h"
#include "topics/filter_trie.h"
#include "topics/share_group.h"
#include "topics/subscriber_list.h"

namespace vigil::topics {

class SubscriptionTree {
 public:
  enum class Added { New, Replaced };
  struct AddResult {
    Added added;
    bool first_of_filter;  // nobody held this filter (and group) before: an interest to report
  };
  // A subscriber's second subscription to the same filter (and group) replaces the first [MQTT-3.8.4-3].
  AddResult add(const mqtt::TopicFilter& filter, const Subscription& subscription);

  struct RemoveResult {
    bool removed;
    bool last_of_filter;  // nobody holds this filter (and group) any more
  };
  RemoveResult remove(const mqtt::TopicFilter& filter, SubscriberId subscriber);

  // Valid until the next add or remove.
  const Subscription* find(const mqtt::TopicFilter& filter, SubscriberId subscriber) const;
  // Valid until the group's last member is removed.
  ShareGroup* find_group(std::string_view group, std::string_view filter);

  // Everything that matches a topic name. No span is empty. Valid until the next add, remove or match.
  struct Matches {
    std::span<const std::span<const Subscription>> plain;  // one span a matching filter
    std::span<ShareGroup* const> groups;
  };
  Matches match(std::string_view topic);

  // Subscriptions held, those of share groups included.
  std::size_t size() const { return size_; }
  // Distinct filters; a share group is one of its own.
  std::size_t filters() const { return plain_filters_ + groups_.size(); }

 private:
  // Of a filter: those who hold it for themselves. Its share groups are in the table.
  mutable FilterTrie<SubscriberList> filters_;
  GroupTable<ShareGroup> groups_;
  std::size_t size_ = 0;
  std::size_t plain_filters_ = 0;
  // What match returned last.
  std::vector<std::span<const Subscription>> matched_;
  std::vector<ShareGroup*> matched_groups_;
};

}  // namespace vigil::topics
