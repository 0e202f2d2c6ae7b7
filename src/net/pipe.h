// One client's end of the wire: its socket, and what is remembered of it between two calls.
//
// The owner asks for input and hands out output as plain bytes, and does not know how either looks on the wire: stages
// that turn bytes into bytes (TLS, WebSocket, PROXY) belong in here, between the socket and read()/write(). What the
// bytes mean, a pipe does not know.
//
// Belongs to one thread at a time; a move takes the socket along. There is one of each client: it holds no more than
// what is needed, and that close together.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/socket_end.h"
#include "base/tcp_evidence.h"
#include "io/fd.h"
#include "net/seats.h"
#include "net/tcp_policy.h"

namespace vigil::net {

// Sets a listening socket up for all that are accepted from it, which take its options over: small frames leave at
// once, and TCP asks a silent peer whether it is there. Seven system calls less for each connection.
void prepare_for_peers(int listening, const TcpPolicy& policy);

// What the broker knows of the peer when it closes a connection: how to close well depends on it.
enum class Closing : std::uint8_t {
  Plain,                // the peer ended it, is gone, or is not worth holding a socket for
  PeerSaidGoodbye,      // the protocol's goodbye has come: nobody waits for anything
  PeerDoesNotExpectIt,  // the peer is there, and the last bytes tell it why: worth reading on until it has read them
  PeerIsSilent,         // nothing was heard of it for too long
  PeerIsStuck,          // the peer does not read: nothing that waits for it shall go on to occupy memory
};

class Pipe {
 public:
  using Timeout = std::chrono::duration<std::int32_t, std::milli>;

  // Accepted from a socket that prepare_for_peers() has seen.
  Pipe(io::Fd fd, Seats::Seat seat);

  int fd() const { return fd_.get(); }
  std::uint16_t listener() const { return seat_.listener(); }

  // What one read brought. `bytes` lie in `scratch` and are valid as long as that is left alone.
  struct Input {
    base::Bytes bytes;
    bool ended = false;  // nothing follows; end() says how it ended
  };
  // Reads once, at most scratch.size() bytes. Once writing has failed, that nothing is there is the end.
  Input read(std::span<std::uint8_t> scratch);

  // Whether a read would bring anything, its end included.
  bool has_input() const;

  struct Output {
    std::size_t written = 0;
    bool blocked = false;  // the socket takes no more now: the reactor tells when it does
    bool failed = false;   // the connection is broken; what can still be read says how it ended
  };
  // Writes once, gathered.
  Output write(std::span<const base::Bytes> pieces);

  base::SocketEnd end() const;
  std::optional<base::TcpEvidence> evidence() const;

  // Sends what still goes without waiting, and takes away what the peer had sent: unread input would make the kernel
  // send RST, which can overtake the last bytes. The socket closes with this object, which tells the peer that nothing
  // follows; unless it is better read on for a moment (Lingering).
  struct Goodbye {
    // Closing::PeerDoesNotExpectIt, and there is something that the peer may not have read yet.
    bool read_on = false;
    bool was_sending = false;  // there was input to take away
    std::size_t written = 0;   // of the last bytes
  };
  Goodbye finish(base::Bytes last_bytes, Closing closing, std::span<std::uint8_t> scratch);
  // Before finish(): a client that has read its goodbye finds a free seat.
  Seats::Seat give_up_seat() { return std::move(seat_); }
  // After it: what is left is to be forgotten.
  io::Fd give_up_socket() { return std::move(fd_); }

  // The client's keep alive is known: what TCP may take for a dead peer follows from it.
  void set_tcp_timeouts(const TcpPolicy& policy, std::uint16_t keep_alive_s);
  // After a write. TCP knows one timeout only, for sent data and for probes of an idle peer; where the first shall be
  // shorter it is set while data is under way. True if it was set now: ask relax() from time to time.
  bool hasten();
  // Puts the timeout of idle connections back if all was acknowledged; else false.
  bool relax();

  bool blocked : 1 = false;  // the owner's: output waits until the socket is writable
  bool broken : 1 = false;   // writing failed

 private:
  void set_user_timeout(base::milliseconds timeout);  // 0: the kernel's default
  std::error_code error() const { return {errno_, std::generic_category()}; }
  void note(const std::error_code& error) {
    if (errno_ == 0) errno_ = static_cast<std::uint16_t>(error.value());
  }

  bool hastened_ : 1 = false;
  bool input_left_ : 1 = false;  // the last read was full
  bool drained_ : 1 = false;     // the last read found nothing
  bool spoken_ : 1 = false;      // something was written to it, ever
  std::uint16_t errno_ = 0;      // the first error that the socket met
  io::Fd fd_;
  Timeout idle_timeout_{};
  Timeout in_flight_timeout_{};  // equal where there is but one
  Seats::Seat seat_;
};

}  // namespace vigil::net
