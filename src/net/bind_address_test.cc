#include "net/bind_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vigil::net {
namespace {

std::string parsed(std::string_view text) {
  const auto address = BindAddress::parse(text);
  return address ? address->text() : "(no address)";
}

std::vector<std::string> opened(std::string_view text) {
  std::vector<std::string> out;
  for (const auto& [endpoint, if_available] : BindAddress::parse(text)->endpoints()) {
    out.push_back(endpoint.text() + (if_available ? " if available" : ""));
  }
  return out;
}

TEST(BindAddress, ReadsWhatOperatorsWrite) {
  EXPECT_EQ(parsed("127.0.0.1:1883"), "127.0.0.1:1883");
  EXPECT_EQ(parsed("[0:0::1]:65535"), "[::1]:65535");
  EXPECT_EQ(parsed("localhost:1884"), "localhost:1884");
  EXPECT_EQ(parsed("unix:/run/vigilmq.sock"), "unix:/run/vigilmq.sock");
}

TEST(BindAddress, RefusesWhatIsNoAddressWithAPort) {
  for (const char* text : {"", "1883", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "localhost", "localhost:x",
                           "256.0.0.1:1883", "::1:1883", "[::1]", "example.org:1883"}) {
    EXPECT_EQ(parsed(text), "(no address)") << text;
  }
}

TEST(BindAddress, SaysWhyItIsNone) {
  using testing::HasSubstr;
  EXPECT_EQ(BindAddress::objection("127.0.0.1:99999"), "the port 99999 is above 65535");
  EXPECT_EQ(BindAddress::objection("[::1]:99999"), "the port 99999 is above 65535");
  EXPECT_THAT(BindAddress::objection("1883"), HasSubstr("127.0.0.1:1883"));
  EXPECT_THAT(BindAddress::objection("127.0.0.1"), HasSubstr("port is missing"));
  EXPECT_THAT(BindAddress::objection("127.0.0.1:http"), HasSubstr("no number"));
  EXPECT_THAT(BindAddress::objection("::1:1883"), HasSubstr("brackets"));
  EXPECT_THAT(BindAddress::objection("example.org:1883"), HasSubstr("not looked up"));
  EXPECT_THAT(BindAddress::objection("unix:/" + std::string(200, 'x')), HasSubstr("107"));
  EXPECT_EQ(BindAddress::objection("127.0.0.1:1883"), "");
  EXPECT_LT(BindAddress::objection("127.0.0.1:" + std::string(200, '9')).size(), 100U);
}

TEST(BindAddress, KnowsWhatOnlyThisMachineReaches) {
  for (const char* text : {"127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "unix:/run/x"}) {
    EXPECT_TRUE(BindAddress::parse(text)->is_loopback()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "*:1", "10.0.0.1:1", "12.7.0.1:1"}) {
    EXPECT_FALSE(BindAddress::parse(text)->is_loopback()) << text;
  }
}

TEST(BindAddress, OpensBothLoopbacksForLocalhost) {
  EXPECT_THAT(opened("localhost:7"), testing::ElementsAre("127.0.0.1:7", "[::1]:7 if available"));
  EXPECT_THAT(opened("127.0.0.1:7"), testing::ElementsAre("127.0.0.1:7"));
  EXPECT_NE(BindAddress::parse("localhost:7"), BindAddress::parse("127.0.0.1:7"));
}

}  // namespace
}  // namespace vigil::net
