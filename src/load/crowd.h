// Many MQTT clients in one thread: connects them, says what they are told to say, acknowledges what comes, and tells a
// scene what happened. Raw epoll, one read and one gathered write for each client and batch, so that it is not the
// limit of what it measures.
//
// A client is a number from 0 on. It may be connected again after its end.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "io/address.h"
#include "io/fd.h"
#include "io/reactor.h"
#include "load/wire.h"

namespace vigil::load {

using base::Duration;
using base::Instant;

// Why a connection is gone.
struct End {
  enum class Kind : std::uint8_t {
    NotConnected,  // TCP: code is the errno
    Refused,       // by CONNACK: its code
    Closed,        // by the broker: code is the reason in its DISCONNECT, if it sent one (5.0)
  };
  Kind kind = Kind::Closed;
  int code = 0;

  // "the broker refused a client with code 0x87"
  std::string sentence() const;
};

// What happens to the clients. Called from within Crowd::turn(), which may be told what to say from there.
class Scene {
 public:
  Scene() = default;
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  virtual ~Scene() = default;

  virtual void on_connected(std::size_t client, const Frame& connack) = 0;
  // SUBACK. That a filter was refused has been thrown before.
  virtual void on_subscribed(std::size_t /*client*/) {}
  // PUBLISH; it has been acknowledged.
  virtual void on_message(std::size_t /*client*/, const Frame& /*publish*/, Instant /*read_at*/) {}
  // PUBACK, or PUBCOMP.
  virtual void on_acknowledged(std::size_t /*client*/, std::uint16_t /*packet_id*/, Instant /*read_at*/) {}
  virtual void on_pong(std::size_t /*client*/, Instant /*read_at*/) {}
  // The connection is gone and may be made anew. Throws the sentence, unless the scene knows better.
  virtual void on_end(std::size_t client, const End& end, Instant seen);
  // The connection is gone because it was told to leave.
  virtual void on_left(std::size_t /*client*/) {}
};

// How fast clients are connected.
struct Pace {
  double per_second = 0;   // 0: no limit
  unsigned at_once = 64;   // that are connecting
  unsigned limit_s = 180;  // for all of them, besides what the pace asks for
};

class Crowd {
 public:
  // Throws when this process may not open so many sockets: as many as clients, unless fewer are connected at a time.
  Crowd(io::Endpoint broker, Version version, std::size_t clients, Scene& scene, std::size_t sockets = SIZE_MAX);

  // Begins to connect; on_connected or on_end tells how it went.
  void connect(std::size_t client, const ConnectFields& fields);
  void subscribe(std::size_t client, std::span<const std::string> filters, unsigned qos);
  // Gives the packet identifier: 1 to 65,535 and round again, for each client.
  std::uint16_t publish(std::size_t client, std::string_view topic, std::string_view payload, unsigned qos,
                        bool retain = false);
  void ping(std::size_t client);
  // DISCONNECT; then the broker closes, and on_left tells.
  void leave(std::size_t client);
  // Closes at once. There is neither on_end nor on_left.
  void drop(std::size_t client);

  // Writes what is to be said, waits for events until then at most, and works one batch of them off.
  void turn(Instant until);
  // Writes what is to be said.
  void flush();
  // Turns until it is so; throws when nothing changes for `stall`. `done` counts what was done.
  void turn_until(const std::function<bool()>& over, const std::function<std::uint64_t()>& done,
                  Duration stall = base::seconds(20));
  // Connects clients at a pace, from `first` on, until `ready` gives `count`.
  void connect_all(std::size_t first, std::size_t count, const Pace& pace,
                   const std::function<ConnectFields(std::size_t)>& fields, const std::function<std::uint64_t()>& ready,
                   const std::function<void()>& progress);

  // When the latest batch was there: what it tells had happened by then.
  Instant batch_at() const { return batch_at_; }
  bool up(std::size_t client) const { return clients_[client].state == State::Up; }
  bool gone(std::size_t client) const { return clients_[client].state == State::Gone; }
  // What the client has to say and the socket has not taken.
  std::size_t unsaid(std::size_t client) const { return clients_[client].out.size() - clients_[client].written; }
  std::size_t size() const { return clients_.size(); }
  // Clients that have begun to connect, and neither been answered nor failed.
  std::size_t connecting() const { return connecting_; }
  Version version() const { return version_; }
  // One more descriptor that ends a wait when it is readable, as a signalfd does. Borrowed.
  void watch(int fd);

 private:
  enum class State : std::uint8_t { Gone, Connecting, Greeting, Up, Leaving };
  struct Client {
    io::Fd fd;
    Framer framer;
    std::string out;
    std::size_t written = 0;  // of `out`
    std::uint32_t life = 0;   // counts connections: what is told of an old one is passed over
    std::uint16_t packet_id = 0;
    std::uint8_t told = 0;  // reason in the broker's DISCONNECT
    State state = State::Gone;
    bool dirty = false;  // `out` grew since the last flush
    io::Interest interest = io::Interest::None;
  };

  std::uint64_t token(std::size_t client) const;
  void on_ready(const io::Ready& ready);
  void read_from(std::size_t client, bool to_the_end);
  // It has not been told to leave.
  bool listens(std::size_t client) const;
  void on_frame(std::size_t client, const Frame& frame, Instant read_at);
  void on_publish(std::size_t client, const Frame& frame, Instant read_at);
  void write_to(std::size_t client);
  void mark(std::size_t client);
  void close(Client& client);
  void end(std::size_t client, const End& end);

  io::Endpoint broker_;
  Version version_;
  Scene& scene_;
  io::Reactor reactor_;
  std::vector<Client> clients_;
  std::vector<std::size_t> dirty_;
  std::vector<io::Ready> ready_;
  std::vector<std::uint8_t> buffer_;
  std::size_t connecting_ = 0;
  Instant batch_at_;
};

}  // namespace vigil::load
