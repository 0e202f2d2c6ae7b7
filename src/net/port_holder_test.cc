#include "net/port_holder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vigil::net {
namespace {

using State = PortUse::State;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

io::Endpoint at(std::string_view text) { return *io::Endpoint::parse(text); }

const FindProcess kNobody = [](std::uint64_t) -> std::optional<Process> { return std::nullopt; };
const FindProcess kMosquitto = [](std::uint64_t inode) -> std::optional<Process> {
  if (inode != 4711) return std::nullopt;
  return Process{123, "mosquitto"};
};

std::string explained(std::string_view wanted, std::vector<PortUse> uses, const FindProcess& find) {
  return explain_port(at(wanted), uses, find);
}

TEST(TcpTable, IsReadLineByLine) {
  constexpr std::string_view kTable =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000 100 0\n"
      "   1: 0100007F:075B 0100007F:C350 06 00000000:00000000 03:00000A00 00000000     0        0 0 3 0000\n"
      "   2: 0A00000A:0016 0B00000A:C350 01 00000000:00000000 02:00000A00 00000000     0        0 99 2 0000 20 4\n"
      "   3: 00000000000000000000000000000000:075C 00000000000000000000000000000000:0000 0A 00000000:00000000 "
      "00:00000000 00000000     0        0 12 1 0000 100 0\n"
      "   4: 00000000000000000000000001000000:075C 00000000000000000000000000000000:0000 0A 00000000:00000000 "
      "00:00000000 00000000     0        0 13 1 0000 100 0\n"
      "   garbage\n";
  EXPECT_THAT(
      parse_tcp_table(kTable),
      ElementsAre(PortUse{at("127.0.0.1:1883"), State::Listening, 4711},
                  PortUse{at("127.0.0.1:1883"), State::TimeWait, 0}, PortUse{at("10.0.0.10:22"), State::Other, 99},
                  PortUse{at("*:1884"), State::Listening, 12}, PortUse{at("[::1]:1884"), State::Listening, 13}));
}

TEST(PortHolder, NamesTheProgramThatListens) {
  EXPECT_EQ(explained("127.0.0.1:1883", {{at("0.0.0.0:1883"), State::Listening, 4711}}, kMosquitto),
            "mosquitto (process 123) listens on 0.0.0.0:1883. Stop it or choose another port with --listen");
}

TEST(PortHolder, SaysHowToFindAProgramThatItMayNotSee) {
  EXPECT_THAT(explained("*:1883", {{at("[::1]:1883"), State::Listening, 5}}, kNobody),
              HasSubstr("another program listens on [::1]:1883 (ss -ltnp, as root, shows which)"));
}

TEST(PortHolder, TellsLeftoversFromAProgram) {
  const std::string text = explained("127.0.0.1:1883", {{at("127.0.0.1:1883"), State::TimeWait, 0}}, kNobody);
  EXPECT_THAT(text, HasSubstr("nobody listens there"));
  EXPECT_THAT(text, HasSubstr("TIME-WAIT"));
  EXPECT_THAT(text, HasSubstr("--listen"));
}

TEST(PortHolder, AListeningProgramCountsMoreThanLeftovers) {
  EXPECT_THAT(explained("127.0.0.1:1883",
                        {{at("127.0.0.1:1883"), State::TimeWait, 0}, {at("127.0.0.1:1883"), State::Listening, 4711}},
                        kMosquitto),
              HasSubstr("mosquitto (process 123) listens"));
}

TEST(PortHolder, AConnectionMayHaveThePort) {
  EXPECT_THAT(explained("127.0.0.1:50000", {{at("127.0.0.1:50000"), State::Other, 4711}}, kMosquitto),
              HasSubstr("mosquitto (process 123) has a connection on it"));
}

TEST(PortHolder, LooksAtAddressesThatCollideOnly) {
  EXPECT_THAT(
      explained("127.0.0.1:1883",
                {{at("127.0.0.2:1883"), State::Listening, 4711}, {at("127.0.0.1:1884"), State::Listening, 4711}},
                kMosquitto),
      Not(HasSubstr("mosquitto")));
}

}  // namespace
}  // namespace vigil::net
