#include "broker/figures.h"

#include <map>
#include <set>

namespace vigil::broker {
namespace {

std::map<std::string, std::string> by_topic(const std::vector<FigureTexts::Text>& texts) {
  std::map<std::string, std::string> result;
  for (const auto& [topic, text] : texts) result.emplace(topic, text);
  return result;
}

TEST(Figures, HaveNamesOfTheirOwn) {
  FigureTexts figures;
  const auto all = figures.update({}, "1", base::seconds(0));
  EXPECT_EQ(by_topic(all).size(), all.size());
}

TEST(Figures, ComeWhenTheyHaveChanged) {
  FigureTexts figures;
  Stats stats;
  EXPECT_GT(figures.update(stats, "1", base::seconds(0)).size(), 30U);
  EXPECT_TRUE(figures.update(stats, "1", base::seconds(0)).empty());
  stats.wills_published = 2;
  const auto changed = by_topic(figures.update(stats, "1", base::seconds(0)));
  EXPECT_EQ(changed, (std::map<std::string, std::string>{{"$SYS/broker/wills/published", "2"}}));
  figures.publish_all_again();
  EXPECT_GT(figures.update(stats, "1", base::seconds(0)).size(), 30U);
}

// The names that mosquitto's dashboards read, without those of the heap.
TEST(Figures, HaveTheNamesOfMosquitto) {
  FigureTexts figures;
  const auto all = by_topic(figures.update({}, "1", base::seconds(0)));
  for (const std::string name : {"bytes/received",
                                 "bytes/sent",
                                 "clients/active",
                                 "clients/connected",
                                 "clients/disconnected",
                                 "clients/expired",
                                 "clients/inactive",
                                 "clients/maximum",
                                 "clients/total",
                                 "messages/received",
                                 "messages/sent",
                                 "messages/stored",
                                 "publish/bytes/received",
                                 "publish/bytes/sent",
                                 "publish/messages/dropped",
                                 "publish/messages/received",
                                 "publish/messages/sent",
                                 "retained messages/count",
                                 "shared_subscriptions/count",
                                 "store/messages/bytes",
                                 "store/messages/count",
                                 "subscriptions/count",
                                 "uptime",
                                 "version"}) {
    EXPECT_TRUE(all.contains("$SYS/broker/" + name)) << name;
  }
  for (const std::string load : {"bytes/received", "bytes/sent", "connections", "messages/received", "messages/sent",
                                 "publish/dropped", "publish/received", "publish/sent", "sockets"}) {
    for (const std::string window : {"1min", "5min", "15min"}) {
      const std::string topic = "$SYS/broker/load/" + load + "/" + window;
      ASSERT_TRUE(all.contains(topic)) << topic;
      EXPECT_EQ(all.at(topic), "0.00");
    }
  }
}

TEST(Figures, CountWhatTheySay) {
  FigureTexts figures;
  figures.update({}, "1", base::seconds(0));
  Stats stats;
  stats.clients_connected = 3;
  stats.clients_disconnected = 4;
  stats.retained_messages = 10;
  stats.retained_bytes = 1000;
  stats.queued_messages = 20;
  stats.queued_bytes = 2000;
  stats.inflight_messages = 30;
  stats.publish_received = 60;
  const auto changed = by_topic(figures.update(stats, "1", base::seconds(60)));
  EXPECT_EQ(changed.at("$SYS/broker/uptime"), "60 seconds");
  EXPECT_EQ(changed.at("$SYS/broker/clients/active"), "3");
  EXPECT_EQ(changed.at("$SYS/broker/clients/inactive"), "4");
  EXPECT_EQ(changed.at("$SYS/broker/clients/total"), "7");
  EXPECT_EQ(changed.at("$SYS/broker/clients/maximum"), "3");
  EXPECT_EQ(changed.at("$SYS/broker/messages/stored"), "60");
  EXPECT_EQ(changed.at("$SYS/broker/store/messages/count"), "60");
  EXPECT_EQ(changed.at("$SYS/broker/store/messages/bytes"), "3000");
  EXPECT_EQ(changed.at("$SYS/broker/messages/queued"), "20");
  EXPECT_EQ(changed.at("$SYS/broker/load/publish/received/1min"), "37.93");  // 60 a minute, for a minute
  EXPECT_EQ(changed.at("$SYS/broker/load/publish/received/15min"), "3.87");
  EXPECT_FALSE(changed.contains("$SYS/broker/load/publish/sent/1min"));
  stats.clients_connected = 1;
  EXPECT_FALSE(by_topic(figures.update(stats, "1", base::seconds(61))).contains("$SYS/broker/clients/maximum"));
}

}  // namespace
}  // namespace vigil::broker
