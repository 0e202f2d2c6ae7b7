#include "broker/presence.h"

#include <malloc.h>

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

// Forgets all that are to be forgotten; who they were, in this order.
std::vector<std::string> forget(Presence& presence, base::Instant now, std::size_t most = SIZE_MAX) {
  std::vector<std::string> gone;
  presence.forget(now, most, [&gone](const PresenceRecord& record) {
    gone.push_back(record.client_id.str());
    return true;
  });
  return gone;
}

using Names = std::vector<std::string>;
const base::Instant kStart = base::Instant::from_ns(0) + base::seconds(1'000);

TEST(Presence, ForgetsWhoHasBeenAwayLongestAndNobodyElse) {
  Presence presence({.records = 2, .history = 3});
  const PresenceId a = presence.open("a");
  const PresenceId b = presence.open("b");
  presence.may_forget(b, kStart);
  presence.may_forget(a, kStart);
  EXPECT_TRUE(presence.due(kStart).is_never());
  presence.open("c");
  EXPECT_EQ(presence.due(kStart), kStart);
  EXPECT_EQ(forget(presence, kStart), (Names{"b"}));
  EXPECT_EQ(presence.find(b), nullptr);
  EXPECT_NE(presence.find(a), nullptr);
  // A client that has come back since is not forgotten.
  presence.find(a)->connected = true;
  presence.open("d");
  EXPECT_EQ(forget(presence, kStart), Names{});
  EXPECT_EQ(presence.size(), 3U);
}

TEST(Presence, ForgetsByAge) {
  Presence presence({.records = 10, .keep = base::seconds(3'600)});
  const auto leaves = [&](std::string_view id, base::Instant at) { presence.may_forget(presence.open(id), at); };
  leaves("a", kStart);
  leaves("b", kStart + base::seconds(1));
  EXPECT_EQ(presence.due(kStart), kStart + base::seconds(3'600));
  EXPECT_EQ(forget(presence, kStart + base::seconds(3'599)), Names{});
  EXPECT_EQ(forget(presence, kStart + base::seconds(3'600)), (Names{"a"}));
  EXPECT_EQ(presence.due(kStart), kStart + base::seconds(3'601));
  // A session keeps its record, however long its client is away.
  presence.find("b")->has_session = true;
  EXPECT_EQ(forget(presence, kStart + base::seconds(9'999)), Names{});
  EXPECT_TRUE(presence.due(kStart).is_never());
}

TEST(Presence, RemembersForEverWhereNoAgeIsSet) {
  Presence presence({.records = 10});
  presence.may_forget(presence.open("a"), kStart);
  EXPECT_TRUE(presence.due(kStart).is_never());
}

// An id that the broker gave out is forgotten soon, also behind one that stays for long.
TEST(Presence, ForgetsAssignedIdsSoon) {
  Presence presence({.records = 10});
  presence.may_forget(presence.open("own"), kStart);
  base::Random random(1);
  const std::string assigned = make_client_id(random);
  presence.may_forget(presence.open(assigned), kStart);
  EXPECT_EQ(presence.due(kStart), kStart + Presence::kKeepAssigned);
  EXPECT_EQ(forget(presence, kStart + Presence::kKeepAssigned), (Names{assigned}));
  // Where all are forgotten sooner than that, so are these.
  presence.set_bounds({.records = 10, .keep = base::seconds(60)});
  presence.may_forget(presence.open(assigned), kStart);
  EXPECT_EQ(forget(presence, kStart + base::seconds(60)), (Names{assigned, "own"}));
}

TEST(Presence, KnowsTheIdsThatItGivesOut) {
  base::Random random(7);
  EXPECT_TRUE(is_assigned(make_client_id(random)));
  EXPECT_FALSE(is_assigned("auto-0123456789abcdef012"));
  EXPECT_FALSE(is_assigned("auto-0123456789abcdef01234"));
  EXPECT_FALSE(is_assigned("auto-0123456789ABCDEF0123"));
  EXPECT_FALSE(is_assigned("Auto-0123456789abcdef0123"));
}

TEST(Presence, ForgetsInSteps) {
  Presence presence({.records = 100, .keep = base::seconds(1)});
  for (int i = 0; i < 10; ++i) presence.may_forget(presence.open(std::to_string(i)), kStart);
  const base::Instant later = kStart + base::seconds(2);
  EXPECT_EQ(forget(presence, later, 4).size(), 4U);
  EXPECT_LE(presence.due(later), later);
  EXPECT_EQ(forget(presence, later, 4), (Names{"4", "5", "6", "7"}));
}

// What its end waits for may take a while: then it is as if the client had left only now.
TEST(Presence, AClientThatMayNotGoYetWaitsOn) {
  Presence presence({.records = 100, .keep = base::seconds(1)});
  presence.may_forget(presence.open("a"), kStart);
  const base::Instant later = kStart + base::seconds(5);
  presence.forget(later, SIZE_MAX, [](const PresenceRecord&) { return false; });
  EXPECT_NE(presence.find("a"), nullptr);
  EXPECT_EQ(presence.due(later), later + base::seconds(1));
}

// However often a client comes and goes.
TEST(Presence, TheListOfThoseWhoLeftIsBounded) {
  Presence presence({.records = 100});
  const PresenceId id = presence.open("a");
  for (int i = 0; i < 100'000; ++i) {
    ++presence.find(id)->incarnation;
    presence.may_forget(id, kStart + base::milliseconds(i));
  }
  std::size_t looks = 0;
  presence.open("b");
  presence.set_bounds({.records = 1});
  for (; presence.due(kStart) == kStart; ++looks) forget(presence, kStart, 1);
  EXPECT_LT(looks, 200U);
  EXPECT_EQ(presence.find("a"), nullptr);
}

TEST(Presence, TheIncarnationOfAClientThatWasForgottenGoesOn) {
  Presence presence({.records = 10});
  const PresenceId id = presence.open("a");
  presence.find(id)->incarnation = 77;
  presence.forget(id);
  EXPECT_GE(presence.find(presence.open("a"))->incarnation, 77U);
}

TEST(Presence, WhatTheStoreHasOfAClientThatIsForgottenIsNamed) {
  Presence presence({.records = 10});
  presence.forget(presence.open("a"));
  EXPECT_EQ(presence.take_forgotten(), Names{});
  const PresenceId id = presence.open("b");
  presence.find(id)->stored = true;
  presence.forget(id);
  EXPECT_EQ(presence.take_forgotten(), (Names{"b"}));
}

// --- the start

PresenceRecord left(std::string_view client_id, std::int64_t at) {
  PresenceRecord record;
  record.client_id = client_id;
  record.change_past().disconnected_at_ms = at;
  return record;
}

TEST(Presence, GoesOnForgettingAfterARestart) {
  constexpr std::int64_t kSecond = 1'000;
  Presence presence({.records = 10, .keep = base::seconds(100)});
  const Moment now{base::Instant::from_ns(5), kNoon};  // the machine has just started: they left before its clock began
  EXPECT_TRUE(presence.restore(left("second", kNoon - 50 * kSecond), now));
  EXPECT_TRUE(presence.restore(left("first", kNoon - 60 * kSecond), now));
  EXPECT_TRUE(presence.restore(left("tomorrow", kNoon + 9'999 * kSecond), now));  // by a clock that was wrong
  EXPECT_FALSE(presence.restore(left("before", kNoon - 100 * kSecond), now));
  EXPECT_FALSE(presence.restore(left("auto-0123456789abcdef0123", kNoon - 600 * kSecond), now));
  EXPECT_EQ(presence.take_forgotten(), (Names{"before", "auto-0123456789abcdef0123"}));
  PresenceRecord away = left("away", kNoon - 999 * kSecond);
  away.has_session = true;
  EXPECT_TRUE(presence.restore(std::move(away), now));
  presence.restored(now);
  EXPECT_EQ(presence.due(now.at), now.at + base::seconds(40));
  EXPECT_EQ(forget(presence, now.at + base::seconds(99)), (Names{"first", "second"}));
  EXPECT_EQ(forget(presence, now.at + base::seconds(100)), (Names{"tomorrow"}));
  EXPECT_NE(presence.find("away"), nullptr);
}

// A session that was expected and did not come keeps nobody.
TEST(Presence, AfterARestartAClientWithoutASessionWaits) {
  Presence presence({.records = 10, .keep = base::seconds(100)});
  PresenceRecord record = left("a", kNoon - 999'000);
  record.has_session = true;
  const PresenceId id = presence.restore(std::move(record), {kStart, kNoon});
  presence.find(id)->has_session = false;
  presence.restored({kStart, kNoon});
  EXPECT_EQ(forget(presence, kStart), (Names{"a"}));
}

// Whatever the order in which the store gives them back, and never more in memory than that.
TEST(Presence, AStartWithALowerBoundKeepsTheLatest) {
  Presence presence({.records = 3});
  for (const int i : {4, 9, 1, 7, 8, 2, 6}) {
    presence.restore(left(std::to_string(i), kNoon - 100 + i), {kStart, kNoon});
    EXPECT_LE(presence.size(), 3U);
  }
  presence.restored({kStart, kNoon});
  EXPECT_EQ(presence.size(), 3U);
  for (const char* kept : {"7", "8", "9"}) EXPECT_NE(presence.find(kept), nullptr) << kept;
  EXPECT_EQ(presence.take_forgotten().size(), 4U);
  // As they left.
  presence.set_bounds({.records = 0});
  EXPECT_EQ(forget(presence, kStart), (Names{"7", "8", "9"}));
}

// --- memory

TEST(Presence, ForgetsAboveItsBoundOfBytes) {
  const std::string padding(1'000, 'x');
  Presence presence({.bytes = 100'000});
  for (int i = 0; i < 1'000; ++i) {
    presence.may_forget(presence.open(padding + std::to_string(i)), kStart);
    forget(presence, kStart);
    EXPECT_LE(presence.memory(), 100'000U);
  }
  EXPECT_GT(presence.size(), 70U);
  EXPECT_LT(presence.size(), 100U);
  EXPECT_NE(presence.find(padding + "999"), nullptr);
}

TEST(Presence, CountsNothingWhenAllAreForgotten) {
  Presence presence({.history = 5, .keep = base::seconds(1)});
  for (int i = 0; i < 100; ++i) {
    const PresenceId id = presence.open(std::to_string(i));
    PresenceRecord& record = *presence.find(id);
    for (int event = 0; event < i; ++event) {
      presence.note(record, {.unix_ms = event, .address = base::Text("192.0.2.1:" + std::to_string(event))});
    }
    record.change_past().detail = std::string(static_cast<std::size_t>(i), 'd');
    presence.may_forget(id, kStart);
  }
  EXPECT_GT(presence.memory(), 20'000U);
  forget(presence, kStart + base::seconds(1));
  EXPECT_EQ(presence.memory(), 0U);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// What is counted is what the heap has given, within a fifth.
class PresenceMemory : public testing::Test {
 protected:
  static std::size_t heap() {
    const auto info = mallinfo2();
    return info.uordblks + info.hblkhd;
  }
  // A life such as clients have: connections from another address each, and what belongs to them.
  static void live(Presence& presence, PresenceId id, int connections, bool taken_over) {
    for (int i = 0; i < connections; ++i) {
      PresenceRecord& record = *presence.find(id);
      record.keep_history();
      record.incarnation = kNoon + static_cast<std::uint64_t>(i);
      record.connected_at_ms = kNoon + i;
      record.address = "198.51.100.7:" + std::to_string(10'000 + i);
      const auto event = [&](PresenceEventKind kind, const base::Text& address) {
        presence.note(record,
                      {.kind = kind, .unix_ms = kNoon + i, .incarnation = record.incarnation, .address = address});
      };
      event(PresenceEventKind::Connected, record.address);
      if (taken_over) {
        event(PresenceEventKind::TakenOver, base::Text("198.51.100.7:" + std::to_string(10'001 + i)));
      }
      record.change_past().disconnects.add(kNoon + i * kMinute * 5);
      record.change_past().detail = taken_over ? "" : "the peer closed the socket";
      event(PresenceEventKind::Disconnected, record.address);
      if (!taken_over) event(PresenceEventKind::SessionEnded, {});
    }
    presence.may_forget(id, kStart);
  }
  static void expect_honest(int clients, std::size_t id_size, int connections, bool taken_over) {
    const std::size_t before = heap();
    Presence presence({.history = 16});
    for (int i = 0; i < clients; ++i) {
      std::string id = std::to_string(i);
      id.resize(std::max(id.size(), id_size), 'x');
      live(presence, presence.open(id), connections, taken_over);
    }
    const std::size_t used = heap() - before;
    EXPECT_GT(presence.memory(), used * 8 / 10) << used / clients << " a client";
    EXPECT_LT(presence.memory(), used * 12 / 10) << used / clients << " a client";
  }
};

TEST_F(PresenceMemory, OfClientsThatCameOnce) { expect_honest(20'000, 25, 1, false); }
TEST_F(PresenceMemory, OfClientsThatAreThere) { expect_honest(20'000, 23, 0, false); }
TEST_F(PresenceMemory, OfClientsWithAFullHistory) { expect_honest(2'000, 12, 30, false); }
TEST_F(PresenceMemory, OfClientsThatFight) { expect_honest(2'000, 12, 30, true); }
TEST_F(PresenceMemory, OfClientsWithLongIds) { expect_honest(2'000, 1'024, 3, false); }
#endif

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

TEST(Presence, ATopicLevelStandsForItsClientId) {
  for (const std::string_view id : {"plain-id_1", "a/b+c#d%e", "$x$y", "%41", "100%"}) {
    EXPECT_EQ(client_id_of(topic_level(id)), id);
  }
  EXPECT_EQ(client_id_of("50%"), "50%");
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
