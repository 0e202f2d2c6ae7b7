#include "broker/foreign_protocol.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "broker/printable.h"

namespace vigil::broker {
namespace {

constexpr std::array<std::string_view, 10> kHttpMethods = {"GET ",   "POST ",    "PUT ",     "HEAD ",  "DELETE ",
                                                           "PATCH ", "OPTIONS ", "CONNECT ", "TRACE ", "PRI "};
constexpr std::string_view kProxy1 = "PROXY ";
constexpr std::string_view kProxy2("\r\n\r\n\0\r\nQUIT\n", 12);
// A handshake record of TLS 1.0 to 1.3, or SSL 3.
constexpr std::string_view kTls("\x16\x03", 2);

// "GET /mqtt" of "GET /mqtt HTTP/1.1\r\n..."
std::string_view request(std::string_view text) {
  constexpr std::size_t kMostShown = 80;
  const std::size_t method = text.find(' ');
  const std::size_t end = text.find_first_of(" \r\n", method + 1);
  return text.substr(0, std::min(end, kMostShown));
}

bool asks_for_websocket(std::string_view text) {
  constexpr std::string_view kUpgrade = "upgrade: websocket";
  const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; };
  return !std::ranges::search(text, kUpgrade, same).empty();
}

std::string looks_like(std::string_view what) {
  return fmt::format("looks like {}: this listener speaks plain MQTT", what);
}

}  // namespace

std::string foreign_protocol(base::Bytes first_bytes) {
  const std::string_view text = base::as_text(first_bytes);
  if (text.starts_with(kTls)) return looks_like("TLS");
  if (text.starts_with(kProxy1) || text.starts_with(kProxy2)) return looks_like("the PROXY protocol");
  if (std::ranges::any_of(kHttpMethods, [text](std::string_view method) { return text.starts_with(method); })) {
    return looks_like(
        fmt::format("{} ({})", asks_for_websocket(text) ? "WebSocket" : "HTTP", printable(request(text))));
  }
  return {};
}

}  // namespace vigil::broker
