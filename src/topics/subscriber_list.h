// The subscriptions of one filter: dense to go through, fast to search, whether there is one or a hundred thousand.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "mqtt/packet.h"

namespace vigil::topics {

// Who receives. Opaque to this layer: the value of a session's SlotId.
using SubscriberId = std::uint64_t;

struct Subscription {
  SubscriberId subscriber = 0;
  std::uint32_t subscription_id = 0;  // 0: none
  mqtt::SubscriptionOptions options;
  bool operator==(const Subscription&) const = default;
};
static_assert(sizeof(Subscription) <= 24);

// One subscription a subscriber. The order is that of arrival until the first removal, and then any. Small where there
// is none or one.
class SubscriberList {
 public:
  std::span<const Subscription> all() const {
    if (const auto* one = std::get_if<Subscription>(&held_)) return {one, 1};
    const auto* many = std::get_if<std::unique_ptr<Many>>(&held_);
    return many == nullptr ? std::span<const Subscription>() : std::span<const Subscription>((*many)->items);
  }
  std::size_t size() const { return all().size(); }
  bool empty() const { return held_.index() == 0; }

  std::optional<std::size_t> position(SubscriberId subscriber) const;
  const Subscription* find(SubscriberId subscriber) const;
  // False: it took the place of the subscriber's former one.
  bool add(const Subscription& subscription);
  // The last one takes its place.
  void remove_at(std::size_t position);
  void swap(std::size_t left, std::size_t right);

 private:
  // From so many subscribers on an index is kept; below, a scan is as fast and smaller.
  static constexpr std::size_t kIndexFrom = 16;
  using Index = boost::unordered_flat_map<SubscriberId, std::uint32_t>;
  struct Many {
    std::vector<Subscription> items;  // never empty
    std::unique_ptr<Index> index;
  };

  Many* many() const {
    const auto* held = std::get_if<std::unique_ptr<Many>>(&held_);
    return held == nullptr ? nullptr : held->get();
  }

  std::variant<std::monostate, Subscription, std::unique_ptr<Many>> held_;
};

}  // namespace vigil::topics
