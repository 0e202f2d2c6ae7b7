// floor_relay: what the work of a broker costs without a broker. It reads what is there and writes it on, gathered: one
// write a receiver for each batch of events. It answers CONNECT, SUBSCRIBE and PINGREQ with fixed packets, ends a
// connection after DISCONNECT or when its client id (taken for as long as CONNECT is) comes again, and looks a
// publisher's topic up once; from then on the bytes are passed on as they are, cut at packet ends only where several
// publishers share a receiver. Where one publisher has one receiver, QoS 1 and 2 work too: what the receiver answers is
// passed back. One thread. It is the measure that docs/performance.md calls the floor.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include "io/fd.h"
#include "load/net.h"
#include "load/wire.h"

namespace vigil::bench {
namespace {

using io::Fd;
using load::Frame;
using load::Framer;
using load::FrameSize;
using load::PacketType;

// Nothing between the relay and the kernel.
class Epoll {
 public:
  Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)) {}
  void add(const Fd& fd, std::uint32_t events, std::uint64_t key) { control(EPOLL_CTL_ADD, fd, events, key); }
  void change(const Fd& fd, std::uint32_t events, std::uint64_t key) { control(EPOLL_CTL_MOD, fd, events, key); }
  std::span<const epoll_event> wait(int timeout_ms) {
    const int count = epoll_wait(fd_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
    if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "epoll_wait");
    return {events_.data(), static_cast<std::size_t>(count < 0 ? 0 : count)};
  }

 private:
  void control(int operation, const Fd& fd, std::uint32_t events, std::uint64_t key) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = key;
    if (epoll_ctl(fd_.get(), operation, fd.get(), &event) != 0) {
      throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
  }

  Fd fd_;
  std::array<epoll_event, 1024> events_{};
};

constexpr std::uint64_t kListener = 0;
constexpr std::uint8_t kQosMask = 0x06;

struct Peer {
  Fd fd;
  std::uint64_t key = 0;
  Framer framer;       // until it publishes
  std::string client;  // its CONNECT
  std::string rest;    // of a packet, where packets must stay whole
  std::string out;
  std::vector<Peer*> receivers;
  bool relays = false;
  bool whole = false;  // packets
  bool dirty = false;
  bool wants_write = false;
};

