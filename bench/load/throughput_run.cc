#include "throughput_run.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "process_usage.h"

namespace vigil::bench {
namespace {

using base::Instant;
using base::milliseconds;

constexpr unsigned kConnectsAtOnce = 64;
constexpr base::Duration kSetUpLimit = base::seconds(60);
constexpr base::Duration kStallLimit = base::seconds(5);

struct Peer {
  Fd fd;
  Framer framer;
  std::string out;  // not written yet
  std::size_t group = 0;
  std::uint16_t packet_id = 0;
  bool subscriber = false;
  bool connected = false;    // the TCP connection stands
  bool wants_write = false;  // epoll tells when the socket takes more
  bool dirty = false;        // `out` grew in this batch
};

struct Group {
  std::string topic;
  std::size_t first_publisher = 0;  // index of a peer
  unsigned next_publisher = 0;
  unsigned of_burst = 0;  // that it has sent
  std::uint64_t sent = 0;
  std::uint64_t delivered = 0;  // to all subscribers together
  bool dirty = false;           // a window moved in this batch
};

class Run {
 public:
  explicit Run(const ThroughputOptions& options)
      : options_(options), payload_(options.payload_bytes, 'x'), groups_(options.groups) {
    const std::size_t each = std::size_t{options.publishers} + options.subscribers;
    peers_.resize(each * options.groups);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      groups_[g].topic = fmt::format("bench/{}", g);
      groups_[g].first_publisher = g * each + options.subscribers;
      for (std::size_t i = 0; i < each; ++i) {
        Peer& peer = peers_[g * each + i];
        peer.group = g;
        peer.subscriber = i < options.subscribers;
      }
    }
  }

  ThroughputReport run() {
    set_up();
    for (std::size_t g = 0; g < groups_.size(); ++g) fill_window(groups_[g]);
    flush();
    turn_for(milliseconds(options_.warm_up_ms));

    const Usage before = read_usage(options_.broker_pid);
    const Usage own_before = read_usage(getpid());
    const std::uint64_t delivered_before = delivered_;
    const Instant begin = now();
    turn_for(milliseconds(options_.measure_ms));
    const Usage after = read_usage(options_.broker_pid);
    return {.delivered = delivered_ - delivered_before,
            .wall = now() - begin,
            .broker_user = after.user - before.user,
            .broker_system = after.system - before.system,
            .own_cpu = read_usage(getpid()).cpu() - own_before.cpu()};
  }

 private:
  // Everybody is connected and subscribed when this returns.
  void set_up() {
    const Instant limit = now() + kSetUpLimit;
    std::size_t begun = 0;
    while (ready_ < peers_.size()) {
      for (; begun < peers_.size() && begun - ready_ < kConnectsAtOnce; ++begun) {
        peers_[begun].fd = start_connect(options_.broker, begun);
        epoll_.add(peers_[begun].fd, EPOLLOUT, begun);
      }
      turn();
      if (now() > limit)
        throw std::runtime_error(fmt::format("only {} of {} clients were ready in time", ready_, peers_.size()));
    }
  }

  void turn_for(base::Duration time) {
    const Instant end = now() + time;
    std::uint64_t last = delivered_;
    Instant last_progress = now();
    for (Instant at = last_progress; at < end; at = now()) {
      turn();
      if (delivered_ != last) {
        last = delivered_;
        last_progress = at;
      } else if (at - last_progress > kStallLimit) {
        throw std::runtime_error("the broker delivers nothing any more: a message was lost");
      }
    }
  }

  // One batch of events, then one write for each peer that has something to say.
  void turn() {
    for (const epoll_event& event : epoll_.wait(100)) on_event(event.data.u64, event.events);
    for (const std::size_t group : dirty_groups_) {
      groups_[group].dirty = false;
      fill_window(groups_[group]);
    }
    dirty_groups_.clear();
    flush();
  }

  void on_event(std::size_t index, std::uint32_t events) {
    Peer& peer = peers_[index];
    if (!peer.connected) {
      greet(peer, index);
      return;
    }
    if ((events & EPOLLOUT) != 0) mark(index);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_from(peer, index);
  }

