#include "topics/subscription_tree.h"

namespace vigil::topics {

SubscriptionTree::AddResult SubscriptionTree::add(const mqtt::TopicFilter& filter, const Subscription& subscription) {
  SubscriberList& plain = filters_.insert(filter.filter).value;
  bool is_new = false;
  bool is_first = false;
  if (filter.shared()) {
    const GroupName name{filter.group, filter.filter};
    ShareGroup* group = groups_.find(name);
    is_first = group == nullptr;
    if (is_first) group = &groups_.add(name, &plain);
    is_new = group->add(subscription);
  } else {
    is_first = plain.empty();
    if (is_first) ++plain_filters_;
    is_new = plain.add(subscription);
  }
  if (is_new) ++size_;
  return {is_new ? Added::New : Added::Replaced, is_first};
}

SubscriptionTree::RemoveResult SubscriptionTree::remove(const mqtt::TopicFilter& filter, SubscriberId subscriber) {
  auto* node = filters_.find(filter.filter);
  if (node == nullptr) return {.removed = false, .last_of_filter = false};
  SubscriberList& plain = node->value;
  bool is_last = false;
  if (filter.shared()) {
    ShareGroup* group = groups_.find({filter.group, filter.filter});
    if (group == nullptr || !group->remove(subscriber)) return {.removed = false, .last_of_filter = false};
    is_last = group->size() == 0;
    if (is_last) groups_.erase(*group, &plain);
  } else {
    const auto at = plain.position(subscriber);
    if (!at) return {.removed = false, .last_of_filter = false};
    plain.remove_at(*at);
    is_last = plain.empty();
    if (is_last) --plain_filters_;
  }
  --size_;
  if (plain.empty() && groups_.of(&plain).empty()) filters_.erase(*node);
  return {.removed = true, .last_of_filter = is_last};
}

const Subscription* SubscriptionTree::find(const mqtt::TopicFilter& filter, SubscriberId subscriber) const {
  if (filter.shared()) {
    const ShareGroup* group = groups_.find({filter.group, filter.filter});
    return group != nullptr ? group->find(subscriber) : nullptr;
  }
  const auto* node = filters_.find(filter.filter);
  return node != nullptr ? node->value.find(subscriber) : nullptr;
}

ShareGroup* SubscriptionTree::find_group(std::string_view group, std::string_view filter) {
  return groups_.find({group, filter});
}

SubscriptionTree::Matches SubscriptionTree::match(std::string_view topic) {
  matched_.clear();
  matched_groups_.clear();
  for (const SubscriberList* plain : filters_.match(topic)) {
    if (!plain->empty()) matched_.push_back(plain->all());
    const auto groups = groups_.of(plain);
    matched_groups_.insert(matched_groups_.end(), groups.begin(), groups.end());
  }
  return {matched_, matched_groups_};
}

}  // namespace vigil::topics
