// An array that grows at its end in chunks: growing moves nothing and leaves less than a chunk unused.
//
// References stay valid. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace vigil::base {

template <class T, std::size_t kChunk>
class Chunked {
  static_assert((kChunk & (kChunk - 1)) == 0, "an index is split by shifting");

 public:
  T& operator[](std::size_t i) { return chunks_[i / kChunk][i % kChunk]; }
  const T& operator[](std::size_t i) const { return chunks_[i / kChunk][i % kChunk]; }
  std::size_t size() const { return size_; }

  T& emplace_back() {
    if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<T[]>(kChunk));
    return (*this)[size_++];
  }

 private:
  std::vector<std::unique_ptr<T[]>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace vigil::base
