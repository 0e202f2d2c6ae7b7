#include "durability_run.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "process_usage.h"

namespace vigil::bench {
namespace {

using base::Duration;
using base::Instant;
using base::milliseconds;

constexpr Duration kStallLimit = base::seconds(20);
// Identifiers of messages under way must not come round.
constexpr std::uint64_t kMostUnacknowledged = 60'000;
constexpr std::size_t kIdentifiers = 65'536;

std::string own_topic(std::size_t session) { return fmt::format("bench/one/{}", session); }
constexpr std::string_view kTopicOfAll = "bench/all";

struct Peer {
  Fd fd;
  Framer framer;
  std::string out;  // not written yet
  bool subscriber = false;
  bool connected = false;    // the TCP connection stands
  bool wants_write = false;  // epoll tells when the socket takes more
  bool dirty = false;        // `out` grew in this batch
  bool gone = false;         // said goodbye
  std::size_t session = 0;   // of a subscriber
  unsigned subacks = 0;
  // Of a publisher.
  std::uint64_t sent = 0;
  std::uint64_t acked = 0;
  std::uint64_t delivered = 0;    // pass: of its messages, to all their receivers
  std::vector<Instant> intended;  // by packet id
};

class Run {
 public:
  Run(const DurabilityOptions& options, bool subscribers, bool publishers)
      : options_(options), payload_(options.payload_bytes, 'x') {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (subscribers) {
      peers_.resize(options.sessions);
      for (std::size_t i = 0; i < peers_.size(); ++i) {
        peers_[i].subscriber = true;
        peers_[i].session = i;
      }
    }
    first_publisher_ = peers_.size();
    if (publishers) peers_.resize(peers_.size() + options.publishers);
    for (std::size_t i = first_publisher_; i < peers_.size(); ++i) peers_[i].intended.resize(kIdentifiers);
    topics_.reserve(options.sessions);
    if (publishers && !options.to_all) {
      for (std::size_t i = 0; i < options.sessions; ++i) topics_.push_back(own_topic(i));
    }
  }

  DurabilityReport make_sessions() {
    making_ = true;
    begin();
    connect_all();
    await([this] { return ready_ == peers_.size(); });
    return end(ready_);
  }

  DurabilityReport publish() {
    connect_all();
    begin();
    publish_all();
    return end(acked_);
  }

  DurabilityReport pass() {
    passing_ = true;
    connect_all();
    begin();
    publish_all();
    DurabilityReport report = end(acked_);
    report.delivered = delivered_;
    return report;
  }

  DurabilityReport drain() {
    begin();
    connect_all();
    await([this] { return delivered_ >= options_.expected; });
    return end(delivered_);
  }

 private:
  void begin() {
    before_ = read_usage(options_.broker_pid);
    own_before_ = read_usage(getpid());
    begun_at_ = now();
  }

  DurabilityReport end(std::uint64_t messages) {
    DurabilityReport report;
    report.messages = messages;
    report.wall = now() - begun_at_;
    report.own_cpu = read_usage(getpid()).cpu() - own_before_.cpu();
    std::this_thread::sleep_for(milliseconds(options_.settle_ms));
    const Usage after = read_usage(options_.broker_pid);
    report.broker_cpu = after.cpu() - before_.cpu();
    report.broker_system = after.system - before_.system;
    report.broker_rss_bytes = after.resident_bytes;
    report.ack_latency = std::move(latency_);
    return report;
  }

  // Everybody is connected (and subscribed, and gone again, if sessions are made) when this returns.
  void connect_all() {
    std::size_t begun = 0;
    Progress progress(*this);
    while (ready_ < peers_.size()) {
      for (; begun < peers_.size() && begun - ready_ < options_.at_once; ++begun) {
        peers_[begun].fd = start_connect(options_.broker, begun);
        epoll_.add(peers_[begun].fd, EPOLLOUT, begun);
      }
      turn(milliseconds(100));
      progress.check();
    }
  }

  template <class Done>
  void await(Done&& done) {
    Progress progress(*this);
    while (!done()) {
      turn(milliseconds(100));
      progress.check();
    }
  }

