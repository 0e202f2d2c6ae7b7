// One TCP connection in virtual time, between a simulated client and a shard of the broker.
//
// Each direction keeps its order. What is sent arrives after a delay; what is written by the broker occupies the window
// until the client has read it, so a client that stops reading makes the broker's writes take nothing. A silent link
// loses everything from a moment on, both ways, without a word (no FIN, no RST): the half-open connection.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"

namespace vigil::sim {

struct LinkProfile {
  base::Duration min_delay{0};
  base::Duration max_delay{0};
  std::size_t window = 65'536;  // bytes from the broker that the client has not read
  bool loopback = true;         // the client is on the broker's machine
  unsigned split_percent = 0;   // chance that what the client sends arrives in several pieces, cut anywhere
};

enum class StreamEnd : std::uint8_t { Closed, Reset };

class Link {
 public:
  Link(LinkProfile profile, std::uint64_t seed) : profile_(profile), random_(seed) {}

  // --- the client's side
  // All return the times at which something will arrive, for the caller's event queue: deliver() is due then.
  std::vector<base::Instant> client_send(base::Bytes bytes, base::Instant now);
  std::vector<base::Instant> client_end(StreamEnd end, base::Instant now);
  // Nothing passes any more, and what is under way is lost.
  void silence();
  void set_reading(bool reading) { reading_ = reading; }
  bool loopback() const { return profile_.loopback; }
  void set_window(std::size_t bytes) { profile_.window = bytes; }
  bool silent() const { return silent_; }

  // --- the broker's side
  // How many bytes a write would take now.
  std::size_t room() const;
  // At most room() bytes.
  std::vector<base::Instant> server_write(base::Bytes bytes, base::Instant now);
  std::vector<base::Instant> server_close(base::Instant now);
  bool readable() const { return !arrived_.empty() || arrived_end_.has_value(); }
  // Takes what has arrived, at most `limit` bytes.
  std::vector<std::uint8_t> server_read(std::size_t limit = SIZE_MAX);
  // The end of the client's stream, once all its bytes are read.
  std::optional<StreamEnd> server_end() const { return arrived_.empty() ? arrived_end_ : std::nullopt; }
  std::size_t unread() const { return arrived_.size(); }
  base::Bytes arrived_from(std::size_t offset) const { return base::Bytes(arrived_).subspan(offset); }
  std::size_t outstanding() const { return outstanding_; }

  // --- the network
  struct Delivery {
    bool to_server = false;               // the broker has something new to read
    std::vector<std::uint8_t> to_client;  // read by the client at this moment
    std::optional<StreamEnd> client_end;  // the broker's close reached the client
    bool room_again = false;              // the window has opened from closed
  };
  // What has arrived by `now`.
  Delivery deliver(base::Instant now);

 private:
  struct Segment {
    base::Instant arrives;
    std::vector<std::uint8_t> bytes;
    std::optional<StreamEnd> end;
  };
  base::Instant arrival(base::Instant& last, base::Instant now);

  LinkProfile profile_;
  base::Random random_;
  std::deque<Segment> to_server_;
  std::deque<Segment> to_client_;
  base::Instant last_to_server_;
  base::Instant last_to_client_;
  std::vector<std::uint8_t> arrived_;  // at the broker's socket, unread
  std::optional<StreamEnd> arrived_end_;
  std::vector<std::uint8_t> client_unread_;
  std::optional<StreamEnd> client_unread_end_;
  std::size_t outstanding_ = 0;  // written by the broker, not read by the client
  bool reading_ = true;
  bool silent_ = false;
  bool client_ended_ = false;
  bool server_closed_ = false;
};

}  // namespace vigil::sim
