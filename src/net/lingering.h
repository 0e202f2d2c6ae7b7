// Connections that the broker has ended and reads on for a moment, so that their clients can read why.
//
// A socket that is closed while its peer still sends answers with RST. The peer's next send then fails, and on some
// systems the reset throws away what it had received: the DISCONNECT that says why. So the broker says that nothing
// follows (FIN), reads and throws away what comes, and closes when the peer has closed, or when its time is over. HTTP
// servers call it a lingering close.
//
// Belongs to one shard, which asks it about tokens that belong to no peer any more. Owns its sockets. They count as
// open files, not as clients (Seats).
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/bytes.h"
#include "base/clock.h"
#include "io/fd.h"
#include "io/reactor.h"
#include "net/seats.h"

namespace vigil::net {

class Lingering {
 public:
  struct Bounds {
    std::size_t sockets = 256;  // beyond, the oldest closes at once
    base::Duration time = base::seconds(2);
    // Read of one socket: the largest packet of MQTT. Then TCP makes the peer wait.
    std::uint64_t bytes = std::uint64_t{256} << 20U;
    std::size_t unsent = std::size_t{64} * 1024;  // last bytes of one socket that may wait; more are given up
  };

  // The reactor must outlive this.
  explicit Lingering(io::Reactor& reactor) : Lingering(reactor, Bounds()) {}
  Lingering(io::Reactor& reactor, const Bounds& bounds) : reactor_(reactor), bounds_(bounds) {}

  // The socket is in the reactor already, under `token`, which no other socket has. `unsent`: last bytes that it did
  // not take at once.
  void add(std::uint64_t token, io::Fd socket, Seats::Lingerer place, base::Bytes unsent, base::Instant now);

  // The reactor's report of a token; nothing if it is none of ours. Reads once.
  void serve(const io::Ready& event, std::span<std::uint8_t> scratch);

  // Closes those whose time is over. To be called at next_deadline().
  void advance(base::Instant now);
  base::Instant next_deadline() const { return sockets_.empty() ? base::Instant::never() : sockets_.front().until; }

  // From now on none lingers longer than this.
  void hurry(base::Duration time, base::Instant now);
  void close_all();

  bool empty() const { return sockets_.empty(); }
  std::size_t size() const { return sockets_.size(); }

 private:
  struct Socket {
    std::uint64_t token = 0;
    io::Fd fd;
    Seats::Lingerer place;
    base::Instant until;
    std::uint64_t bytes_left = 0;
    std::vector<std::uint8_t> unsent;
    std::size_t sent = 0;  // of `unsent`
    bool all_sent() const { return sent == unsent.size(); }
  };
  using Sockets = std::list<Socket>;

  enum class State { GoesOn, Over };
  State send(Socket& socket);
  State read(Socket& socket, std::span<std::uint8_t> scratch);
  State watch(const Socket& socket);
  void close(Sockets::iterator socket);

  io::Reactor& reactor_;
  Bounds bounds_;
  Sockets sockets_;  // the oldest first, and so by `until`
  boost::unordered_flat_map<std::uint64_t, Sockets::iterator> by_token_;
};

}  // namespace vigil::net
