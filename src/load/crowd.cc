#include "load/crowd.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "io/clock.h"
#include "io/socket.h"
#include "load/net.h"

namespace vigil::load {
namespace {

constexpr std::uint64_t kWatched = io::Reactor::kTokens - 1;
constexpr std::size_t kBuffer = 65'536;
constexpr std::size_t kOutKept = 16'384;
constexpr std::size_t kRoomForOthers = 64;  // descriptors that are no clients

void expect(const io::Result<void>& done, const char* what) {
  if (!done) throw std::system_error(done.error(), what);
}

io::Reactor make_reactor() {
  auto reactor = io::Reactor::create();
  if (!reactor) throw std::system_error(reactor.error(), "epoll");
  return std::move(*reactor);
}

}  // namespace

std::string End::sentence() const {
  switch (kind) {
    case Kind::NotConnected:
      return fmt::format("cannot connect: {} (is there a broker, at --host and --port?)", std::strerror(code));
    case Kind::Refused: return fmt::format("the broker refused a client with code {:#04x}", code);
    case Kind::Closed: break;
  }
  return code == 0 ? "the broker closed a connection"
                   : fmt::format("the broker closed a connection, saying {:#04x}", code);
}

void Scene::on_end(std::size_t client, const End& end, Instant /*seen*/) {
  throw std::runtime_error(fmt::format("client {}: {}", client, end.sentence()));
}

Crowd::Crowd(io::Endpoint broker, Version version, std::size_t clients, Scene& scene, std::size_t sockets)
    : broker_(std::move(broker)),
      version_(version),
      scene_(scene),
      reactor_(make_reactor()),
      clients_(clients),
      buffer_(kBuffer),
      batch_at_(io::monotonic_now()) {
  raise_open_files(std::min(clients, sockets) + kRoomForOthers);
}

std::uint64_t Crowd::token(std::size_t client) const {
  return (std::uint64_t{clients_[client].life & 0x7fff'ffffU} << 32U) | client;
}

void Crowd::watch(int fd) { expect(reactor_.add(fd, kWatched, io::Interest::Read), "epoll_ctl"); }

void Crowd::connect(std::size_t client, const ConnectFields& fields) {
  Client& one = clients_[client];
  one.fd = start_connect(broker_, client);
  ++one.life;
  one.state = State::Connecting;
  one.framer.clear();
  one.out = encode_connect(fields);
  one.written = 0;
  one.packet_id = 0;
  one.told = 0;
  one.interest = io::Interest::Write;
  ++connecting_;
  expect(reactor_.add(one.fd.get(), token(client), io::Interest::Write), "epoll_ctl");
}

void Crowd::subscribe(std::size_t client, std::span<const std::string> filters, unsigned qos) {
  clients_[client].out += encode_subscribe(version_, 1, filters, qos);
  mark(client);
}

std::uint16_t Crowd::publish(std::size_t client, std::string_view topic, std::string_view payload, unsigned qos,
                             bool retain) {
  Client& one = clients_[client];
  one.packet_id = static_cast<std::uint16_t>(one.packet_id == UINT16_MAX ? 1 : one.packet_id + 1);
  append_publish(one.out, {.version = version_,
                           .topic = topic,
                           .payload = payload,
                           .qos = qos,
                           .retain = retain,
                           .packet_id = one.packet_id});
  mark(client);
  return one.packet_id;
}

void Crowd::ping(std::size_t client) {
  clients_[client].out += kPingreq;
  mark(client);
}

void Crowd::leave(std::size_t client) {
  Client& one = clients_[client];
  if (one.state != State::Up) {
    drop(client);
    return;
  }
  one.out += kDisconnect;
  one.state = State::Leaving;
  mark(client);
}

void Crowd::drop(std::size_t client) {
  if (!gone(client)) close(clients_[client]);
}

void Crowd::mark(std::size_t client) {
  Client& one = clients_[client];
  if (one.dirty || one.interest != io::Interest::Read || one.state == State::Gone) return;
  one.dirty = true;
  dirty_.push_back(client);
}

void Crowd::turn(Instant until) {
  flush();
  expect(reactor_.wait(until, ready_), "epoll_wait");
  batch_at_ = io::monotonic_now();
  for (const io::Ready& ready : ready_) on_ready(ready);
}

void Crowd::flush() {
  // write_to() may end a client, and its scene may have others say something.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const std::size_t client = dirty_[i];
    clients_[client].dirty = false;
    const State state = clients_[client].state;
    if (state != State::Gone && state != State::Connecting) write_to(client);
  }
  dirty_.clear();
}

void Crowd::turn_until(const std::function<bool()>& over, const std::function<std::uint64_t()>& done, Duration stall) {
  std::uint64_t last = done();
  Instant last_at = io::monotonic_now();
  while (!over()) {
    turn(io::monotonic_now() + base::milliseconds(100));
    if (const std::uint64_t now_done = done(); now_done != last) {
      last = now_done;
      last_at = batch_at_;
    } else if (batch_at_ - last_at > stall) {
      throw std::runtime_error(fmt::format("nothing has happened for {} s", stall / base::seconds(1)));
    }
  }
}

void Crowd::connect_all(std::size_t first, std::size_t count, const Pace& pace,
                        const std::function<ConnectFields(std::size_t)>& fields,
                        const std::function<std::uint64_t()>& ready, const std::function<void()>& progress) {
  const Duration step = pace.per_second > 0 ? Duration(static_cast<std::int64_t>(1e9 / pace.per_second)) : Duration(0);
  const Instant limit = io::monotonic_now() + base::seconds(pace.limit_s) + step * static_cast<std::int64_t>(count);
  Instant due = io::monotonic_now();
  std::size_t begun = 0;
  while (ready() < count) {
    const Instant at = io::monotonic_now();
    if (at > limit) {
      throw std::runtime_error(
          fmt::format("only {} of {} clients were ready within the time for it (--connect-limit)", ready(), count));
    }
    for (; begun < count && due <= at && begun - std::min<std::size_t>(begun, ready()) < pace.at_once; ++begun) {
      connect(first + begun, fields(first + begun));
      due += step;
    }
    // Who was held up does not make up for it.
    due = std::max(due, at);
    const Instant soon = at + base::milliseconds(100);
    turn(begun < count && step > Duration(0) && due > at ? std::min(due, soon) : soon);
    if (progress) progress();
  }
}

void Crowd::on_ready(const io::Ready& ready) {
  if (ready.token == kWatched) return;
  const auto client = static_cast<std::size_t>(ready.token & 0xffff'ffffU);
  if (ready.token != token(client) || gone(client)) return;
  if (clients_[client].state == State::Connecting) {
    if (const std::error_code error = io::pending_error(clients_[client].fd.get())) {
      end(client, {End::Kind::NotConnected, error.value()});
      return;
    }
    clients_[client].state = State::Greeting;
    write_to(client);
    return;
  }
  if (ready.writable) write_to(client);
  if (ready.token != token(client) || gone(client)) return;
  if (ready.readable || ready.hangup || ready.error) read_from(client, ready.hangup || ready.error);
}

void Crowd::read_from(std::size_t client, bool to_the_end) {
  do {
    Client& one = clients_[client];
    const io::Transfer got = io::read(one.fd.get(), buffer_);
    if (got.would_block) return;
    if (got.eof || got.error) {
      end(client, {End::Kind::Closed, one.told});
      return;
    }
    const std::uint32_t life = one.life;
    const Instant read_at = io::monotonic_now();
    // The scene may end this connection, and begin the next one.
    Framer framer = std::move(one.framer);
    framer.feed(base::Bytes(buffer_.data(), got.n), [&](const Frame& frame) {
      if (clients_[client].life == life && listens(client)) on_frame(client, frame, read_at);
    });
    if (clients_[client].life != life || gone(client)) return;
    one.framer = std::move(framer);
  } while (to_the_end);
}

bool Crowd::listens(std::size_t client) const {
  return clients_[client].state == State::Greeting || clients_[client].state == State::Up;
}

void Crowd::on_frame(std::size_t client, const Frame& frame, Instant read_at) {
  Client& one = clients_[client];
  switch (frame.type()) {
    case PacketType::Connack:
      if (frame.code() != 0) {
        end(client, {End::Kind::Refused, frame.code()});
        return;
      }
      one.state = State::Up;
      --connecting_;
      scene_.on_connected(client, frame);
      break;
    case PacketType::Suback:
      if (frame.refuses_a_filter(version_))
        throw std::runtime_error(
            "the broker refused a subscription: may this client read it, and do the broker's limits allow it?");
      scene_.on_subscribed(client);
      break;
    case PacketType::Publish: on_publish(client, frame, read_at); break;
    case PacketType::Pubrel:
      append_ack(one.out, PacketType::Pubcomp, frame.packet_id());
      mark(client);
      break;
    case PacketType::Puback:
    case PacketType::Pubrec:
    case PacketType::Pubcomp:
      if (frame.ack_reason() >= 0x80) {
        throw std::runtime_error(fmt::format("the broker refused a message with code {:#04x}", frame.ack_reason()));
      }
      if (frame.type() == PacketType::Pubrec) {
        append_ack(one.out, PacketType::Pubrel, frame.packet_id());
        mark(client);
      } else {
        scene_.on_acknowledged(client, frame.packet_id(), read_at);
      }
      break;
    case PacketType::Pingresp: scene_.on_pong(client, read_at); break;
    case PacketType::Disconnect: one.told = frame.code(); break;
    default: break;
  }
}

void Crowd::on_publish(std::size_t client, const Frame& frame, Instant read_at) {
  if (const unsigned qos = frame.publish_qos(); qos > 0) {
    append_ack(clients_[client].out, qos == 1 ? PacketType::Puback : PacketType::Pubrec, frame.publish_packet_id());
    mark(client);
  }
  scene_.on_message(client, frame, read_at);
}

void Crowd::write_to(std::size_t client) {
  Client& one = clients_[client];
  if (one.written < one.out.size()) {
    const ssize_t size = send(one.fd.get(), one.out.data() + one.written, one.out.size() - one.written, MSG_NOSIGNAL);
    // That the connection is gone is read later, with what the broker said before.
    if (size < 0 && errno != EAGAIN) {
      one.out.clear();
      one.written = 0;
    }
    if (size > 0) one.written += static_cast<std::size_t>(size);
  }
  if (one.written == one.out.size()) {
    if (one.out.capacity() > kOutKept) {
      std::string().swap(one.out);
    } else {
      one.out.clear();
    }
    one.written = 0;
    if (one.state == State::Leaving) shutdown(one.fd.get(), SHUT_WR);
  }
  const io::Interest interest = one.out.empty() ? io::Interest::Read : io::Interest::ReadWrite;
  if (interest == one.interest) return;
  one.interest = interest;
  expect(reactor_.modify(one.fd.get(), token(client), interest), "epoll_ctl");
}

void Crowd::close(Client& client) {
  if (client.state == State::Connecting || client.state == State::Greeting) --connecting_;
  client.fd.reset();
  client.state = State::Gone;
  std::string().swap(client.out);
  client.written = 0;
}

void Crowd::end(std::size_t client, const End& why) {
  const bool leaving = clients_[client].state == State::Leaving;
  close(clients_[client]);
  if (leaving) {
    scene_.on_left(client);
  } else {
    scene_.on_end(client, why, batch_at_);
  }
}

}  // namespace vigil::load