  void publish_all() {
    const Instant stop_at = options_.messages == 0 ? begun_at_ + milliseconds(options_.measure_ms) : Instant::never();
    Progress progress(*this);
    for (;;) {
      const Instant at = now();
      const bool over = options_.messages != 0 ? sent_ >= options_.messages : at >= stop_at;
      if (over && acked_ == sent_ && (!passing_ || delivered_ == sent_ * receivers())) return;
      Duration wait = milliseconds(100);
      if (!over) wait = options_.rate == 0 ? fill_windows(at, stop_at) : send_due(at);
      flush();
      turn(wait);
      progress.check();
    }
  }

  std::uint64_t receivers() const { return options_.to_all ? options_.sessions : 1; }

  std::uint64_t under_way(const Peer& peer) const {
    const std::uint64_t done = passing_ ? std::min(peer.acked, peer.delivered / receivers()) : peer.acked;
    return peer.sent - done;
  }

  bool all_sent() const { return options_.messages != 0 && sent_ >= options_.messages; }

  Duration fill_windows(Instant at, Instant stop_at) {
    for (std::size_t i = first_publisher_; i < peers_.size(); ++i) {
      while (under_way(peers_[i]) < options_.window && !all_sent()) send_one(i, at);
    }
    return stop_at.is_never() ? milliseconds(100) : std::min<Duration>(milliseconds(100), stop_at - at);
  }

  // Until the next one is due.
  Duration send_due(Instant at) {
    const auto due = [this] {
      return begun_at_ + Duration(static_cast<std::int64_t>(static_cast<double>(sent_) * 1e9 / options_.rate));
    };
    while (due() <= at && !all_sent()) {
      const std::size_t publisher = first_publisher_ + sent_ % options_.publishers;
      if (under_way(peers_[publisher]) >= kMostUnacknowledged) {
        throw std::runtime_error("the broker does not keep up with this rate: ask for less");
      }
      send_one(publisher, due());
    }
    return due() - at;
  }

  void send_one(std::size_t publisher, Instant intended) {
    Peer& peer = peers_[publisher];
    const std::size_t nth = publisher - first_publisher_;
    const std::uint16_t id = static_cast<std::uint16_t>(peer.sent % (kIdentifiers - 1) + 1);
    // Each publisher has sessions of its own, if there are enough.
    const std::size_t session = (nth + peer.sent * options_.publishers) % options_.sessions;
    append_publish(peer.out, Version::V311, options_.to_all ? kTopicOfAll : std::string_view(topics_[session]),
                   tagged(nth), 1, id);
    peer.intended[id] = intended;
    ++peer.sent;
    ++sent_;
    mark(publisher);
  }

  // The payload begins with its publisher's number, as far as there is room.
  std::string_view tagged(std::size_t publisher) {
    if (payload_.size() >= 2) {
      payload_[0] = static_cast<char>(publisher & 0xffU);
      payload_[1] = static_cast<char>(publisher >> 8U);
    }
    return payload_;
  }

  // One batch of events, then one write for each peer that has something to say.
  void turn(Duration wait) {
    for (const epoll_event& event : epoll_.wait(wait)) on_event(event.data.u64, event.events);
    flush();
  }

  void on_event(std::size_t index, std::uint32_t events) {
    Peer& peer = peers_[index];
    if (peer.gone) {
      // Its end has come; the broker closes after a DISCONNECT.
      peer.fd.reset();
      return;
    }
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
    peer.out += encode_connect(
        {.version = Version::V311,
         .client_id = peer.subscriber ? fmt::format("keeper-{}", peer.session) : fmt::format("publisher-{}", index),
         .keep_alive_s = 600,
         .will = {},
         .persistent = peer.subscriber});
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
    switch (frame.type()) {
      case PacketType::Publish: on_delivery(peer, index, frame); break;
      case PacketType::Puback: on_ack(peer, frame); break;
      case PacketType::Connack:
        if (frame.code() != 0)
          throw std::runtime_error(fmt::format("the broker refused a client with code {:#04x}", frame.code()));
        if (!making_) {
          ++ready_;
        } else {
          peer.out += encode_subscribe(Version::V311, own_topic(peer.session), 1);
          if (options_.to_all) peer.out += encode_subscribe(Version::V311, kTopicOfAll, 1);
          mark(index);
        }
        break;
      case PacketType::Suback:
        if (++peer.subacks < (options_.to_all ? 2U : 1U)) break;
        ++ready_;
        peer.out += kDisconnect;
        mark(index);
        break;
      default: break;
    }
  }

