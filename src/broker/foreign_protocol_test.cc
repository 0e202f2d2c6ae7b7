#include "broker/foreign_protocol.h"

#include <gtest/gtest.h>

namespace vigil::broker {
namespace {

std::string seen(std::string_view bytes) { return foreign_protocol(base::as_bytes(bytes)); }

TEST(ForeignProtocol, KnowsTlsByItsFirstRecord) {
  EXPECT_EQ(seen("\x16\x03\x01\x02"), "looks like TLS: this listener speaks plain MQTT");
  EXPECT_EQ(seen("\x16\x03"), "looks like TLS: this listener speaks plain MQTT");
  EXPECT_EQ(seen("\x16"), "");
}

TEST(ForeignProtocol, ShowsWhatHttpAsksFor) {
  EXPECT_EQ(seen("GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n"),
            "looks like HTTP (GET /index.html): this listener speaks plain MQTT");
  EXPECT_EQ(seen("PRI * HTTP/2.0\r\n"), "looks like HTTP (PRI *): this listener speaks plain MQTT");
  EXPECT_EQ(seen("POST"), "");
}

TEST(ForeignProtocol, TellsWebSocketFromOtherHttp) {
  EXPECT_EQ(seen("GET /mqtt HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"),
            "looks like WebSocket (GET /mqtt): this listener speaks plain MQTT");
}

TEST(ForeignProtocol, KnowsBothFormsOfTheProxyProtocol) {
  EXPECT_EQ(seen("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
            "looks like the PROXY protocol: this listener speaks plain MQTT");
  EXPECT_EQ(seen(std::string_view("\r\n\r\n\0\r\nQUIT\n\x21\x11", 14)),
            "looks like the PROXY protocol: this listener speaks plain MQTT");
}

TEST(ForeignProtocol, IsSilentAboutMqttAndGarbage) {
  EXPECT_EQ(seen(std::string_view("\x10\x10\0\x04MQTT", 8)), "");
  EXPECT_EQ(seen("garbage!"), "");
  EXPECT_EQ(seen(""), "");
}

// What it shows comes from a stranger.
TEST(ForeignProtocol, BoundsAndEscapesWhatItShows) {
  EXPECT_EQ(seen("GET /\x1b[31m\n HTTP/1.1"), "looks like HTTP (GET /\\x1b[31m): this listener speaks plain MQTT");
  EXPECT_LT(seen("GET /" + std::string(100'000, 'x')).size(), 200U);
}

}  // namespace
}  // namespace vigil::broker
