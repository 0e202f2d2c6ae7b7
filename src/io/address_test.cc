#include "io/address.h"

#include <netinet/in.h>

namespace vigil::io {
namespace {

std::string round_trip(std::string_view text) {
  const Result<Endpoint> endpoint = Endpoint::parse(text);
  return endpoint ? endpoint->text() : "error: " + endpoint.error().message();
}

TEST(Endpoint, ReadsAndWritesItsTextForm) {
  EXPECT_EQ(round_trip("127.0.0.1:1883"), "127.0.0.1:1883");
  EXPECT_EQ(round_trip("[::1]:1883"), "[::1]:1883");
  EXPECT_EQ(round_trip("[2001:DB8:0:0:0:0:0:7]:8883"), "[2001:db8::7]:8883");
  EXPECT_EQ(round_trip("[fe80::1%1]:1883"), "[fe80::1%1]:1883");
  EXPECT_EQ(round_trip("[fe80::1%lo]:1883"), "[fe80::1%1]:1883");
  EXPECT_EQ(round_trip("localhost:1883"), "127.0.0.1:1883");
  EXPECT_EQ(round_trip("*:1883"), "*:1883");
  EXPECT_EQ(round_trip(":1883"), "*:1883");
  EXPECT_EQ(round_trip("0.0.0.0:0"), "0.0.0.0:0");
  EXPECT_EQ(round_trip("/run/vigilmq.sock"), "unix:/run/vigilmq.sock");
  EXPECT_EQ(round_trip("unix:relative.sock"), "unix:relative.sock");
  EXPECT_EQ(round_trip("unix:@abstract"), "unix:@abstract");
}

TEST(Endpoint, RefusesWhatIsNoAddress) {
  for (const std::string_view text :
       {"", "1883", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1883x", "127.0.0.1: 1883",
        "::1:1883", "[::1]", "[::1:1883", "[127.0.0.1]:1883", "256.0.0.1:1", "example.org:1883",
        "[fe80::1%no-such-if]:1", "unix:"}) {
    const Result<Endpoint> endpoint = Endpoint::parse(text);
    ASSERT_FALSE(endpoint) << text;
    EXPECT_EQ(endpoint.error(), std::errc::invalid_argument) << text;
  }
  EXPECT_FALSE(Endpoint::parse(std::string_view("127.0.0.1\0:1", 12)));
}

TEST(Endpoint, RefusesAPathTheKernelCannotTake) {
  EXPECT_TRUE(Endpoint::parse('/' + std::string(106, 'a')));
  EXPECT_EQ(Endpoint::parse('/' + std::string(107, 'a')).error(), std::errc::filename_too_long);
}

TEST(Endpoint, KnowsWhatOnlyThisMachineReaches) {
  for (const std::string_view text :
       {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/a", "localhost:1"}) {
    EXPECT_TRUE(Endpoint::parse(text)->is_loopback()) << text;
  }
  for (const std::string_view text : {"128.0.0.1:1", "0.0.0.0:1", "[::]:1", "[::2]:1", "*:1", "[fe80::1%1]:1"}) {
    EXPECT_FALSE(Endpoint::parse(text)->is_loopback()) << text;
  }
}

TEST(Endpoint, UnwrapsIpv4FromADualStackSocket) {
  EXPECT_EQ(round_trip("[::ffff:192.0.2.7]:5"), "192.0.2.7:5");
  sockaddr_storage storage{};
  auto& in = reinterpret_cast<sockaddr_in6&>(storage);
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(50114);
  const std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7};
  std::copy(mapped.begin(), mapped.end(), in.sin6_addr.s6_addr);
  EXPECT_EQ(Endpoint::from_sockaddr(storage, sizeof in)->text(), "192.0.2.7:50114");
}

TEST(Endpoint, SurvivesTheWayThroughTheKernelsForm) {
  for (const std::string_view text :
       {"192.0.2.7:50114", "[2001:db8::7]:50114", "[fe80::1%3]:7", "unix:/run/a.sock", "unix:@abstract"}) {
    const Endpoint endpoint = *Endpoint::parse(text);
    sockaddr_storage storage;
    const socklen_t size = endpoint.to_sockaddr(storage);
    EXPECT_EQ(*Endpoint::from_sockaddr(storage, size), endpoint) << text;
  }
  sockaddr_storage unknown{};
  unknown.ss_family = AF_NETLINK;
  EXPECT_FALSE(Endpoint::from_sockaddr(unknown, sizeof unknown));
}

TEST(Endpoint, CanBeGivenAnotherPort) {
  EXPECT_EQ(Endpoint::parse("[::1]:0")->with_port(9).text(), "[::1]:9");
  EXPECT_EQ(Endpoint::parse("*:1883")->port(), 1883);
  EXPECT_EQ(Endpoint::parse("unix:/a")->with_port(9).port(), 0);
}

TEST(Endpoint, HostIsTheAddressAlone) {
  EXPECT_EQ(Endpoint::parse("[::1]:5")->host(), "::1");
  EXPECT_EQ(Endpoint::parse("1.2.3.4:5")->host(), "1.2.3.4");
}

TEST(Endpoint, CollidesWithTheSameAddressAndWithEveryAddress) {
  const auto collide = [](std::string_view a, std::string_view b) {
    const bool one = Endpoint::parse(a)->collides_with(*Endpoint::parse(b));
    EXPECT_EQ(Endpoint::parse(b)->collides_with(*Endpoint::parse(a)), one);
    return one;
  };
  EXPECT_TRUE(collide("127.0.0.1:1", "127.0.0.1:1"));
  EXPECT_TRUE(collide("0.0.0.0:1", "127.0.0.1:1"));
  EXPECT_TRUE(collide("*:1", "127.0.0.1:1"));
  EXPECT_TRUE(collide("*:1", "[::1]:1"));
  EXPECT_TRUE(collide("[::]:1", "[::1]:1"));
  EXPECT_TRUE(collide("unix:/a", "/a"));
  EXPECT_FALSE(collide("0.0.0.0:1", "[::]:1")) << "an IPv6 address alone has no IPv4";
  EXPECT_FALSE(collide("127.0.0.1:1", "127.0.0.2:1"));
  EXPECT_FALSE(collide("*:1", "*:2"));
  EXPECT_FALSE(collide("unix:/a", "*:1"));
}

}  // namespace
}  // namespace vigil::io
