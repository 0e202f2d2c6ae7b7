#include "broker/presence_record.h"

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

constexpr std::int64_t kNoon = 1'900'000'000'000;

PresenceRecord full_record() {
  PresenceRecord r;
  PresencePast& past = r.change_past();
  r.client_id = std::string_view("boiler/7");
  r.incarnation = 1'900'000'000'123;
  r.sequence = 5;
  r.connected = true;
  r.has_session = true;
  r.version = mqtt::Version::V5;
  r.clean_start = false;
  r.session_expiry_s = UINT32_MAX;
  r.keep_alive_s = 60;
  r.address = std::string_view("192.0.2.1:4000");
  r.connected_at_ms = kNoon;
  past.disconnected_at_ms = kNoon + 1;
  past.last_seen_ms = kNoon + 2;
  r.reason = DisconnectReason::KeepAliveTimeout;
  past.detail = "nothing came";
  past.evidence = base::TcpEvidence{.unsent_bytes = 1, .retransmits = 6, .rtt_us = 900, .state = 1, .timed_out = true};
  past.verdict = base::TcpVerdict::NobodyAcknowledges;
  r.proxied = true;
  past.disconnects.add(kNoon - 3'000'000);
  past.disconnects.add(kNoon);
  r.connects = 8;
  past.takeovers = 2;
  past.keep_alive_timeouts = 3;
  past.wills_published = 4;
  past.wills_cancelled = 1;
  past.packets_received = UINT64_MAX;
  past.packets_sent = 10;
  past.bytes_received = 11;
  past.bytes_sent = 12;
  r.append({.kind = PresenceEventKind::Connected, .unix_ms = kNoon, .incarnation = 1, .address = base::Text("x")}, 16);
  r.append({.kind = PresenceEventKind::Disconnected,
            .reason = DisconnectReason::ServerShutdown,
            .unix_ms = kNoon + 1,
            .incarnation = 2},
           16);
  return r;
}

std::vector<std::uint8_t> encoded(const PresenceRecord& record) {
  std::vector<std::uint8_t> bytes;
  encode_presence(record, bytes);
  return bytes;
}

TEST(PresenceRecord, GivesBackWhatOutlivesARestart) {
  const PresenceRecord record = full_record();
  const auto got = decode_presence(encoded(record));
  ASSERT_TRUE(got.has_value()) << got.error();
  EXPECT_EQ(got->client_id, record.client_id);
  EXPECT_EQ(got->incarnation, record.incarnation);
  EXPECT_EQ(got->sequence, record.sequence);
  EXPECT_TRUE(got->connected && got->has_session && got->proxied);
  EXPECT_FALSE(got->clean_start);
  EXPECT_EQ(got->version, record.version);
  EXPECT_EQ(got->session_expiry_s, record.session_expiry_s);
  EXPECT_EQ(got->keep_alive_s, record.keep_alive_s);
  EXPECT_EQ(got->address, record.address);
  EXPECT_EQ(got->connected_at_ms, record.connected_at_ms);
  EXPECT_EQ(got->past().disconnected_at_ms, record.past().disconnected_at_ms);
  EXPECT_EQ(got->past().last_seen_ms, record.past().last_seen_ms);
  EXPECT_EQ(got->reason, record.reason);
  EXPECT_EQ(got->past().detail, record.past().detail);
  EXPECT_EQ(got->past().evidence, record.past().evidence);
  EXPECT_EQ(got->past().verdict, record.past().verdict);
  EXPECT_EQ(got->past().disconnects.buckets(), record.past().disconnects.buckets());
  EXPECT_EQ(got->past().disconnects.last_hour(kNoon), 2U);
}

TEST(PresenceRecord, GivesBackCountersAndHistory) {
  const PresenceRecord record = full_record();
  const auto got = decode_presence(encoded(record));
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->connects, 8U);
  EXPECT_EQ(got->past().takeovers, 2U);
  EXPECT_EQ(got->past().keep_alive_timeouts, 3U);
  EXPECT_EQ(got->past().wills_published, 4U);
  EXPECT_EQ(got->past().wills_cancelled, 1U);
  EXPECT_EQ(got->past().packets_received, UINT64_MAX);
  EXPECT_EQ(got->past().bytes_sent, 12U);
  std::vector<PresenceEvent> history;
  got->for_each_event([&](const PresenceEvent& event) { history.push_back(event); });
  ASSERT_EQ(history.size(), 2U);
  EXPECT_EQ(history[0].address, "x");
  EXPECT_EQ(history[1].kind, PresenceEventKind::Disconnected);
  EXPECT_EQ(history[1].reason, DisconnectReason::ServerShutdown);
  EXPECT_EQ(history[1].unix_ms, kNoon + 1);
  // The same bytes again: nothing that is written was left out above.
  EXPECT_EQ(encoded(*got), encoded(record));
}

TEST(PresenceRecord, IsSmallForAClientThatJustConnected) {
  PresenceRecord record;
  record.client_id = std::string_view("sensor-000001");
  record.incarnation = 1'900'000'000'123;
  record.address = std::string_view("192.0.2.1:4000");
  record.connected_at_ms = kNoon;
  EXPECT_LT(encoded(record).size(), 80U);
}

TEST(PresenceRecord, RefusesWhatIsCutOffOrTooLongOrNewer) {
  std::vector<std::uint8_t> bytes = encoded(full_record());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_presence(base::Bytes(bytes).first(size)).has_value());
  }
  bytes.push_back(0);
  EXPECT_FALSE(decode_presence(bytes).has_value());
  bytes.pop_back();
  bytes[0] = 2;
  EXPECT_EQ(decode_presence(bytes).error(), "the presence record has version 2, which this broker does not know");
}

}  // namespace
}  // namespace vigil::broker
