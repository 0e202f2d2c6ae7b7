#include "broker/system_topics.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include <fmt/format.h>

namespace vigil::broker {
namespace {

// Shard 0 of several. Its own counters and those of the others differ in how many clients are connected.
struct SystemTopicsTest : testing::Test {
  static SystemTopics::Here here(const Stats& own, int uptime_s) { return {own, base::seconds(uptime_s)}; }
  static Stats connected(std::uint64_t clients) {
    Stats stats;
    stats.clients_connected = clients;
    return stats;
  }
  static StatsMail mail(std::uint64_t clients, std::uint32_t switches = 0) {
    return {std::make_shared<const Stats>(connected(clients)), switches};
  }
  // What clients/connected is said to be, "same" if only other figures are published, "" if nothing is.
  static std::string said(const SystemTopics::Texts& texts) {
    for (const FigureTexts::Text& figure : texts) {
      if (figure.topic == "$SYS/broker/clients/connected") return figure.text;
    }
    return texts.empty() ? "" : "same";
  }
};

TEST_F(SystemTopicsTest, ComeAtOnceWhereThereIsOneShard) {
  SystemTopics topics(0, 1, "1.2.3");
  const Stats own = connected(5);
  const auto all = topics.due(here(own, 0));
  EXPECT_EQ(said(all), "5");
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.front().topic, "$SYS/broker/version");
  EXPECT_EQ(all.front().text, "vigilmq version 1.2.3");
  EXPECT_TRUE(topics.due(here(own, 0)).empty());  // nothing has changed
  const auto later = topics.due(here(own, 10));
  ASSERT_FALSE(later.empty());
  EXPECT_EQ(later.front().topic, "$SYS/broker/uptime");
  EXPECT_EQ(later.front().text, "10 seconds");
}

TEST_F(SystemTopicsTest, WaitForAllShards) {
  SystemTopics topics(0, 3, "1");
  EXPECT_EQ(said(topics.due(here(connected(1), 0))), "");
  EXPECT_EQ(said(topics.told(2, mail(10), here(connected(1), 0))), "");
  EXPECT_EQ(said(topics.told(2, mail(20), here(connected(1), 0))), "");  // the same again
  // Its own are those of the moment in which the last shard has told.
  EXPECT_EQ(said(topics.told(1, mail(100), here(connected(2), 0))), "122");
}

TEST_F(SystemTopicsTest, WaitForTheTime) {
  SystemTopics topics(0, 2, "1");
  EXPECT_EQ(said(topics.told(1, mail(10), here(connected(1), 0))), "");
  EXPECT_EQ(said(topics.due(here(connected(1), 0))), "11");
  // The next time it has to tell again.
  EXPECT_EQ(said(topics.due(here(connected(2), 10))), "");
  EXPECT_EQ(said(topics.told(1, mail(20), here(connected(2), 10))), "22");
  EXPECT_EQ(said(topics.told(1, mail(30), here(connected(2), 10))), "");
}

TEST_F(SystemTopicsTest, CountALateShardWithWhatItToldBefore) {
  SystemTopics topics(0, 2, "1");
  topics.due(here(connected(1), 0));
  topics.told(1, mail(10), here(connected(1), 0));
  EXPECT_EQ(said(topics.due(here(connected(2), 10))), "");
  EXPECT_EQ(said(topics.due(here(connected(3), 20))), "13");
  EXPECT_EQ(said(topics.due(here(connected(4), 30))), "14");
  EXPECT_EQ(said(topics.told(1, mail(20), here(connected(5), 31))), "25");
  EXPECT_EQ(said(topics.due(here(connected(6), 40))), "");
}

TEST_F(SystemTopicsTest, ComeAllAgainAfterASwitch) {
  SystemTopics topics(0, 1, "1");
  const std::size_t all = topics.due(here(connected(1), 0)).size();
  EXPECT_TRUE(topics.due(here(connected(1), 0)).empty());
  topics.switched(false);
  topics.switched(true);
  EXPECT_EQ(topics.switches(), 2U);
  EXPECT_EQ(topics.due(here(connected(1), 0)).size(), all);
}

TEST_F(SystemTopicsTest, WaitForNobodyOnceSwitchedOff) {
  SystemTopics topics(0, 2, "1");
  topics.due(here(connected(1), 0));
  topics.switched(false);
  EXPECT_EQ(said(topics.told(1, mail(10, 1), here(connected(1), 1))), "");
}

TEST_F(SystemTopicsTest, IgnoreThatAShardToldBeforeASwitch) {
  SystemTopics topics(0, 2, "1");
  topics.told(1, mail(10), here(connected(1), 0));
  topics.switched(false);
  topics.told(1, mail(20), here(connected(1), 0));
  topics.switched(true);
  EXPECT_EQ(said(topics.due(here(connected(1), 10))), "");
  EXPECT_EQ(said(topics.told(1, mail(30, 1), here(connected(1), 10))), "");
  EXPECT_EQ(said(topics.told(1, mail(40, 2), here(connected(1), 10))), "41");
}

// The other shard heard of both switches before this one heard of the second.
TEST_F(SystemTopicsTest, AcceptWhatAShardToldAfterASwitchThatIsStillToCome) {
  SystemTopics topics(0, 2, "1");
  topics.switched(false);
  EXPECT_EQ(said(topics.told(1, mail(10, 2), here(connected(1), 0))), "");
  topics.switched(true);
  EXPECT_EQ(said(topics.due(here(connected(1), 0))), "11");
}

}  // namespace
}  // namespace vigil::broker
