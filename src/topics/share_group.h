// The members of one `$share/{group}/{filter}` on one shard, each served in turn (4.8.2).
#pragma once

#include <cstddef>
#include <string_view>

#include "topics/group_table.h"
#include "topics/subscriber_list.h"

namespace vigil::topics {

// In a round everybody is served once. Who leaves does not disturb the others' turns; who joins is served in the round
// under way.
class ShareGroup : public NamedGroup {
 public:
  using NamedGroup::NamedGroup;

  std::size_t size() const { return members_.size(); }
  const Subscription* find(SubscriberId subscriber) const { return members_.find(subscriber); }

  // The next member in turn that `eligible(const Subscription&)` accepts, or null; each call moves the turn on. At most
  // size() calls of eligible, which must not change the tree. Valid until the tree changes.
  template <class F>
  const Subscription* next(F&& eligible) {
    const auto members = members_.all();
    for (std::size_t tried = 0; tried < members.size(); ++tried) {
      if (turn_ >= members.size()) turn_ = 0;
      const Subscription& member = members[turn_++];
      if (eligible(member)) return &member;
    }
    return nullptr;
  }

  // Calls f(const Subscription&) for every member; f must not change the tree.
  template <class F>
  void for_each(F&& f) const {
    for (const Subscription& member : members_.all()) f(member);
  }

 private:
  friend class SubscriptionTree;
  bool add(const Subscription& subscription) { return members_.add(subscription); }
  bool remove(SubscriberId subscriber);

  SubscriberList members_;
  std::size_t turn_ = 0;  // those before it were served in this round
};

}  // namespace vigil::topics
