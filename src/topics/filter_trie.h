// Topic filters -> values, matched by a topic name (4.7).
//
// The filters' set has a generation: what a topic matched is remembered until a filter comes or goes. A value may
// change at will; a fresh one is Value{}.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "topics/level_trie.h"
#include "topics/match_cache.h"

namespace vigil::topics {

template <class Value>
class FilterTrie {
 public:
  struct Node;
  struct Content {
    Value value{};
    // The child "#", or else the child "+". A node "#" has no children: its own refers to its sibling "+".
    Node* wild = nullptr;
  };
  struct Node : Content, TrieNode<Node> {
    bool is_many() const { return this->level() == "#"; }
    void child_added(Node& child) {
      CHECK(!is_many());
      if (child.is_many()) {
        child.wild = this->wild;
        this->wild = &child;
      } else if (child.level() == "+") {
        place_of_one() = &child;
      }
    }
    void child_removed(Node& child) {
      if (child.is_many()) {
        this->wild = child.wild;
      } else if (child.level() == "+") {
        place_of_one() = nullptr;
      }
    }
    Node* many() const { return this->wild != nullptr && this->wild->is_many() ? this->wild : nullptr; }
    Node* one() const {
      Node* many_child = many();
      return many_child != nullptr ? many_child->wild : this->wild;
    }

   private:
    Node*& place_of_one() {
      Node* many_child = many();
      return many_child != nullptr ? many_child->wild : this->wild;
    }
  };

  // Filters that hold a value.
  std::size_t size() const { return size_; }

  // The node of a filter that holds a value, or null.
  Node* find(std::string_view filter) {
    Node* node = trie_.find(filter);
    return node != nullptr && node->held ? node : nullptr;
  }

  // The node of a filter, with a fresh value when it held none.
  Node& insert(std::string_view filter) {
    Node& node = trie_.insert(filter);
    if (!node.held) {
      node.held = 1;
      ++size_;
      ++generation_;
    }
    return node;
  }

  void erase(Node& node) {
    node.value = {};
    node.held = 0;
    --size_;
    ++generation_;
    trie_.prune(node);
  }

  // The values of all filters that match a topic name. Valid until the next call of match, insert or erase.
  std::span<Value* const> match(std::string_view topic) {
    if (size_ == 0) return {};
    const std::uint64_t hash = hash_text(trie_.seed(), topic);
    if (const auto* known = cache_.find(hash, topic, generation_)) return *known;
    // A walk that ends at the root is not worth a place in the cache: nobody asked for such topics, or the filter is
    // "#".
    if (walk(topic) > 1) cache_.put(hash, topic, generation_, found_);
    return found_;
  }

 private:
  // Level by level with all nodes that match so far; each node is reached at most once. Returns how many that were.
  std::size_t walk(std::string_view topic) {
    found_.clear();
    now_.assign(1, &trie_.root());
    std::size_t reached = 0;
    bool wildcards = !topic.starts_with('$');  // at the first level [MQTT-4.7.2-1]
    LevelReader levels(topic);
    for (std::string_view level; !now_.empty() && levels.next(level);) {
      next_.clear();
      reached += now_.size();
      for (Node* node : now_) {
        std::uint32_t wild = 0;
        if (Node* one = node->wild; one != nullptr) {
          Node* many = one->is_many() ? one : nullptr;
          if (many != nullptr) one = many->wild;
          wild = static_cast<std::uint32_t>(many != nullptr) + static_cast<std::uint32_t>(one != nullptr);
          if (wildcards && many != nullptr) take(*many);
          if (wildcards && one != nullptr) next_.push_back(one);
        }
        if (node->children == wild) continue;
        if (Node* child = trie_.child(*node, level)) next_.push_back(child);
      }
      wildcards = true;
      std::swap(now_, next_);
    }
    for (Node* node : now_) {
      take(*node);
      if (Node* many = node->many()) take(*many);  // "a/#" matches "a" too
    }
    return reached;
  }

  void take(Node& node) {
    if (node.held) found_.push_back(&node.value);
  }

  LevelTrie<Node> trie_;
  MatchCache<Value> cache_;
  std::uint64_t generation_ = 1;
  std::size_t size_ = 0;
  // Room for a walk, kept between calls.
  std::vector<Node*> now_;
  std::vector<Node*> next_;
  std::vector<Value*> found_;
};

}  // namespace vigil::topics
