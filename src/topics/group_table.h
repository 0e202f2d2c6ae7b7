// The share groups of a tree by name and filter (4.8), so that a group is found in one step and a filter may have many.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include "topics/text_hash.h"

namespace vigil::topics {

// What names a group: `$share/{group}/{filter}`. The same group name on another filter is another group.
struct GroupName {
  std::string_view group;
  std::string_view filter;
  bool operator==(const GroupName&) const = default;
};

// A group keeps its name, and its place among those of its filter.
class NamedGroup {
 public:
  explicit NamedGroup(GroupName name) : group_(name.group), filter_(name.filter) {}
  std::string_view group() const { return group_; }
  std::string_view filter() const { return filter_; }

 private:
  template <class>
  friend class GroupTable;
  std::string group_;
  std::string filter_;
  std::size_t place_ = 0;
};

// Owns groups (derived from NamedGroup). A filter is known by an address that stays: that of what a tree keeps for it.
template <class Group>
class GroupTable {
 public:
  std::size_t size() const { return groups_.size(); }

  Group* find(GroupName name) const {
    const auto found = groups_.find(name);
    return found == groups_.end() ? nullptr : found->get();
  }

  // Those of a filter. Valid until one comes or goes.
  std::span<Group* const> of(const void* filter) const {
    if (by_filter_.empty()) return {};
    const auto found = by_filter_.find(filter);
    return found == by_filter_.end() ? std::span<Group* const>() : std::span<Group* const>(found->second);
  }

  // A group that must not be there yet.
  Group& add(GroupName name, const void* filter) {
    std::vector<Group*>& list = by_filter_[filter];
    auto made = std::make_unique<Group>(name);
    Group& group = *made;
    group.place_ = list.size();
    list.push_back(&group);
    groups_.insert(std::move(made));
    return group;
  }

  void erase(Group& group, const void* filter) {
    const auto found = by_filter_.find(filter);
    std::vector<Group*>& list = found->second;
    list[group.place_] = list.back();
    list[group.place_]->place_ = group.place_;
    list.pop_back();
    if (list.empty()) by_filter_.erase(found);
    groups_.erase(groups_.find(GroupName{group.group(), group.filter()}));
  }

 private:
  using Owner = std::unique_ptr<Group>;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const GroupName& name) const { return hash_text(hash_text(0, name.group), name.filter); }
    std::size_t operator()(const Owner& group) const { return (*this)(GroupName{group->group(), group->filter()}); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Owner& left, const Owner& right) const { return left == right; }
    bool operator()(const GroupName& name, const Owner& group) const {
      return name.group == group->group() && name.filter == group->filter();
    }
    bool operator()(const Owner& group, const GroupName& name) const { return (*this)(name, group); }
  };
  boost::unordered_flat_set<Owner, Hash, Equal> groups_;
  boost::unordered_flat_map<const void*, std::vector<Group*>> by_filter_;
};

}  // namespace vigil::topics
