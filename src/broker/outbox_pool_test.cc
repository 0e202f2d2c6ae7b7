#include "broker/outbox_pool.h"

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

using Output = OutboxPool::Output;

// An empty one that has had this much in it.
std::unique_ptr<Output> used(std::size_t bytes) {
  auto output = std::make_unique<Output>();
  output->control().resize(bytes);
  output->consume(bytes);
  return output;
}

TEST(OutboxPool, MakesOneWhereThereIsNone) {
  OutboxPool pool;
  const auto output = pool.take();
  ASSERT_TRUE(output);
  EXPECT_TRUE(output->empty());
  EXPECT_EQ(pool.bytes(), 0U);
}

TEST(OutboxPool, GivesOutWhatWasGivenBackWithItsMemory) {
  OutboxPool pool;
  auto output = used(100);
  const Output* const same = output.get();
  const std::size_t memory = output->memory();
  pool.give_back(std::move(output));
  EXPECT_EQ(pool.size(), 1U);
  EXPECT_EQ(pool.bytes(), memory);

  const auto again = pool.take();
  EXPECT_EQ(again.get(), same);
  EXPECT_EQ(again->memory(), memory);
  EXPECT_EQ(pool.size(), 0U);
  EXPECT_EQ(pool.bytes(), 0U);
}

TEST(OutboxPool, KeepsOnlySoManyBytes) {
  OutboxPool pool;
  const std::size_t each = used(2'000)->memory();
  for (std::size_t i = 0; i < OutboxPool::kMostSpare; ++i) pool.give_back(used(2'000));
  EXPECT_EQ(pool.size(), OutboxPool::kMostBytes / each);
  EXPECT_EQ(pool.bytes(), pool.size() * each);
  pool.take();
  pool.give_back(used(2'000));
  EXPECT_EQ(pool.size(), OutboxPool::kMostBytes / each);
}

TEST(OutboxPool, KeepsOnlySoMany) {
  OutboxPool pool;
  for (std::size_t i = 0; i <= OutboxPool::kMostSpare; ++i) pool.give_back(used(0));
  EXPECT_EQ(pool.size(), OutboxPool::kMostSpare);
  EXPECT_EQ(pool.bytes(), OutboxPool::kMostSpare * Output().memory());
}

}  // namespace
}  // namespace vigil::broker
