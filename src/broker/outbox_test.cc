#include "broker/outbox.h"

#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace vigil::broker {
namespace {

void control(Outbox& outbox, std::string_view text) {
  outbox.control().insert(outbox.control().end(), text.begin(), text.end());
}

void frame(Outbox& outbox, std::string_view text) { std::ranges::copy(text, outbox.add_frame(text.size())); }

void shared_frame(Outbox& outbox, std::string_view head, const MessagePtr& message) {
  std::ranges::copy(head, outbox.add_frame(head.size(), message, message->payload()));
}

// What a socket that takes `n` bytes would see.
std::string take(Outbox& outbox, std::size_t n) {
  std::string taken;
  while (taken.size() < n && !outbox.empty()) {
    std::array<base::Bytes, 3> parts;
    const std::size_t count = outbox.gather(parts);
    std::size_t written = 0;
    for (std::size_t i = 0; i < count && taken.size() < n; ++i) {
      const auto part = base::as_text(parts[i]).substr(0, n - taken.size());
      taken += part;
      written += part.size();
    }
    outbox.consume(written);
  }
  return taken;
}

MessagePtr message(std::string_view payload) {
  return Message::make({.topic = "t", .payload = base::as_bytes(payload)});
}

TEST(Outbox, IsEmptyAtFirst) {
  Outbox outbox;
  std::array<base::Bytes, 4> parts;
  EXPECT_TRUE(outbox.empty());
  EXPECT_EQ(outbox.gather(parts), 0U);
}

TEST(Outbox, EverythingLeavesInTheOrderInWhichItWasAdded) {
  Outbox outbox;
  control(outbox, "ACK1");
  frame(outbox, "first");
  control(outbox, "ACK2");
  control(outbox, "ACK3");
  frame(outbox, "second");
  shared_frame(outbox, "h:", message("payload"));
  control(outbox, "ACK4");
  EXPECT_EQ(take(outbox, 100), "ACK1firstACK2ACK3secondh:payloadACK4");
  EXPECT_TRUE(outbox.empty());
}

TEST(Outbox, TheOrderHoldsWhereverAWriteEnds) {
  const std::string all = "ACK1firstACK2secondACK3third";
  for (std::size_t a = 0; a <= all.size(); ++a) {
    Outbox outbox;
    control(outbox, "ACK1");
    frame(outbox, "first");
    control(outbox, "ACK2");
    frame(outbox, "second");
    std::string taken = take(outbox, a);
    control(outbox, "ACK3");
    frame(outbox, "third");
    taken += take(outbox, 3);
    taken += take(outbox, 100);
    EXPECT_EQ(taken, all) << a;
  }
}

TEST(Outbox, ControlPacketsOfACongestedConnectionPassMessages) {
  Outbox outbox;
  frame(outbox, "message");
  control(outbox, "ACK1");
  outbox.congested();
  control(outbox, "ACK2");
  EXPECT_EQ(take(outbox, 100), "ACK1ACK2message");
  EXPECT_TRUE(outbox.empty());
  // It has been read: from now on order counts again.
  frame(outbox, "message");
  control(outbox, "ACK");
  EXPECT_EQ(take(outbox, 100), "messageACK");
}

TEST(Outbox, AFrameOnceBegunIsFinishedFirst) {
  Outbox outbox;
  frame(outbox, "first");
  frame(outbox, "second");
  EXPECT_EQ(take(outbox, 2), "fi");
  outbox.congested();
  control(outbox, "ACK");
  EXPECT_EQ(take(outbox, 100), "rstACKsecond");
}

TEST(Outbox, SharedPayloadsFollowTheirHead) {
  Outbox outbox;
  shared_frame(outbox, "h1:", message("payload"));
  frame(outbox, "plain");
  EXPECT_EQ(outbox.data_size(), 15U);
  EXPECT_EQ(take(outbox, 5), "h1:pa");
  control(outbox, "!");
  EXPECT_EQ(take(outbox, 100), "yloadplain!");
}

TEST(Outbox, DroppingMessagesKeepsTheFrameUnderWay) {
  Outbox outbox;
  shared_frame(outbox, "h1:", message("payload"));
  frame(outbox, "dropped");
  EXPECT_EQ(take(outbox, 4), "h1:p");
  outbox.drop_messages();
  control(outbox, "BYE");
  EXPECT_EQ(outbox.size(), 9U);
  const auto rest = outbox.take_all();
  EXPECT_EQ(base::as_text(rest), "ayloadBYE");
  EXPECT_TRUE(outbox.empty());
}

TEST(Outbox, DroppingMessagesOfAnIdleSocketLeavesControl) {
  Outbox outbox;
  frame(outbox, "dropped");
  control(outbox, "BYE");
  outbox.drop_messages();
  EXPECT_EQ(take(outbox, 100), "BYE");
}

// Whatever the socket takes at a time: frames stay whole and in order, control packets stay whole and in order. While
// the connection is not congested, the order of both holds.
TEST(Outbox, KeepsFramesWholeUnderRandomWrites) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    base::Random random(seed);
    Outbox outbox;
    std::string data_in;
    std::string control_in;
    std::string all_in;
    std::string out;
    const bool congested = seed % 2 == 0;
    const auto digits = [&](char begin, char fill, char end) {
      return begin + std::string(random.below(seed % 3 == 0 ? 9000 : 40), fill) + end;
    };
    for (int step = 0; step < 300; ++step) {
      switch (random.below(4)) {
        case 0: {
          const std::string text = digits('<', 'd', '>');
          data_in += text;
          all_in += text;
          frame(outbox, text);
          break;
        }
        case 1: {
          const std::string payload = std::string(random.below(300), 'd') + '>';
          data_in += "<" + payload;
          all_in += "<" + payload;
          shared_frame(outbox, "<", message(payload));
          break;
        }
        case 2: {
          control_in += "[cc]";
          all_in += "[cc]";
          control(outbox, "[cc]");
          break;
        }
        default:
          out += take(outbox, random.below(2000));
          if (congested && random.chance(30) && !outbox.empty()) outbox.congested();
      }
    }
    out += take(outbox, SIZE_MAX);
    std::string data_out;
    std::string control_out;
    char inside = 0;
    for (const char c : out) {
      if (inside == 0) inside = c == '<' ? '>' : ']';
      (inside == '>' ? data_out : control_out) += c;
      if (c == inside) inside = 0;
    }
    ASSERT_EQ(data_out, data_in) << "seed " << seed;
    ASSERT_EQ(control_out, control_in) << "seed " << seed;
    if (!congested) {
      ASSERT_EQ(out, all_in) << "seed " << seed;
    }
    ASSERT_EQ(outbox.size(), 0U);
  }
}

}  // namespace
}  // namespace vigil::broker
