#include "topics/subscriber_list.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vigil::topics {

std::optional<std::size_t> SubscriberList::position(SubscriberId subscriber) const {
  if (index_) {
    const auto found = index_->find(subscriber);
    return found == index_->end() ? std::nullopt : std::optional<std::size_t>(found->second);
  }
  const auto found =
      std::ranges::find_if(items_, [subscriber](const Subscription& item) { return item.subscriber == subscriber; });
  return found == items_.end() ? std::nullopt
                               : std::optional(static_cast<std::size_t>(std::distance(items_.begin(), found)));
}

const Subscription* SubscriberList::find(SubscriberId subscriber) const {
  const auto at = position(subscriber);
  return at ? &items_[*at] : nullptr;
}

bool SubscriberList::add(const Subscription& subscription) {
  if (const auto at = position(subscription.subscriber)) {
    items_[*at] = subscription;
    return false;
  }
  items_.push_back(subscription);
  if (index_) {
    index_->emplace(subscription.subscriber, static_cast<std::uint32_t>(items_.size() - 1));
  } else if (items_.size() >= kIndexFrom) {
    index_ = std::make_unique<Index>();
    for (std::size_t at = 0; at < items_.size(); ++at) {
      index_->emplace(items_[at].subscriber, static_cast<std::uint32_t>(at));
    }
  }
  return true;
}

void SubscriberList::remove_at(std::size_t position) {
  CHECK(position < items_.size());
  swap(position, items_.size() - 1);
  if (index_) index_->erase(items_.back().subscriber);
  items_.pop_back();
  // Not at the threshold itself: a subscriber that comes and goes there would build the index again and again.
  if (index_ && items_.size() < kIndexFrom / 2) index_.reset();
  if (items_.size() >= kIndexFrom && items_.size() < items_.capacity() / 4) items_.shrink_to_fit();
}

void SubscriberList::swap(std::size_t left, std::size_t right) {
  if (left == right) return;
  std::swap(items_[left], items_[right]);
  if (!index_) return;
  (*index_)[items_[left].subscriber] = static_cast<std::uint32_t>(left);
  (*index_)[items_[right].subscriber] = static_cast<std::uint32_t>(right);
}

}  // namespace vigil::topics
