#include "broker/shard_mask.h"

#include <vector>

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

std::vector<unsigned> listed(const ShardMask& mask) {
  std::vector<unsigned> shards;
  mask.for_each([&](ShardId shard) { shards.push_back(shard); });
  return shards;
}

TEST(ShardMask, HoldsTheShardsThatWereAdded) {
  ShardMask mask;
  EXPECT_TRUE(mask.empty());
  for (const unsigned shard : {63U, 0U, 5U, 5U}) mask.add(shard);
  EXPECT_EQ(listed(mask), (std::vector<unsigned>{0, 5, 63}));
  EXPECT_EQ(mask.size(), 3U);
  EXPECT_TRUE(mask.has(63));
  EXPECT_FALSE(mask.has(62));
  EXPECT_FALSE(mask.empty());
}

TEST(ShardMask, ForgetsTheShardsThatWereRemoved) {
  ShardMask mask = ShardMask::first(4);
  for (const unsigned shard : {2U, 63U}) mask.remove(shard);
  EXPECT_EQ(listed(mask), (std::vector<unsigned>{0, 1, 3}));
  mask.clear();
  EXPECT_TRUE(mask.empty());
}

TEST(ShardMask, NamesTheFirstShards) {
  EXPECT_EQ(listed(ShardMask::first(1)), (std::vector<unsigned>{0}));
  EXPECT_EQ(ShardMask::first(63).size(), 63U);
  EXPECT_FALSE(ShardMask::first(63).has(63));
  EXPECT_EQ(ShardMask::first(64).size(), 64U);
}

TEST(ShardMask, IsTheBitsOfItsShards) {
  EXPECT_EQ(ShardMask::of(3).bits(), 8U);
  EXPECT_EQ(ShardMask::from_bits(0x8000'0000'0000'0001).bits(), 0x8000'0000'0000'0001U);
  EXPECT_EQ(listed(ShardMask::from_bits(0x8000'0000'0000'0001)), (std::vector<unsigned>{0, 63}));
  EXPECT_EQ(ShardMask::of(3), ShardMask::from_bits(8));
}

TEST(ShardMask, MayChangeWhileItIsWalked) {
  ShardMask mask = ShardMask::first(3);
  std::vector<unsigned> seen;
  mask.for_each([&](ShardId shard) {
    seen.push_back(shard);
    mask.remove(shard);
    mask.add(shard + 10U);
  });
  EXPECT_EQ(seen, (std::vector<unsigned>{0, 1, 2}));
  EXPECT_EQ(listed(mask), (std::vector<unsigned>{10, 11, 12}));
}

}  // namespace
}  // namespace vigil::broker
