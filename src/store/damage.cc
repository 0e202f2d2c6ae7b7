#include "store/damage.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace vigil::store {
namespace {

// A key as a number: its first bytes, the first one weighs most.
class KeyNumber {
 public:
  static constexpr unsigned kBits = 320;

  explicit KeyNumber(std::string_view key) {
    std::copy_n(key.begin(), std::min(key.size(), bytes_.size()), bytes_.begin());
  }
  // Adds 2^bit; false if that is more than fits.
  bool add(unsigned bit) {
    std::size_t at = bytes_.size() - 1 - bit / 8;
    unsigned carry = 1U << (bit % 8);
    for (;;) {
      carry += static_cast<std::uint8_t>(bytes_[at]);
      bytes_[at] = static_cast<char>(carry & 0xffU);
      carry >>= 8U;
      if (carry == 0) return true;
      if (at-- == 0) return false;
    }
  }
  rocksdb::Slice slice() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, kBits / 8> bytes_{};
};

}  // namespace

std::unique_ptr<rocksdb::Iterator> seek_behind_damage(const MakeIterator& make, std::string_view from) {
  // (An iterator that has met damage may go on to see it, so each look takes a new one.)
  const auto look = [&make](const KeyNumber& at) {
    std::unique_ptr<rocksdb::Iterator> it = make();
    it->Seek(at.slice());
    return it;
  };
  const auto decided = [](const rocksdb::Iterator& it) { return it.status().ok() || !it.status().IsCorruption(); };

  // By steps that double until something can be read, or nothing is left, and then back by halves.
  unsigned bit = 0;
  std::unique_ptr<rocksdb::Iterator> good;
  for (; bit < KeyNumber::kBits; ++bit) {
    KeyNumber far(from);
    if (!far.add(bit)) break;
    good = look(far);
    if (decided(*good)) break;
    good.reset();
  }
  if (!good) {
    good = make();
    good->Seek(rocksdb::Slice(from.data(), from.size()));
    return good;
  }
  KeyNumber bad(from);
  if (bit > 0) bad.add(bit - 1);
  while (good->status().ok() && bit-- > 1) {
    KeyNumber middle = bad;
    if (!middle.add(bit - 1)) break;
    std::unique_ptr<rocksdb::Iterator> it = look(middle);
    if (decided(*it)) {
      good = std::move(it);
    } else {
      bad = middle;
    }
  }
  return good;
}

rocksdb::Status for_each_readable(const MakeIterator& make, const std::function<void(rocksdb::Iterator&)>& see,
                                  const std::function<void(const rocksdb::Status&)>& damaged) {
  std::unique_ptr<rocksdb::Iterator> it = make();
  it->SeekToFirst();
  std::string next;  // the first key that has not been seen
  for (;;) {
    for (; it->Valid(); it->Next()) {
      see(*it);
      next.assign(it->key().data(), it->key().size());
      next += '\0';
    }
    if (!it->status().IsCorruption()) return it->status();
    damaged(it->status());
    it = seek_behind_damage(make, next);
    if (!it->Valid()) return it->status().IsCorruption() ? rocksdb::Status() : it->status();
  }
}

}  // namespace vigil::store
