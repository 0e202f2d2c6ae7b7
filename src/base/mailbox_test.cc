#include "base/mailbox.h"

#include <memory>
#include <semaphore>
#include <thread>

namespace vigil::base {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

template <class T>
bool push(Mailbox<T>& mail, std::vector<T> batch) {
  return mail.push(batch);
}

TEST(Mailbox, HandsOverAllMailInOrder) {
  Mailbox<int> mail;
  std::vector<int> out{99};
  EXPECT_FALSE(mail.drain(out));
  EXPECT_THAT(out, IsEmpty());
  push(mail, {1, 2});
  push(mail, {3});
  EXPECT_EQ(mail.size(), 3U);
  EXPECT_TRUE(mail.drain(out));
  EXPECT_THAT(out, ElementsAre(1, 2, 3));
  EXPECT_EQ(mail.size(), 0U);
  EXPECT_FALSE(mail.drain(out));
}

TEST(Mailbox, LeavesTheBatchEmpty) {
  Mailbox<std::unique_ptr<int>> mail;
  for (int i = 0; i < 3; ++i) {
    std::vector<std::unique_ptr<int>> batch;
    batch.push_back(std::make_unique<int>(i));
    static_cast<void>(mail.push(batch));
    EXPECT_THAT(batch, IsEmpty());
  }
  std::vector<std::unique_ptr<int>> out;
  mail.drain(out);
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(*out[2], 2);
}

TEST(Mailbox, AsksForNoWakeUpWhileTheConsumerIsAwake) {
  Mailbox<int> mail;
  EXPECT_FALSE(push(mail, {1}));
  EXPECT_FALSE(push(mail, {2}));
}

TEST(Mailbox, AsksForOneWakeUpASleep) {
  Mailbox<int> mail;
  EXPECT_TRUE(mail.prepare_sleep());
  EXPECT_FALSE(push(mail, {}));
  EXPECT_TRUE(push(mail, {1}));
  EXPECT_FALSE(push(mail, {2}));
  mail.awake();
  EXPECT_FALSE(push(mail, {3}));
}

TEST(Mailbox, AsksForNoWakeUpAfterTheConsumerCameBackByItself) {
  Mailbox<int> mail;
  EXPECT_TRUE(mail.prepare_sleep());
  mail.awake();
  EXPECT_FALSE(push(mail, {1}));
}

TEST(Mailbox, DoesNotLetTheConsumerSleepOnMail) {
  Mailbox<int> mail;
  push(mail, {1});
  EXPECT_FALSE(mail.prepare_sleep());
  EXPECT_FALSE(push(mail, {2}));
  std::vector<int> out;
  mail.drain(out);
  EXPECT_TRUE(mail.prepare_sleep());
}

// A lost wake-up would leave the consumer waiting for ever; a superfluous one would leave the semaphore above zero.
TEST(Mailbox, WakesTheConsumerOnceForEachSleepWhateverTheThreadsDo) {
  constexpr int kProducers = 3;
  constexpr int kBatches = 20'000;
  struct Item {
    int producer;
    int number;
  };
  Mailbox<Item> mail;
  std::counting_semaphore<> wake(0);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      std::vector<Item> batch;
      for (int i = 0; i < kBatches; ++i) {
        batch.push_back({p, 2 * i});
        batch.push_back({p, 2 * i + 1});
        if (mail.push(batch)) wake.release();
        if (i % 64 == 0) std::this_thread::yield();
      }
    });
  }
  std::vector<int> next(kProducers, 0);
  std::vector<Item> in;
  int received = 0;
  int out_of_order = 0;
  while (received < 2 * kProducers * kBatches) {
    if (mail.prepare_sleep()) wake.acquire();
    mail.awake();
    mail.drain(in);
    for (const Item& item : in) {
      out_of_order += item.number == next[static_cast<std::size_t>(item.producer)]++ ? 0 : 1;
      ++received;
    }
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(out_of_order, 0);
  EXPECT_FALSE(wake.try_acquire());
  EXPECT_EQ(mail.size(), 0U);
}

}  // namespace
}  // namespace vigil::base
