// "Where": which targets (shards, and nodes) want a topic. Every shard holds a copy; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <boost/container/small_vector.hpp>

#include "topics/filter_trie.h"
#include "topics/group_table.h"

namespace vigil::topics {

class InterestIndex {
 public:
  using Targets = std::uint64_t;  // a bit a target
  static constexpr unsigned kMaxTargets = 64;

  // Both are idempotent. The filter is valid and not shared.
  void add(std::string_view filter, unsigned target);
  void remove(std::string_view filter, unsigned target);

  // A share group's members at a target: how many, and how many of them are connected.
  struct GroupMembers {
    std::uint32_t members = 0;
    std::uint32_t connected = 0;
    bool operator==(const GroupMembers&) const = default;
  };
  // No members: the target leaves the group, and the group goes with its last target.
  void set_group(std::string_view group, std::string_view filter, unsigned target, GroupMembers members);

  // One `$share/{group}/{filter}`, over all targets.
  class Group : public NamedGroup {
   public:
    using NamedGroup::NamedGroup;
    // The next target in turn, those in `exclude` left out: weighted by connected members; where none of them is
    // connected, by members, whose sessions keep the message. nullopt: nobody at all. Over as many calls as there are
    // members, each target comes exactly as often as it has members, in a smooth mixture.
    std::optional<unsigned> next(Targets exclude = 0);
    GroupMembers at(unsigned target) const;
    Targets targets() const;

   private:
    friend class InterestIndex;
    struct Share {
      unsigned target;
      GroupMembers members;
      std::int64_t credit;  // of turns owed, in units of one turn divided by the sum of weights
    };
    void set(unsigned target, GroupMembers members);
    boost::container::small_vector<Share, 2> shares_;  // by target, each with members
  };

  // Valid until the next change or match.
  struct Interest {
    Targets targets = 0;  // by filters that are not shared
    std::span<Group* const> groups;
  };
  Interest match(std::string_view topic);

  // Valid until the group's last member is gone.
  Group* find_group(std::string_view group, std::string_view filter);
  bool empty() const { return filters_.size() == 0; }
  // Distinct filters; a share group is one of its own.
  std::size_t filters() const { return plain_filters_ + groups_.size(); }

 private:
  // Of a filter: who wants it that is not shared. Its share groups are in the table.
  FilterTrie<Targets> filters_;
  GroupTable<Group> groups_;
  std::size_t plain_filters_ = 0;
  std::vector<Group*> matched_groups_;  // what match returned last
};

}  // namespace vigil::topics