class Relay {
 public:
  explicit Relay(std::uint16_t port) : listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
        listen(listener_.get(), 4096) != 0) {
      throw std::system_error(errno, std::generic_category(), fmt::format("cannot listen on port {}", port));
    }
    epoll_.add(listener_, EPOLLIN, kListener);
  }

  [[noreturn]] void run() {
    for (;;) {
      for (const epoll_event& event : epoll_.wait(1'000)) {
        if (event.data.u64 == kListener) {
          accept_all();
        } else if (const auto it = peers_.find(event.data.u64); it != peers_.end()) {
          Peer& peer = *it->second;
          if ((event.events & EPOLLOUT) != 0) mark(peer);
          if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_from(peer);
        }
      }
      for (Peer* peer : dirty_) write_to(*peer);
      dirty_.clear();
      for (const std::uint64_t key : gone_) forget(key);
      gone_.clear();
    }
  }

 private:
  void accept_all() {
    for (;;) {
      Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) return;
      const int on = 1;
      setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto peer = std::make_unique<Peer>();
      peer->fd = std::move(fd);
      peer->key = ++last_key_;
      epoll_.add(peer->fd, EPOLLIN, peer->key);
      peers_.emplace(peer->key, std::move(peer));
    }
  }

  void read_from(Peer& peer) {
    const ssize_t size = recv(peer.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      gone_.push_back(peer.key);
      return;
    }
    const base::Bytes chunk(buffer_.data(), static_cast<std::size_t>(size));
    if (peer.relays && peer.framer.idle()) {
      pass_on(peer, base::as_text(chunk));
    } else {
      peer.framer.feed(chunk, [&](const Frame& frame) { on_frame(peer, frame); });
    }
  }

  void on_frame(Peer& peer, const Frame& frame) {
    if (frame.type() == PacketType::Connect) {
      take_over(peer, frame);
      peer.out += std::string_view("\x20\x02\x00\x00", 4);
      mark(peer);
    } else if (frame.type() == PacketType::Pingreq) {
      peer.out += std::string_view("\xd0\x00", 2);
      mark(peer);
    } else if (frame.type() == PacketType::Disconnect) {
      gone_.push_back(peer.key);
    } else if (frame.type() == PacketType::Subscribe && frame.body.size() > 4) {
      const std::size_t length = (std::size_t{frame.body[2]} << 8U) | frame.body[3];
      filters_[std::string(base::as_text(frame.body.subspan(4, length)))].push_back(&peer);
      peer.out += std::string_view("\x90\x03", 2);
      peer.out += base::as_text(frame.body.first(2));
      peer.out += '\0';
      mark(peer);
    } else if (frame.type() == PacketType::Publish) {
      if (!peer.relays) find_receivers(peer, std::string(frame.publish_topic()));
      if ((frame.first & kQosMask) != 0) pass_answers_back(peer);
      // What the framer has of it: its header again, and its body.
      std::string whole(1, static_cast<char>(frame.first));
      for (std::size_t left = frame.body.size();;) {
        const auto low = static_cast<std::uint8_t>(left & 0x7FU);
        left >>= 7U;
        whole += static_cast<char>(left > 0 ? low | 0x80U : low);
        if (left == 0) break;
      }
      whole += base::as_text(frame.body);
      for (Peer* receiver : peer.receivers) append(*receiver, whole);
    }
  }

  // One connection a client id, which is all of CONNECT here.
  void take_over(Peer& peer, const Frame& frame) {
    peer.client = base::as_text(frame.body);
    std::uint64_t& holder = clients_[peer.client];
    if (holder != 0) gone_.push_back(holder);
    holder = peer.key;
  }

  // Once for each publisher.
  void find_receivers(Peer& peer, const std::string& topic) {
    for (const auto& [filter, subscribers] : filters_) {
      const std::size_t wildcard = filter.find_first_of("+#");
      const bool matches = wildcard == std::string::npos
                               ? filter == topic
                               : topic.starts_with(std::string_view(filter).substr(0, wildcard));
      if (!matches) continue;
      peer.whole = peer.whole || wildcard != std::string::npos;
      peer.receivers.insert(peer.receivers.end(), subscribers.begin(), subscribers.end());
    }
    peer.relays = true;
  }

  // Acknowledgements have the publisher's packet identifiers.
  static void pass_answers_back(Peer& peer) {
    if (peer.receivers.size() != 1 || peer.whole) {
      throw std::runtime_error("the floor relay knows QoS 1 and 2 only from one publisher to one subscriber");
    }
    Peer& receiver = *peer.receivers.front();
    if (!receiver.receivers.empty() && receiver.receivers.front() != &peer) {
      throw std::runtime_error("the floor relay knows QoS 1 and 2 only from one publisher to one subscriber");
    }
    receiver.relays = true;
    receiver.receivers = {&peer};
  }

  void pass_on(Peer& peer, std::string_view chunk) {
    if (!peer.whole) {
      for (Peer* receiver : peer.receivers) append(*receiver, chunk);
      return;
    }
    if (!peer.rest.empty()) {
      peer.rest += chunk;
      chunk = peer.rest;
    }
    std::size_t used = 0;
    for (;;) {
      const FrameSize size = load::frame_size(base::as_bytes(chunk.substr(used)));
      if (size.total == 0 || size.total > chunk.size() - used) break;
      used += size.total;
    }
    for (Peer* receiver : peer.receivers) append(*receiver, chunk.substr(0, used));
    std::string rest(chunk.substr(used));
    peer.rest = std::move(rest);
  }

  void append(Peer& peer, std::string_view bytes) {
    peer.out += bytes;
    mark(peer);
  }

  void mark(Peer& peer) {
    if (std::exchange(peer.dirty, true)) return;
    dirty_.push_back(&peer);
  }

  void write_to(Peer& peer) {
    peer.dirty = false;
    if (peer.out.empty()) return;
    const ssize_t size = send(peer.fd.get(), peer.out.data(), peer.out.size(), MSG_NOSIGNAL);
    if (size < 0 && errno != EAGAIN) {
      gone_.push_back(peer.key);
      peer.out.clear();
      return;
    }
    if (size > 0) peer.out.erase(0, static_cast<std::size_t>(size));
    const bool wants_write = !peer.out.empty();
    if (wants_write == peer.wants_write) return;
    peer.wants_write = wants_write;
    epoll_.change(peer.fd, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, peer.key);
  }

  void forget(std::uint64_t key) {
    const auto it = peers_.find(key);
    if (it == peers_.end()) return;
    Peer* gone = it->second.get();
    if (const auto client = clients_.find(gone->client); client != clients_.end() && client->second == key) {
      clients_.erase(client);
    }
    for (Peer* receiver : std::vector(gone->receivers)) std::erase(receiver->receivers, gone);
    for (auto& [filter, subscribers] : filters_) {
      if (std::erase(subscribers, gone) == 0) continue;
      for (auto& [other, peer] : peers_) std::erase(peer->receivers, gone);
    }
    peers_.erase(it);
  }

  Fd listener_;
  Epoll epoll_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Peer>> peers_;
  std::map<std::string, std::vector<Peer*>> filters_;
  std::unordered_map<std::string, std::uint64_t> clients_;
  std::vector<Peer*> dirty_;
  std::vector<std::uint64_t> gone_;
  std::uint64_t last_key_ = kListener;
  std::array<std::uint8_t, 65536> buffer_{};
};

}  // namespace
}  // namespace vigil::bench

int main(int argc, char** argv) {
  std::uint16_t port = 0;
  const std::string_view text = argc == 2 ? argv[1] : "";
  const auto [end, error] = std::from_chars(text.begin(), text.end(), port);
  if (error != std::errc() || end != text.end() || port == 0) {
    fmt::print(stderr, "floor_relay: name a port of 127.0.0.1 to listen on: floor_relay 1883\n");
    return 2;
  }
  try {
    vigil::load::raise_open_files(4'096);
    auto relay = std::make_unique<vigil::bench::Relay>(port);
    relay->run();
  } catch (const std::exception& problem) {
    fmt::print(stderr, "floor_relay: {}\n", problem.what());
    return 1;
  }
}
