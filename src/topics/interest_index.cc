#include "topics/interest_index.h"

#include <algorithm>

#include "base/check.h"

namespace vigil::topics {

namespace {

InterestIndex::Targets bit(unsigned target) {
  CHECK(target < InterestIndex::kMaxTargets);
  return InterestIndex::Targets{1} << target;
}

}  // namespace

void InterestIndex::add(std::string_view filter, unsigned target) {
  const Targets added = bit(target);
  Targets& targets = filters_.insert(filter).value;
  if (targets == 0) ++plain_filters_;
  targets |= added;
}

void InterestIndex::remove(std::string_view filter, unsigned target) {
  const Targets removed = bit(target);
  auto* node = filters_.find(filter);
  if (node == nullptr || (node->value & removed) == 0) return;
  node->value &= ~removed;
  if (node->value != 0) return;
  --plain_filters_;
  if (groups_.of(&node->value).empty()) filters_.erase(*node);
}

void InterestIndex::set_group(std::string_view group, std::string_view filter, unsigned target, GroupMembers members) {
  CHECK(target < kMaxTargets);
  Group* found = groups_.find({group, filter});
  if (members.members > 0) {
    if (found == nullptr) found = &groups_.add({group, filter}, &filters_.insert(filter).value);
    found->set(target, members);
    return;
  }
  if (found == nullptr) return;
  found->set(target, members);
  if (!found->shares_.empty()) return;
  auto* node = filters_.find(filter);
  CHECK(node != nullptr);
  groups_.erase(*found, &node->value);
  if (node->value == 0 && groups_.of(&node->value).empty()) filters_.erase(*node);
}

InterestIndex::Interest InterestIndex::match(std::string_view topic) {
  matched_groups_.clear();
  Targets targets = 0;
  for (const Targets* wanted : filters_.match(topic)) {
    targets |= *wanted;
    const auto groups = groups_.of(wanted);
    matched_groups_.insert(matched_groups_.end(), groups.begin(), groups.end());
  }
  return {targets, matched_groups_};
}

InterestIndex::Group* InterestIndex::find_group(std::string_view group, std::string_view filter) {
  return groups_.find({group, filter});
}

// Smooth weighted round robin: everybody gets credit by weight, the one with most takes the turn and pays what all were
// given.
std::optional<unsigned> InterestIndex::Group::next(Targets exclude) {
  const auto allowed = [exclude](const Share& share) { return (exclude & bit(share.target)) == 0; };
  const bool connected =
      std::ranges::any_of(shares_, [&](const Share& share) { return allowed(share) && share.members.connected > 0; });
  const auto weight_of = [&](const Share& share) -> std::int64_t {
    if (!allowed(share)) return 0;
    return connected ? share.members.connected : share.members.members;
  };
  std::int64_t sum = 0;
  for (const Share& share : shares_) sum += weight_of(share);

  Share* best = nullptr;
  for (Share& share : shares_) {
    const std::int64_t weight = weight_of(share);
    if (weight == 0) continue;
    // No credit outlives the weights it was earned with by more than a round.
    share.credit = std::clamp(share.credit, -sum, sum) + weight;
    if (best == nullptr || share.credit > best->credit) best = &share;
  }
  if (best == nullptr) return std::nullopt;
  best->credit -= sum;
  return best->target;
}

InterestIndex::GroupMembers InterestIndex::Group::at(unsigned target) const {
  const auto found = std::ranges::find(shares_, target, &Share::target);
  return found == shares_.end() ? GroupMembers{} : found->members;
}

InterestIndex::Targets InterestIndex::Group::targets() const {
  Targets targets = 0;
  for (const Share& share : shares_) targets |= bit(share.target);
  return targets;
}

void InterestIndex::Group::set(unsigned target, GroupMembers members) {
  const auto at = std::ranges::lower_bound(shares_, target, {}, &Share::target);
  const bool known = at != shares_.end() && at->target == target;
  if (members.members == 0) {
    if (known) shares_.erase(at);
  } else if (known) {
    at->members = members;
  } else {
    shares_.insert(at, Share{target, members, 0});
  }
}

}  // namespace vigil::topics