  void greet(Peer& peer, std::size_t index) {
    if (const int error = connect_error(peer.fd); error != 0) {
      throw std::runtime_error(
          fmt::format("cannot connect to {}:{}: {}", options_.broker.host, options_.broker.port, std::strerror(error)));
    }
    peer.connected = true;
    epoll_.change(peer.fd, EPOLLIN, index);
    peer.out += encode_connect({.version = options_.version,
                                .client_id = fmt::format("{}-{}", peer.subscriber ? "subscriber" : "publisher", index),
                                .keep_alive_s = 600,
                                .will = {}});
    mark(index);
  }

  void read_from(Peer& peer, std::size_t index) {
    const ssize_t size = recv(peer.fd.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) throw std::runtime_error("the broker closed a connection");
    peer.framer.feed(base::Bytes(buffer_.data(), static_cast<std::size_t>(size)),
                     [&](const Frame& frame) { on_frame(peer, index, frame); });
  }

  void on_frame(Peer& peer, std::size_t index, const Frame& frame) {
    if (frame.type() == PacketType::Publish) {
      on_delivery(peer, index, frame);
    } else if (frame.type() == PacketType::Connack) {
      if (frame.code() != 0)
        throw std::runtime_error(fmt::format("the broker refused a client with code {:#04x}", frame.code()));
      if (peer.subscriber) {
        peer.out += encode_subscribe(options_.version, groups_[peer.group].topic, options_.qos);
        mark(index);
      } else {
        ++ready_;
      }
    } else if (frame.type() == PacketType::Suback) {
      ++ready_;
    }
  }

  void on_delivery(Peer& peer, std::size_t index, const Frame& frame) {
    if (frame.publish_qos() == 1) {
      append_puback(peer.out, frame.publish_packet_id());
      mark(index);
    }
    ++delivered_;
    Group& group = groups_[peer.group];
    ++group.delivered;
    if (!group.dirty) {
      group.dirty = true;
      dirty_groups_.push_back(peer.group);
    }
  }

  void fill_window(Group& group) {
    while (group.sent * options_.subscribers <
           group.delivered + std::uint64_t{options_.window} * options_.subscribers) {
      const std::size_t index = group.first_publisher + group.next_publisher;
      if (++group.of_burst >= options_.burst) {
        group.of_burst = 0;
        group.next_publisher = (group.next_publisher + 1) % options_.publishers;
      }
      Peer& peer = peers_[index];
      peer.packet_id = static_cast<std::uint16_t>(peer.packet_id == UINT16_MAX ? 1 : peer.packet_id + 1);
      append_publish(peer.out, options_.version, group.topic, payload_, options_.qos, peer.packet_id);
      ++group.sent;
      mark(index);
    }
  }

  void mark(std::size_t index) {
    if (peers_[index].dirty) return;
    peers_[index].dirty = true;
    dirty_peers_.push_back(index);
  }

  void flush() {
    for (const std::size_t index : dirty_peers_) {
      Peer& peer = peers_[index];
      peer.dirty = false;
      const ssize_t size = send(peer.fd.get(), peer.out.data(), peer.out.size(), MSG_NOSIGNAL);
      if (size < 0 && errno != EAGAIN) throw std::runtime_error("the broker closed a connection");
      if (size > 0) peer.out.erase(0, static_cast<std::size_t>(size));
      const bool wants_write = !peer.out.empty();
      if (wants_write != peer.wants_write) {
        peer.wants_write = wants_write;
        epoll_.change(peer.fd, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, index);
      }
    }
    dirty_peers_.clear();
  }

  ThroughputOptions options_;
  std::string payload_;
  Epoll epoll_;
  std::vector<Group> groups_;
  std::vector<Peer> peers_;
  std::vector<std::size_t> dirty_groups_;
  std::vector<std::size_t> dirty_peers_;
  std::array<std::uint8_t, 65536> buffer_{};
  std::uint64_t delivered_ = 0;
  std::size_t ready_ = 0;
};

}  // namespace

ThroughputReport run_throughput(const ThroughputOptions& options) {
  raise_open_files(std::size_t{options.groups} * (std::size_t{options.publishers} + options.subscribers) + 64);
  return std::make_unique<Run>(options)->run();
}

}  // namespace vigil::bench
