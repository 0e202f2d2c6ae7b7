// A short text that is kept for long: as large as a pointer, immutable, shared by its copies. An empty one owns
// nothing.
//
// Copies may be made and dropped on any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace vigil::base {

class Text {
 public:
  Text() = default;
  explicit Text(std::string_view text) : block_(text.empty() ? nullptr : make(text)) {}
  Text(const Text& other) : block_(other.block_) {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Text(Text&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Text& operator=(Text other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  Text& operator=(std::string_view text) { return *this = Text(text); }
  ~Text() {
    if (block_ != nullptr && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy(block_);
  }

  bool empty() const { return block_ == nullptr; }
  std::size_t size() const { return block_ == nullptr ? 0 : block_->size; }
  std::string_view view() const {
    return block_ == nullptr ? std::string_view()
                             : std::string_view(reinterpret_cast<const char*>(block_ + 1), block_->size);
  }
  operator std::string_view() const { return view(); }
  std::string str() const { return std::string(view()); }

  bool operator==(const Text& other) const { return block_ == other.block_ || view() == other.view(); }
  bool operator==(std::string_view text) const { return view() == text; }
  bool operator==(const char* text) const { return view() == text; }

 private:
  struct Block {
    std::atomic<std::uint32_t> references{1};
    std::uint32_t size;
    // The characters follow.
  };
  static Block* make(std::string_view text) {
    CHECK(text.size() <= UINT32_MAX);
    void* room = ::operator new(sizeof(Block) + text.size());
    auto* block = new (room) Block{.size = static_cast<std::uint32_t>(text.size())};
    std::memcpy(static_cast<void*>(block + 1), text.data(), text.size());
    return block;
  }
  static void destroy(Block* block) {
    block->~Block();
    ::operator delete(block);
  }

  Block* block_ = nullptr;
};

static_assert(sizeof(Text) == sizeof(void*));

}  // namespace vigil::base
