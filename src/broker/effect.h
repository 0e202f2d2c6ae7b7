// What a turn of the core asks of the world outside. Collected during the turn, applied once, in this order: store,
// mail, closes, handovers, TCP settings, sends, suspects, take-overs, log. (A closed connection's last bytes go before
// the sends: the loser of a take-over hears of it before the winner's CONNACK.)
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log_level.h"
#include "broker/change.h"
#include "broker/disconnect_reason.h"
#include "broker/ids.h"
#include "broker/mail.h"
#include "broker/shard_mask.h"

namespace vigil::broker {

// Which bound on the number of connections an accepted connection exceeds.
enum class OverQuota : std::uint8_t { No, Broker, Listener };

// What the core is told of a connection when it is accepted.
struct PeerInfo {
  std::string address;   // "192.0.2.7:50123"
  std::string listener;  // name
  bool loopback = false;
  bool allow_anonymous = false;
  OverQuota over_quota = OverQuota::No;  // its CONNECT is refused, unless it takes its own connection over
  bool proxied = false;                  // what TCP says is about the proxy in between
  std::uint64_t socket = 0;              // the caller's own handle, handed back in effects
};

// Offer `last_bytes` to the socket once, without waiting, and close it. The connection's id is stale already.
struct Close {
  ConnectionId connection;
  std::uint64_t socket = 0;
  DisconnectReason reason = DisconnectReason::ConnectionClosed;
  std::vector<std::uint8_t> last_bytes;
};

// The connection belongs to another shard: give the socket and these bytes to that shard's ShardCore::adopted. Its id
// here is stale.
struct HandOver {
  ConnectionId connection;
  std::uint64_t socket = 0;
  ShardId to = 0;
  PeerInfo peer;
  base::Instant opened_at;
  base::Instant read_at;  // when its CONNECT was read from the socket
  std::vector<std::uint8_t> unread;
};

// The client's keep alive is known: derive TCP_USER_TIMEOUT from it. 0: none.
struct TcpTimeout {
  ConnectionId connection;
  std::uint64_t socket = 0;
  std::uint32_t keep_alive_s = 0;
};

// After a write: whether the socket would have taken more.
enum class SocketRoom : std::uint8_t { Left, Full };

using base::LogLevel;

struct LogLine {
  LogLevel level = LogLevel::Info;
  std::string_view event;  // "client_connected"; a literal
  std::string message;     // the line operators grep for
  std::vector<std::pair<std::string_view, std::string>> fields;
};

// The client of `old` has connected anew: read what waits in the old socket, to its end and without waiting, then call
// ShardCore::take_over. A DISCONNECT may be among it, and decides what becomes of the will.
struct TakeOver {
  ConnectionId old;
  ConnectionId newcomer;
};

// An enhanced authentication method's turn: answer with ShardCore::authenticated.
struct AuthRequest {
  ConnectionId connection;
  std::string client_id;
  std::string method;
  std::vector<std::uint8_t> data;
  bool first = true;  // a new exchange: CONNECT, or AUTH 0x19
};

struct Effects {
  StoreBatch store;                          // before any mail: receipts follow what they stand for
  std::vector<std::vector<Mail>> mail;       // by target shard
  std::vector<std::vector<Mail>> late_mail;  // likewise; to be posted after `mail` has been posted to every shard
  ShardMask mail_to;                         // the shards that there is any for
  std::vector<Close> closes;
  std::vector<HandOver> handovers;
  std::vector<TcpTimeout> tcp_timeouts;
  std::vector<ConnectionId> sends;     // outbox not empty; each once
  std::vector<ConnectionId> suspects;  // silent for too long: read their sockets once more, then ShardCore::judge each
  std::vector<AuthRequest> auth_requests;
  std::vector<TakeOver> takeovers;
  std::vector<LogLine> log;

  bool empty() const;
  void clear();
  // Calls f(shard) for each that there is mail for.
  template <class F>
  void for_each_addressee(F&& f) const {
    mail_to.for_each(f);
  }
  void swap(Effects& other) noexcept;
};

}  // namespace vigil::broker
