#include "broker/shard_core.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace vigil::broker {
namespace {

std::string text_field(std::string_view text) {
  return std::string{static_cast<char>(text.size() >> 8U), static_cast<char>(text.size() & 0xFFU)}.append(text);
}

std::string packet(std::uint8_t first, std::string_view body) {
  std::string out(1, static_cast<char>(first));
  std::size_t left = body.size();
  do {
    const std::size_t low = left & 0x7FU;
    left >>= 7U;
    out += static_cast<char>(left > 0 ? low | 0x80U : low);
  } while (left > 0);
  return out.append(body);
}

// One client of one shard, on this machine.
class OneClient {
 public:
  OneClient() : core_({}, now_) {
    PeerInfo peer;
    peer.address = "127.0.0.1:5";
    peer.loopback = peer.allow_anonymous = true;
    id_ = core_.opened(std::move(peer), now_);
    send(packet(0x10, std::string("\0\4MQTT\4\2\0\0", 10) + text_field("big")));
  }

  void send(std::string_view bytes) { core_.received(id_, base::as_bytes(bytes), now_); }
  void subscribe(std::string_view filter) {
    send(packet(0x82, std::string("\0\1", 2) + text_field(filter) + std::string(1, '\0')));
  }
  // Takes all output from the core; keeps what small packets say.
  std::string take() {
    std::string taken;
    core_.end_turn();
    Effects effects;
    effects.mail.resize(1);
    effects.late_mail.resize(1);
    effects.swap(core_.effects());
    for (Mail& mail : effects.mail[0]) core_.mail(std::move(mail), now_);
    while (const Outbox* outbox = core_.outbox(id_)) {
      std::array<base::Bytes, 16> pieces;
      std::size_t size = 0;
      for (const base::Bytes piece : std::span(pieces).first(outbox->gather(pieces))) {
        size += piece.size();
        if (piece.size() < 65'536) taken += base::as_text(piece);
      }
      if (size == 0) break;
      sent_ += size;
      core_.wrote(id_, size, SocketRoom::Left, now_);
    }
    return taken;
  }
  std::uint64_t sent() const { return sent_; }

 private:
  base::Instant now_ = base::Instant::from_ns(1'000'000'000);
  ShardCore core_;
  ConnectionId id_;
  std::uint64_t sent_ = 0;
};

TEST(ShardCore, CountsMoreBytesThanFitIntoAConnectionsCounters) {
  OneClient client;
  client.take();
  client.send(packet(0x31, text_field("large") + std::string(1'000'000, 'x')));
  // Each time the retained message comes again.
  for (int i = 0; i < 8'700; ++i) {
    client.subscribe("large");
    client.take();
  }
  ASSERT_GT(client.sent(), std::uint64_t{2} << 32U);
  const std::uint64_t sent = client.sent();
  client.subscribe("$SYS/clients/big/state");
  std::string state;
  for (int i = 0; i < 5 && !state.contains("bytesSent"); ++i) state += client.take();
  // (SUBACK and the like may be counted, or not yet.)
  const std::size_t at = state.find("\"bytesSent\":");
  ASSERT_NE(at, std::string::npos) << state;
  const std::uint64_t counted = std::stoull(state.substr(at + 12));
  EXPECT_GE(counted, sent);
  EXPECT_LE(counted, client.sent());
}

// A write that was not offered everything is no sign of a peer that does not read: answers keep their place.
TEST(ShardCore, AnswersKeepTheirPlaceWhereAWriteIsOfferedAPart) {
  OneClient client;
  client.take();
  // Too large to be copied: each is two pieces of a write.
  for (char name = 'a'; name < 'z'; ++name) {
    client.send(packet(0x31, text_field(std::string("r/") + name) + std::string(3'000, 'x')));
  }
  client.subscribe("r/#");
  client.send(packet(0xC0, ""));
  const std::string all = client.take();
  EXPECT_GT(all.size(), 25U * 3'000U);
  EXPECT_EQ(all.substr(0, 5), std::string("\x90\x03\x00\x01\x00", 5));
  EXPECT_EQ(all.substr(all.size() - 2), std::string("\xD0\x00", 2));
}

// A shard's counters that were on their way when the figures were switched off are not those of when they are on again.
TEST(ShardCore, PublishesFiguresOfAfterTheSwitch) {
  base::Instant now = base::Instant::from_ns(1'000'000'000);
  ShardCore core({.id = 0, .shards = 2}, now);
  Limits limits;
  const auto told = [&](std::uint64_t connected, std::uint32_t switches) {
    Stats stats;
    stats.clients_connected = connected;
    core.mail({1, StatsMail{std::make_shared<const Stats>(stats), switches}}, now);
  };
  // What clients/connected is said to be, if anything.
  const auto connected = [&]() -> std::string {
    std::string text;
    Effects effects;
    effects.mail.resize(2);
    effects.late_mail.resize(2);
    effects.swap(core.effects());
    for (const Mail& mail : effects.mail[1]) {
      const auto* publish = std::get_if<PublishMail>(&mail.body);
      if (publish != nullptr && publish->message->topic() == "$SYS/broker/clients/connected")
        text = base::as_text(publish->message->payload());
    }
    return text;
  };
  core.advance(now += base::seconds(1));
  EXPECT_EQ(connected(), "");  // the other shard has not told
  told(1, 0);
  EXPECT_EQ(connected(), "1");
  limits.sys_enabled = false;
  core.reconfigure(limits, {});
  told(2, 0);
  limits.sys_enabled = true;
  core.reconfigure(limits, {});
  core.advance(now += base::seconds(100));
  EXPECT_EQ(connected(), "");
  told(3, 2);
  EXPECT_EQ(connected(), "3");
  // The other shard may hear of the switch first.
  limits.sys_enabled = false;
  core.reconfigure(limits, {});
  told(4, 4);
  limits.sys_enabled = true;
  core.reconfigure(limits, {});
  core.advance(now += base::seconds(100));
  EXPECT_EQ(connected(), "4");
}

}  // namespace
}  // namespace vigil::broker
