// The tree of topic levels that the subscriptions, the interests and the retained messages are built on.
//
// Invariants:
// 1. A node is a level under its parent; an empty level ("a//b", "/") is a level. Only the root has no parent.
// 2. Every node but the root is in exactly one table, found by (parent, level). Nodes hold no tables of their own, so a
// leaf stays
//    small, and a parent with a million children is one of many users of the tables.
// 3. A node without children and without content (`held`) does not outlive the call of `prune` that follows.
// Nothing here recurses: a topic may have 65,536 levels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#include <boost/unordered/unordered_flat_set.hpp>

#include "base/check.h"
#include "topics/text_hash.h"

namespace vigil::topics {

// Reads the levels of a topic name or filter one after the other: "a//b" has three, "/" two.
class LevelReader {
 public:
  explicit LevelReader(std::string_view text) : rest_(text) {}

  // False after the last level.
  bool next(std::string_view& level) {
    if (done_) return false;
    const auto slash = rest_.find('/');
    level = rest_.substr(0, slash);
    done_ = slash == std::string_view::npos;
    if (!done_) rest_.remove_prefix(slash + 1);
    return true;
  }

 private:
  std::string_view rest_;
  bool done_ = false;
};

// What every node has. `Node` derives from it, as its last base and without members of its own, as the characters of
// the level follow right behind; and adds:
//   void child_added(Node& child);     after it was counted
//   void child_removed(Node& child);   before it is freed
template <class Node>
struct TrieNode {
  Node* parent = nullptr;
  std::uint32_t hash = 0;  // of the whole path, seeded by the tree
  std::uint32_t children : 31 = 0;
  std::uint32_t held : 1 = 0;  // it holds content, so it stays
  std::uint16_t level_size = 0;

  TrieNode() = default;
  TrieNode(const TrieNode&) = delete;
  TrieNode& operator=(const TrieNode&) = delete;
  std::string_view level() const { return {reinterpret_cast<const char*>(&level_size + 1), level_size}; }
};

template <class Node>
class LevelTrie {
 public:
  // The tree's own address seeds the hash, so that no peer can know which levels collide. No order depends on it.
  LevelTrie() {
    CHECK(reinterpret_cast<const char*>(&root_ + 1) ==
          reinterpret_cast<const char*>(static_cast<const TrieNode<Node>*>(&root_) + 1));
    root_.hash = static_cast<std::uint32_t>(detail::mix(reinterpret_cast<std::uintptr_t>(this), 0x9e3779b97f4a7c15ULL));
  }
  LevelTrie(const LevelTrie&) = delete;
  LevelTrie& operator=(const LevelTrie&) = delete;
  ~LevelTrie() {
    for (auto& table : tables_) {
      for (Node* node : table) free(node);
    }
  }

  Node& root() { return root_; }
  std::uint32_t seed() const { return root_.hash; }

  Node* child(const Node& parent, std::string_view level) const {
    if (parent.children == 0) return nullptr;
    const Key key{&parent, level, hash_of(parent, level)};
    const Table& table = tables_[table_of(key.hash)];
    const auto found = table.find(key);
    return found == table.end() ? nullptr : *found;
  }

  // The node at the end of a path, or null.
  Node* find(std::string_view path) {
    Node* node = &root_;
    LevelReader levels(path);
    for (std::string_view level; node != nullptr && levels.next(level);) node = child(*node, level);
    return node;
  }

  // The node at the end of a path, made where it is missing. The caller gives it content, or prunes it.
  Node& insert(std::string_view path) {
    Node* node = &root_;
    LevelReader levels(path);
    for (std::string_view level; levels.next(level);) {
      Node* next = child(*node, level);
      node = next != nullptr ? next : &add_child(*node, level);
    }
    return *node;
  }

  // Frees a node that holds nothing, and then each ancestor that held nothing else.
  void prune(Node& from) {
    Node* node = &from;
    while (node->parent != nullptr && node->children == 0 && !node->held) {
      Node* parent = node->parent;
      Table& table = tables_[table_of(node->hash)];
      table.erase(table.find(Key{parent, node->level(), node->hash}));
      if (table.bucket_count() > kShrinkFrom && table.size() < table.bucket_count() / 8) table.rehash(0);
      --parent->children;
      parent->child_removed(*node);
      free(node);
      node = parent;
    }
  }

 private:
  struct Key {
    const Node* parent;
    std::string_view level;
    std::uint32_t hash;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Node* node) const { return node->hash; }
    std::size_t operator()(const Key& key) const { return key.hash; }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const Node* left, const Node* right) const { return left == right; }
    bool operator()(const Key& key, const Node* node) const {
      return node->hash == key.hash && node->parent == key.parent && node->level() == key.level;
    }
    bool operator()(const Node* node, const Key& key) const { return (*this)(key, node); }
  };
  using Table = boost::unordered_flat_set<Node*, Hash, Equal>;

  // Many tables instead of one, because a table grows at one go: with a million nodes that would hold the shard up for
  // tens of milliseconds; so it does for less than one.
  static constexpr std::size_t kTables = 64;
  static constexpr std::size_t kShrinkFrom = 1024;
  static std::size_t table_of(std::uint32_t hash) { return hash % kTables; }

  static std::uint32_t hash_of(const Node& parent, std::string_view level) {
    const std::uint64_t hash = hash_text(parent.hash, level);
    return static_cast<std::uint32_t>(hash ^ hash >> 32U);
  }

  // A level is shorter than 65,536 bytes, as no topic is longer.
  static Node* make(std::string_view level) {
    CHECK(level.size() <= UINT16_MAX);
    constexpr std::size_t kUsed = offsetof(TrieNode<Node>, level_size) + sizeof(TrieNode<Node>::level_size);
    constexpr std::size_t kBefore = sizeof(Node) - sizeof(TrieNode<Node>) + kUsed;
    void* room = ::operator new(std::max(sizeof(Node), kBefore + level.size()));
    auto* node = new (room) Node;
    node->level_size = static_cast<std::uint16_t>(level.size());
    std::memcpy(static_cast<char*>(room) + kBefore, level.data(), level.size());
    return node;
  }
  static void free(Node* node) {
    node->~Node();
    ::operator delete(node);
  }

  Node& add_child(Node& parent, std::string_view level) {
    Node* node = make(level);
    node->parent = &parent;
    node->hash = hash_of(parent, level);
    tables_[table_of(node->hash)].insert(node);
    ++parent.children;
    parent.child_added(*node);
    return *node;
  }

  Node root_;
  std::array<Table, kTables> tables_;
};

}  // namespace vigil::topics
