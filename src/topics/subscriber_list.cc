#include "topics/subscriber_list.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vigil::topics {

std::optional<std::size_t> SubscriberList::position(SubscriberId subscriber) const {
  if (const Many* m = many(); m != nullptr && m->index) {
    const auto found = m->index->find(subscriber);
    return found == m->index->end() ? std::nullopt : std::optional<std::size_t>(found->second);
  }
  const auto items = all();
  const auto found = std::ranges::find(items, subscriber, &Subscription::subscriber);
  return found == items.end() ? std::nullopt
                              : std::optional(static_cast<std::size_t>(std::distance(items.begin(), found)));
}

const Subscription* SubscriberList::find(SubscriberId subscriber) const {
  const auto at = position(subscriber);
  return at ? &all()[*at] : nullptr;
}

bool SubscriberList::add(const Subscription& subscription) {
  if (empty()) {
    held_ = subscription;
    return true;
  }
  if (const auto at = position(subscription.subscriber)) {
    Many* m = many();
    (m != nullptr ? m->items[*at] : std::get<Subscription>(held_)) = subscription;
    return false;
  }
  if (const auto* one = std::get_if<Subscription>(&held_)) {
    auto made = std::make_unique<Many>();
    made->items = {*one};
    held_ = std::move(made);
  }
  Many& m = *many();
  m.items.push_back(subscription);
  if (m.index) {
    m.index->emplace(subscription.subscriber, static_cast<std::uint32_t>(m.items.size() - 1));
  } else if (m.items.size() >= kIndexFrom) {
    m.index = std::make_unique<Index>();
    for (std::size_t at = 0; at < m.items.size(); ++at) {
      m.index->emplace(m.items[at].subscriber, static_cast<std::uint32_t>(at));
    }
  }
  return true;
}

void SubscriberList::remove_at(std::size_t position) {
  CHECK(position < size());
  if (size() == 1) {
    held_ = std::monostate();
    return;
  }
  Many& m = *many();
  swap(position, m.items.size() - 1);
  if (m.index) m.index->erase(m.items.back().subscriber);
  m.items.pop_back();
  // Not at the threshold itself: a subscriber that comes and goes there would build the index again and again.
  if (m.index && m.items.size() < kIndexFrom / 2) m.index.reset();
  if (m.items.size() >= kIndexFrom && m.items.size() < m.items.capacity() / 4) m.items.shrink_to_fit();
}

void SubscriberList::swap(std::size_t left, std::size_t right) {
  if (left == right) return;
  Many& m = *many();
  std::swap(m.items[left], m.items[right]);
  if (!m.index) return;
  (*m.index)[m.items[left].subscriber] = static_cast<std::uint32_t>(left);
  (*m.index)[m.items[right].subscriber] = static_cast<std::uint32_t>(right);
}

}  // namespace vigil::topics
