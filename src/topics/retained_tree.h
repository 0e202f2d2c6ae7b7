// Topic names -> T (default constructible: a counted message), matched by topic filters. Lives on its shard; not
// thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <boost/container/small_vector.hpp>

#include "topics/level_trie.h"

namespace vigil::topics {

template <class T>
class RetainedTree {
 public:
  // Pointers and references are valid until that topic is set again or erased.
  T* find(std::string_view topic) {
    Node* node = trie_.find(topic);
    return node != nullptr && node->held ? &node->value : nullptr;
  }

  // Inserts or overwrites.
  T& set(std::string_view topic, T value) {
    Node& node = trie_.insert(topic);
    if (!node.held) ++size_;
    node.held = 1;
    return node.value = std::move(value);
  }

  // False when nothing was there.
  bool erase(std::string_view topic) {
    Node* node = trie_.find(topic);
    if (node == nullptr || !node->held) return false;
    node->value = {};
    node->held = 0;
    --size_;
    trie_.prune(*node);
    return true;
  }

  std::size_t size() const { return size_; }

  // Calls f(std::string_view topic, T& value) for every topic that the filter (valid, not shared) matches; the topic is
  // a view for the length of the call; f must not change the tree. Parents come before children, siblings in the order
  // they came first. A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
  template <class F>
  void for_each_match(std::string_view filter, F&& f) {
    visit(Pattern(filter), f);
  }

  // Every topic, those that begin with `$` too.
  template <class F>
  void for_each(F&& f) {
    Pattern pattern("#");
    pattern.dollar = true;
    visit(pattern, f);
  }

 private:
  // Siblings are a list in the order of arrival; the first one's `before` is the last.
  struct Node;
  struct Content {
    Node* first_child = nullptr;
    Node* before = nullptr;
    Node* after = nullptr;
    T value{};
  };
  struct Node : Content, TrieNode<Node> {
    void child_added(Node& child) {
      Node*& first = this->first_child;
      if (first == nullptr) {
        first = child.before = &child;
        return;
      }
      child.before = first->before;
      child.before->after = &child;
      first->before = &child;
    }
    void child_removed(Node& child) {
      Node*& first = this->first_child;
      if (child.after != nullptr) {
        child.after->before = child.before;
      } else {
        first->before = child.before;
      }
      if (&child == first) {
        first = child.after;
      } else {
        child.before->after = child.after;
      }
    }
  };

  struct Pattern {
    explicit Pattern(std::string_view filter) {
      LevelReader reader(filter);
      for (std::string_view level; reader.next(level);) levels.push_back(level);
      if (levels.back() == "#") {
        open = true;
        levels.pop_back();
      }
    }
    // Whether a node at this depth (the root has depth 0) is matched once its ancestors fit.
    bool ends_at(std::size_t depth) const { return open ? depth >= levels.size() : depth == levels.size(); }
    // Whether a node at this depth has any number of children that fit, and not one at most.
    bool many_below(std::size_t depth) const { return depth < levels.size() ? levels[depth] == "+" : open; }

    boost::container::small_vector<std::string_view, 16> levels;  // without a trailing "#"
    bool open = false;                                            // it had one
    bool dollar = false;                                          // leading wildcards match `$` too
  };

  // Depth first, without a stack: the nodes know their parents.
  template <class F>
  void visit(const Pattern& pattern, F& f) {
    std::string topic;  // of `node`
    Node* node = &trie_.root();
    std::size_t depth = 0;
    while (true) {
      if (node->held && pattern.ends_at(depth)) f(std::string_view(topic), node->value);
      Node* next = first_below(pattern, *node, depth);
      if (next != nullptr) {
        if (depth > 0) topic += '/';
        ++depth;
      } else {
        while (next == nullptr && depth > 0) {
          topic.resize(topic.size() - node->level().size());
          next = sibling(pattern, *node, depth);
          if (next != nullptr) break;
          --depth;
          if (depth > 0) topic.pop_back();
          node = node->parent;
        }
        if (next == nullptr) return;
      }
      topic += next->level();
      node = next;
    }
  }

  Node* first_below(const Pattern& pattern, Node& node, std::size_t depth) {
    if (pattern.many_below(depth)) return skip_dollar(pattern, node.first_child, depth);
    return depth < pattern.levels.size() ? trie_.child(node, pattern.levels[depth]) : nullptr;
  }

  Node* sibling(const Pattern& pattern, Node& node, std::size_t depth) {
    return pattern.many_below(depth - 1) ? skip_dollar(pattern, node.after, depth - 1) : nullptr;
  }

  static Node* skip_dollar(const Pattern& pattern, Node* node, std::size_t parent_depth) {
    if (parent_depth > 0 || pattern.dollar) return node;
    while (node != nullptr && node->level().starts_with('$')) node = node->after;
    return node;
  }

  LevelTrie<Node> trie_;
  std::size_t size_ = 0;
};

}  // namespace vigil::topics