  void on_ack(Peer& peer, const Frame& frame) {
    if (frame.body.size() < 2) throw std::runtime_error("the broker sent a PUBACK that is too short");
    const auto id = static_cast<std::uint16_t>((frame.body[0] << 8U) | frame.body[1]);
    latency_.add(now() - peer.intended[id]);
    ++peer.acked;
    ++acked_;
  }

  void on_delivery(Peer& peer, std::size_t index, const Frame& frame) {
    if (frame.publish_qos() == 1) {
      append_puback(peer.out, frame.publish_packet_id());
      mark(index);
    }
    ++delivered_;
    if (!passing_ || frame.body.size() < options_.payload_bytes || options_.payload_bytes < 2) return;
    const base::Bytes payload = frame.body.last(options_.payload_bytes);
    const std::size_t publisher = first_publisher_ + payload[0] + (std::size_t{payload[1]} << 8U);
    if (publisher < peers_.size()) ++peers_[publisher].delivered;
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
      if (!peer.fd || peer.out.empty()) continue;
      const ssize_t size = send(peer.fd.get(), peer.out.data(), peer.out.size(), MSG_NOSIGNAL);
      if (size < 0 && errno != EAGAIN) throw std::runtime_error("the broker closed a connection");
      if (size > 0) peer.out.erase(0, static_cast<std::size_t>(size));
      if (making_ && peer.out.empty() && peer.subacks >= (options_.to_all ? 2U : 1U)) peer.gone = true;
      const bool wants_write = !peer.out.empty();
      if (wants_write != peer.wants_write) {
        peer.wants_write = wants_write;
        epoll_.change(peer.fd, wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN, index);
      }
    }
    dirty_peers_.clear();
  }

  // Ends the run when nothing happens any more.
  class Progress {
   public:
    explicit Progress(const Run& run) : run_(run), last_at_(now()) {}
    void check() {
      const std::uint64_t done = run_.ready_ + run_.acked_ + run_.delivered_;
      if (done != last_) {
        last_ = done;
        last_at_ = now();
      } else if (now() - last_at_ > kStallLimit) {
        throw std::runtime_error(
            fmt::format("nothing has happened for {} s: {} clients ready, {} sent, {} acknowledged, {} delivered",
                        kStallLimit / base::seconds(1), run_.ready_, run_.sent_, run_.acked_, run_.delivered_));
      }
    }

   private:
    const Run& run_;
    std::uint64_t last_ = std::numeric_limits<std::uint64_t>::max();
    Instant last_at_;
  };

  DurabilityOptions options_;
  std::string payload_;
  std::vector<std::string> topics_;
  Epoll epoll_;
  std::vector<Peer> peers_;
  std::size_t first_publisher_ = 0;
  std::vector<std::size_t> dirty_peers_;
  std::array<std::uint8_t, 65536> buffer_{};
  bool making_ = false;
  bool passing_ = false;
  std::uint64_t ready_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t delivered_ = 0;
  Samples latency_;
  Usage before_;
  Usage own_before_;
  Instant begun_at_;
};

std::unique_ptr<Run> make_run(const DurabilityOptions& options, bool subscribers, bool publishers) {
  raise_open_files(std::min<std::size_t>(options.sessions, options.at_once + 1'000) + options.publishers + 64);
  return std::make_unique<Run>(options, subscribers, publishers);
}

}  // namespace

DurabilityReport make_sessions(const DurabilityOptions& options) {
  return make_run(options, true, false)->make_sessions();
}
DurabilityReport publish(const DurabilityOptions& options) { return make_run(options, false, true)->publish(); }
DurabilityReport drain(const DurabilityOptions& options) { return make_run(options, true, false)->drain(); }
DurabilityReport pass(const DurabilityOptions& options) { return make_run(options, true, true)->pass(); }

}  // namespace vigil::bench
