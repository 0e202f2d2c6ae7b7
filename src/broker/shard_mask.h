// A set of shards: a bit for each. A value, as cheap as the integer that it is.
//
// Every `shard` is below kMaxShards.
#pragma once

#include <bit>
#include <cstdint>

#include "broker/ids.h"

namespace vigil::broker {

class ShardMask {
 public:
  constexpr ShardMask() = default;
  static constexpr ShardMask of(unsigned shard) { return ShardMask(std::uint64_t{1} << shard); }
  // The shards 0 to `count` - 1.
  static constexpr ShardMask first(unsigned count) {
    return ShardMask(count == kMaxShards ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1);
  }
  // Bit n is shard n, as topics::InterestIndex::Targets has it.
  static constexpr ShardMask from_bits(std::uint64_t bits) { return ShardMask(bits); }
  constexpr std::uint64_t bits() const { return bits_; }

  constexpr void add(unsigned shard) { bits_ |= std::uint64_t{1} << shard; }
  constexpr void remove(unsigned shard) { bits_ &= ~(std::uint64_t{1} << shard); }
  constexpr void clear() { bits_ = 0; }
  constexpr bool has(unsigned shard) const { return (bits_ >> shard & 1U) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr unsigned size() const { return static_cast<unsigned>(std::popcount(bits_)); }
  // Calls f(shard) for each, the lowest first. It may change the set: f sees the shards that were in it before.
  template <class F>
  constexpr void for_each(F&& f) const {
    for (std::uint64_t left = bits_; left != 0; left &= left - 1) f(static_cast<ShardId>(std::countr_zero(left)));
  }

  constexpr bool operator==(const ShardMask&) const = default;

 private:
  constexpr explicit ShardMask(std::uint64_t bits) : bits_(bits) {}
  std::uint64_t bits_ = 0;
};

static_assert(kMaxShards == 64 && sizeof(ShardMask) == sizeof(std::uint64_t));

}  // namespace vigil::broker
