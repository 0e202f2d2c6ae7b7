#include "broker/presence.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "broker/ending.h"

namespace vigil::broker {
namespace {

constexpr std::int64_t kMinute = 60'000;
constexpr std::int64_t kNoon = 1'900'000'000'000;

TEST(Presence, FindsARecordByItsClientId) {
  Presence presence({.records = 10, .history = 4});
  const PresenceId id = presence.open("a");
  EXPECT_EQ(presence.open("a"), id);
  EXPECT_EQ(presence.find("a"), presence.find(id));
  EXPECT_EQ(presence.find("b"), nullptr);
}

std::vector<std::int64_t> times_of(const PresenceRecord& record) {
  std::vector<std::int64_t> times;
  record.for_each_event([&](const PresenceEvent& event) { times.push_back(event.unix_ms); });
  return times;
}

// The first CONNECT is not kept twice; what changes the record later does not change what was.
TEST(Presence, TheFirstConnectStaysInTheHistoryAsItWas) {
  Presence presence({.records = 10, .history = 3});
  PresenceRecord& record = *presence.find(presence.open("a"));
  record.connected_at_ms = kNoon;
  record.incarnation = 7;
  record.address = std::string_view("192.0.2.1:9");
  const PresenceEvent connected{
      .kind = PresenceEventKind::Connected, .unix_ms = kNoon, .incarnation = 7, .address = base::Text("192.0.2.1:9")};
  presence.note(record, connected);
  const auto history = [&record] {
    std::vector<PresenceEvent> events;
    record.for_each_event([&](const PresenceEvent& event) { events.push_back(event); });
    return events;
  };
  EXPECT_EQ(history(), (std::vector{connected}));
  record.keep_history();
  record.connected_at_ms = kNoon + 5;
  record.incarnation = 8;
  record.address = std::string_view("192.0.2.2:9");
  EXPECT_EQ(history(), (std::vector{connected}));
  const PresenceEvent again{.kind = PresenceEventKind::Connected,
                            .unix_ms = kNoon + 5,
                            .incarnation = 8,
                            .address = base::Text("192.0.2.2:9")};
  presence.note(record, again);
  EXPECT_EQ(history(), (std::vector{connected, again}));
}

TEST(Presence, KeepsNoHistoryWhereNoneIsWanted) {
  Presence presence({.records = 10, .history = 0});
  PresenceRecord& record = *presence.find(presence.open("a"));
  presence.note(record, {.kind = PresenceEventKind::Connected});
  EXPECT_EQ(record.event_count(), 0U);
  EXPECT_EQ(record.sequence, 1U);
}

TEST(Presence, KeepsABoundedHistory) {
  Presence presence({.records = 10, .history = 3});
  PresenceRecord& record = *presence.find(presence.open("a"));
  for (std::int64_t i = 0; i < 5; ++i) presence.note(record, {.kind = PresenceEventKind::Connected, .unix_ms = i});
  EXPECT_EQ(times_of(record), (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_EQ(record.sequence, 5U);
  // What passes by itself counts as an event, and pushes nothing out.
  presence.note(record, {.kind = PresenceEventKind::AtRisk, .unix_ms = 5});
  presence.note(record, {.kind = PresenceEventKind::Recovered, .unix_ms = 6});
  EXPECT_EQ(times_of(record), (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_EQ(record.sequence, 7U);
}

TEST(Presence, ForgetsWhoHasBeenAwayLongestAndNobodyElse) {
  Presence presence({.records = 2, .history = 3});
  const PresenceId a = presence.open("a");
  const PresenceId b = presence.open("b");
  presence.may_forget(b);
  presence.may_forget(a);
  presence.open("c");
  EXPECT_EQ(presence.find(b), nullptr);
  EXPECT_NE(presence.find(a), nullptr);
  // Who has come back since is not forgotten.
  presence.find(a)->connected = true;
  presence.open("d");
  EXPECT_NE(presence.find(a), nullptr);
  EXPECT_EQ(presence.size(), 3U);
}

TEST(RecentCount, CountsAnHourAndADay) {
  RecentCount count;
  count.add(kNoon - 25 * 60 * kMinute);
  count.add(kNoon - 23 * 60 * kMinute);
  count.add(kNoon - 30 * kMinute);
  count.add(kNoon);
  count.add(kNoon);
  EXPECT_EQ(count.last_hour(kNoon), 3U);
  EXPECT_EQ(count.last_day(kNoon), 4U);
  EXPECT_EQ(count.last_hour(kNoon + 120 * kMinute), 0U);
}

TEST(Rhythm, FindsTheMeanAndTheJitter) {
  Rhythm rhythm;
  EXPECT_FALSE(rhythm.known());
  for (int i = 0; i < 200; ++i) rhythm.beat(base::milliseconds(i % 2 == 0 ? 900 : 1100));
  EXPECT_NEAR(rhythm.mean_ms(), 1000, 20);
  EXPECT_NEAR(rhythm.jitter_ms(), 100, 20);
}

TEST(Presence, ClientIdsBecomeOneTopicLevel) {
  EXPECT_EQ(topic_level("plain-id_1"), "plain-id_1");
  EXPECT_EQ(topic_level("a/b+c#d%e"), "a%2Fb%2Bc%23d%25e");
  EXPECT_EQ(topic_level("$x$y"), "%24x$y");
}

TEST(Presence, TheStateOfALiveClientHasItsDeadline) {
  PresenceRecord record;
  record.client_id = "a";
  record.connected = true;
  record.incarnation = 7;
  record.keep_alive_s = 60;
  const base::Instant now = base::Instant::from_ns(0) + base::seconds(100);
  LiveView live{.connected = true,
                .last_heard = now - base::seconds(10),
                .deadline = now + base::seconds(80),
                .subscriptions = 2};
  const auto json = nlohmann::json::parse(state_json(record, live, "n1", {now, kNoon}, {}));
  EXPECT_EQ(json["connectionState"], "CONNECTED");
  EXPECT_EQ(json["lastSeenAt"], kNoon - 10'000);
  EXPECT_EQ(json["deadlineAt"], kNoon + 80'000);
  EXPECT_EQ(json["timeLeftMs"], 80'000);
  EXPECT_EQ(json["subscriptions"], 2);
  EXPECT_EQ(json["incarnation"], 7);
}

TEST(Presence, TheStateOfAClientThatIsGoneSaysWhy) {
  PresenceRecord record;
  record.client_id = "a";
  record.reason = DisconnectReason::KeepAliveTimeout;
  record.change_past().verdict = base::TcpVerdict::NobodyAcknowledges;
  record.change_past().evidence = base::TcpEvidence{.unacknowledged_bytes = 12, .retransmits = 3};
  record.change_past().disconnected_at_ms = kNoon;
  const auto json = nlohmann::json::parse(state_json(record, {}, "n1", {base::Instant(), kNoon}, {}));
  EXPECT_EQ(json["connectionState"], "DISCONNECTED");
  EXPECT_EQ(json["disconnectReason"], "KEEP_ALIVE_TIMEOUT");
  EXPECT_EQ(json["evidence"]["verdict"], "NOBODY_ACKNOWLEDGES");
  EXPECT_EQ(json["evidence"]["retransmits"], 3);
}

TEST(Flapping, IsSeenWhenTakeOversFollowEachOtherFast) {
  Limits limits;
  limits.flapping_takeovers = 3;
  limits.flapping_hold_off = true;
  Flapping flapping;
  base::Instant now = base::Instant::from_ns(0) + base::seconds(1000);
  EXPECT_FALSE(flapping.taken_over(now, limits));
  EXPECT_FALSE(flapping.taken_over(now, limits));
  EXPECT_TRUE(flapping.taken_over(now, limits));
  EXPECT_EQ(flapping.held_until(), now + base::seconds(1));
  // Held off for longer each time.
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(flapping.taken_over(now, limits));
  EXPECT_TRUE(flapping.taken_over(now, limits));
  EXPECT_EQ(flapping.held_until(), now + base::seconds(2));
}

TEST(Flapping, NeverOfTakeOversFarApart) {
  Limits limits;
  limits.flapping_takeovers = 2;
  Flapping flapping;
  base::Instant now = base::Instant::from_ns(0) + base::seconds(1000);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(flapping.taken_over(now, limits));
    now += limits.flapping_window + base::seconds(1);
  }
}

TEST(Ending, OnlyAGoodbyeCancelsTheWill) {
  for (int i = 0; i <= static_cast<int>(DisconnectReason::ServerShutdown); ++i) {
    const auto cause = static_cast<DisconnectReason>(i);
    EXPECT_EQ(ending_of(cause).will == WillFate::Cancelled, cause == DisconnectReason::ClientDisconnect) << name(cause);
  }
}

}  // namespace
}  // namespace vigil::broker
