#include "broker/session.h"

#include <algorithm>

#include "base/check.h"

namespace vigil::broker {

const OwnSubscription* Session::find_subscription(std::string_view text) const {
  if (extras && extras->subscription_index) {
    const auto found = extras->subscription_index->find(text);
    return found == extras->subscription_index->end() ? nullptr : &subscriptions[found->second];
  }
  const auto found = std::ranges::find(subscriptions, text, [](const OwnSubscription& own) { return own.text.view(); });
  return found == subscriptions.end() ? nullptr : &*found;
}

const OwnSubscription* Session::find_shared(std::string_view group, std::string_view filter) const {
  constexpr std::string_view kShare = "$share/";
  if (extras && extras->subscription_index) {
    return find_subscription(std::string(kShare).append(group).append("/").append(filter));
  }
  const std::size_t size = kShare.size() + group.size() + 1 + filter.size();
  const auto found = std::ranges::find_if(subscriptions, [&](const OwnSubscription& own) {
    const std::string_view text = own.text;
    return own.shared && text.size() == size && text.ends_with(filter) && text.substr(kShare.size()).starts_with(group);
  });
  return found == subscriptions.end() ? nullptr : &*found;
}

const OwnSubscription* Session::find_subscription(std::uint32_t number) const {
  const auto found = std::ranges::find(subscriptions, number, &OwnSubscription::number);
  return found == subscriptions.end() ? nullptr : &*found;
}

const OwnSubscription& Session::add_subscription(std::string_view text, std::uint32_t number, bool shared) {
  subscriptions.push_back({base::Text(text), number, shared});
  const auto at = static_cast<std::uint32_t>(subscriptions.size() - 1);
  // The keys are views of the texts, which stay where they are when the list grows.
  if (extras && extras->subscription_index) {
    extras->subscription_index->emplace(subscriptions.back().text.view(), at);
  } else if (subscriptions.size() >= kIndexSubscriptionsFrom) {
    auto index = std::make_unique<OwnSubscriptionIndex>();
    for (std::uint32_t i = 0; i <= at; ++i) index->emplace(subscriptions[i].text.view(), i);
    with_extras().subscription_index = std::move(index);
  }
  return subscriptions.back();
}

bool Session::remove_subscription(std::string_view text) {
  const OwnSubscription* own = find_subscription(text);
  if (own == nullptr) return false;
  const auto at = static_cast<std::uint32_t>(own - subscriptions.data());
  OwnSubscriptionIndex* index = extras ? extras->subscription_index.get() : nullptr;
  if (index != nullptr) index->erase(text);
  if (at + 1 != subscriptions.size()) {
    subscriptions[at] = std::move(subscriptions.back());
    if (index != nullptr) index->at(subscriptions[at].text.view()) = at;
  }
  subscriptions.pop_back();
  if (index != nullptr && subscriptions.size() < kIndexSubscriptionsFrom / 2) extras->subscription_index.reset();
  return true;
}

}  // namespace vigil::broker
