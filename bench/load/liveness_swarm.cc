#include "liveness_swarm.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/random.h"

namespace vigil::bench {
namespace {

using base::Duration;
using base::Instant;
using base::milliseconds;

constexpr std::string_view kWillPrefix = "last/words/";
constexpr std::uint64_t kBeatKey = UINT64_MAX;
constexpr unsigned kKeepAliveTimeout = 0x8d;

enum class State : std::uint8_t { Idle, Connecting, Greeting, Alive, Closed };
enum class Role : std::uint8_t { Watcher, Pinger, Silent };

struct Client {
  Fd fd;
  Framer framer;
  Instant ping_sent;      // of the latest PINGREQ
  Instant ping_answered;  // of the latest PINGRESP
  State state = State::Idle;
  Role role = Role::Pinger;
  bool ping_open = false;  // sent and not answered
  bool silent = false;     // has spoken its last
  bool will_seen = false;
};

// Clients that ping in turn, one after the other at equal distances, each once an interval.
class Ring {
 public:
  Ring(std::size_t first, std::size_t count, Duration interval)
      : first_(first), count_(count), step_(count == 0 ? interval : interval / static_cast<std::int64_t>(count)) {}

  // Calls on_turn(index) for each turn that has come since the last call; a ring that was held up makes up for it.
  template <class OnTurn>
  void turn(Instant time, OnTurn&& on_turn) {
    if (count_ == 0) return;
    if (next_ == Instant{}) next_ = time;
    for (; next_ <= time; next_ += step_) {
      on_turn(first_ + cursor_);
      cursor_ = (cursor_ + 1) % count_;
    }
  }

 private:
  std::size_t first_;
  std::size_t count_;
  Duration step_;
  Instant next_;
  std::size_t cursor_ = 0;
};

Duration own_cpu_now() { return read_usage(getpid()).cpu(); }

class Swarm {
 public:
  explicit Swarm(const LivenessOptions& options)
      : options_(options),
        silence_limit_(base::seconds(options.silent_keep_alive_s) * 3 / 2),
        pinger_ring_(1, options.pingers, milliseconds(options.ping_interval_ms)),
        silent_ring_(1 + options.pingers, options.silent, base::seconds(options.silent_keep_alive_s) / 2),
        clients_(std::size_t{1} + options.pingers + options.silent) {
    clients_[0].role = Role::Watcher;
    for (std::size_t i = first_silent(); i < clients_.size(); ++i) clients_[i].role = Role::Silent;
    epoll_.add(beat_.fd(), EPOLLIN, kBeatKey);
  }

  LivenessReport run() {
    connect_all();
    steady();
    fall_silent();
    watch();
    count_what_is_left();
    return std::move(report_);
  }

 private:
  std::size_t first_silent() const { return std::size_t{1} + options_.pingers; }

  void connect_all() {
    const Instant begin = now();
    const Instant limit = begin + base::seconds(options_.connect_limit_s);
    run_until([&] { return watcher_ready_; }, limit, [&](Instant) { begin_connects(1); });
    next_connect_ = now();
    run_until([&] { return alive_ == clients_.size(); }, limit,
              [&](Instant time) {
                const Duration step = base::seconds(1) / options_.connect_rate;
                while (next_connect_ <= time && begin_connects(clients_.size())) next_connect_ += step;
                next_connect_ = std::max(next_connect_, time);
                say_every_second(time, [&] { return fmt::format("{} of {} connected", alive_, clients_.size()); });
              });
    if (alive_ < clients_.size()) {
      throw std::runtime_error(fmt::format("only {} of {} clients were connected after {} s", alive_, clients_.size(),
                                           options_.connect_limit_s));
    }
    report_.connect_time = now() - begin;
    say("{} connected in {:.1f} s", alive_, to_ms(report_.connect_time) / 1000);
  }

  void steady() {
    const Instant begin = now();
    const Usage before = read_usage(options_.broker_pid);
    run_until([] { return false; }, begin + milliseconds(options_.steady_ms), [](Instant) {});
    const Usage after = read_usage(options_.broker_pid);
    report_.steady_wall = now() - begin;
    report_.steady_cpu = after.cpu() - before.cpu();
    report_.broker_resident_bytes = after.resident_bytes;
  }

  // Deals the last moments: evenly over the spread, in an order of chance, and at chance within each step.
  void fall_silent() {
    base::Random random(options_.seed);
    last_words_.resize(options_.silent);
    for (std::size_t i = 0; i < last_words_.size(); ++i) last_words_[i].client = first_silent() + i;
    for (std::size_t i = last_words_.size(); i > 1; --i) std::swap(last_words_[i - 1], last_words_[random.below(i)]);
    const auto step = static_cast<std::uint64_t>(Duration(milliseconds(options_.spread_ms)).count()) /
                      std::max<std::uint64_t>(1, options_.silent);
    measure_begin_ = now();
    for (std::size_t i = 0; i < last_words_.size(); ++i) {
      last_words_[i].at = measure_begin_ + Duration(static_cast<std::int64_t>(i * step + random.below(step)));
    }
    say("measuring: {} clients fall silent over {} ms", options_.silent, options_.spread_ms);
  }

  void watch() {
    measuring_ = true;
    usage_before_ = read_usage(options_.broker_pid);
    const Duration own_before = own_cpu_now();
    const Instant least = measure_begin_ + milliseconds(options_.measure_ms);
    const Instant limit = measure_begin_ + milliseconds(options_.give_up_ms);
    run_until([&] { return now() >= least && closed_ == options_.silent && wills_ == options_.silent; }, limit,
              [&](Instant time) {
                speak_last_words(time);
                say_every_second(time, [&] { return fmt::format("{} closed, {} wills", closed_, wills_); });
              });
    report_.measure_wall = now() - measure_begin_;
    report_.measure_cpu = read_usage(options_.broker_pid).cpu() - usage_before_.cpu();
    report_.own_cpu = own_cpu_now() - own_before;
    measuring_ = false;
  }

  void count_what_is_left() {
    for (const Client& client : clients_) {
      if (client.role == Role::Silent && client.state != State::Closed) ++report_.never_closed;
      if (client.role == Role::Silent && !client.will_seen) ++report_.wills_missing;
      const Duration grace = milliseconds(1000);
      if (client.role == Role::Pinger && client.state == State::Alive && client.ping_open &&
          now() - client.ping_sent > grace) {
        ++report_.pings_unanswered;
      }
    }
  }

  // The loop: pings go on whatever else happens; `each_beat` is called each millisecond.
  template <class Done, class EachBeat>
  void run_until(Done&& done, Instant limit, EachBeat&& each_beat) {
    while (!done()) {
      const auto events = epoll_.wait(1000);
      // What this batch tells had happened by now: the time of a close.
      const Instant seen = now();
      bool beat = false;
      for (const epoll_event& event : events) {
        if (event.data.u64 == kBeatKey) {
          beat = true;
        } else {
          on_event(event.data.u64, event.events, seen);
        }
      }
      if (beat) {
        beat_.take(seen, [&](Duration late) {
          if (measuring_) report_.beat_lateness.add(late);
        });
        const Instant time = now();
        pinger_ring_.turn(time, [&](std::size_t index) { ping(clients_[index]); });
        silent_ring_.turn(time, [&](std::size_t index) { ping(clients_[index]); });
        each_beat(time);
      }
      if (seen >= limit) return;
    }
  }

  // Begins at most one connection, to a client below `end`; false when none may begin now.
  bool begin_connects(std::size_t end) {
    if (begun_ >= end || begun_ - greeted_ >= options_.connects_at_once) return false;
    Client& client = clients_[begun_];
    client.fd = start_connect(options_.broker, begun_);
    client.state = State::Connecting;
    epoll_.add(client.fd, EPOLLOUT, begun_);
    ++begun_;
    return true;
  }

  void on_event(std::size_t index, std::uint32_t events, Instant seen) {
    Client& client = clients_[index];
    if (client.state == State::Closed) return;
    if (client.state == State::Connecting) {
      greet(client, index);
    } else {
      read_from(client, index, events, seen);
    }
  }

  void greet(Client& client, std::size_t index) {
    if (const int error = connect_error(client.fd); error != 0) {
      throw std::runtime_error(fmt::format("client {}: cannot connect to {}:{}: {}", index, options_.broker.host,
                                           options_.broker.port, std::strerror(error)));
    }
    ConnectFields fields{
        .version = options_.version, .client_id = client_id(client, index), .keep_alive_s = 0, .will = {}};
    if (client.role == Role::Watcher) fields.keep_alive_s = UINT16_MAX;
    if (client.role == Role::Pinger) fields.keep_alive_s = options_.pinger_keep_alive_s;
    if (client.role == Role::Silent) {
      fields.keep_alive_s = options_.silent_keep_alive_s;
      fields.will = Will{fmt::format("{}{}", kWillPrefix, index - first_silent()), "gone"};
    }
    client.state = State::Greeting;
    epoll_.change(client.fd, EPOLLIN | EPOLLRDHUP, index);
    write_to(client, encode_connect(fields));
  }

  static std::string client_id(const Client& client, std::size_t index) {
    constexpr std::array kNames{"watcher", "pinger", "silent"};
    return fmt::format("{}-{}", kNames[static_cast<std::size_t>(client.role)], index);
  }

  void read_from(Client& client, std::size_t index, std::uint32_t events, Instant seen) {
    while (true) {
      const ssize_t size = recv(client.fd.get(), buffer_.data(), buffer_.size(), 0);
      if (size < 0 && errno == EAGAIN) return;
      if (size <= 0) {
        on_closed(client, index, seen);
        return;
      }
      const Instant read_at = now();
      client.framer.feed(base::Bytes(buffer_.data(), static_cast<std::size_t>(size)),
                         [&](const Frame& frame) { on_frame(client, index, frame, read_at); });
      const bool all = static_cast<std::size_t>(size) < buffer_.size();
      if (all && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) return;
    }
  }

  void on_frame(Client& client, std::size_t index, const Frame& frame, Instant read_at) {
    switch (frame.type()) {
      case PacketType::Connack: on_connack(client, index, frame); break;
      case PacketType::Suback: watcher_ready_ = true; break;
      case PacketType::Pingresp: on_pingresp(client, read_at); break;
      case PacketType::Publish: on_will(frame, read_at); break;
      case PacketType::Disconnect:
        if (client.role == Role::Silent) {
          ++(frame.code() == kKeepAliveTimeout ? report_.told_keep_alive_timeout : report_.told_otherwise);
        }
        break;
      default: break;
    }
  }

  void on_connack(Client& client, std::size_t index, const Frame& frame) {
    if (frame.code() != 0) {
      throw std::runtime_error(
          fmt::format("client {}: the broker refused it with code {:#04x}", client_id(client, index), frame.code()));
    }
    client.state = State::Alive;
    ++greeted_;
    ++alive_;
    if (client.role == Role::Watcher) {
      write_to(client, encode_subscribe(options_.version, fmt::format("{}#", kWillPrefix), 0));
    }
  }

  void on_pingresp(Client& client, Instant read_at) {
    if (!client.ping_open) return;
    client.ping_open = false;
    client.ping_answered = read_at;
    if (!measuring_) return;
    if (client.role == Role::Pinger) report_.ping_answer.add(read_at - client.ping_sent);
    if (client.silent) report_.last_ping_answer.add(read_at - client.ping_sent);
  }

  void on_will(const Frame& frame, Instant read_at) {
    const std::string_view topic = frame.publish_topic();
    if (!topic.starts_with(kWillPrefix)) return;
    const std::string_view digits = topic.substr(kWillPrefix.size());
    std::size_t number = SIZE_MAX;
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (number >= options_.silent) return;
    Client& client = clients_[first_silent() + number];
    if (client.will_seen) {
      ++report_.wills_twice;
      return;
    }
    client.will_seen = true;
    ++wills_;
    const Duration late = read_at - (client.ping_sent + silence_limit_);
    if (!client.silent || late < Duration(0)) ++report_.early_wills;
    if (client.silent) report_.will_lateness.add(late);
  }

  void on_closed(Client& client, std::size_t index, Instant seen) {
    if (client.state == State::Greeting || client.role == Role::Watcher) {
      throw std::runtime_error(fmt::format("client {}: the broker closed the connection", client_id(client, index)));
    }
    client.fd.reset();
    client.state = State::Closed;
    if (client.role == Role::Pinger) {
      ++report_.false_deaths;
      return;
    }
    ++closed_;
    const Duration late = seen - (client.ping_sent + silence_limit_);
    if (!client.silent || late < Duration(0)) ++report_.early_closes;
    if (client.silent) report_.close_lateness.add(late);
    if (client.silent && !client.ping_open) {
      report_.close_after_answer.add(seen - (client.ping_answered + silence_limit_));
    }
  }

  void ping(Client& client) {
    if (client.state != State::Alive || client.silent) return;
    // The time before the write: the broker cannot have read the packet sooner.
    client.ping_sent = now();
    client.ping_open = true;
    write_to(client, kPingreq);
  }

  void speak_last_words(Instant time) {
    while (last_spoken_ < last_words_.size() && last_words_[last_spoken_].at <= time) {
      Client& client = clients_[last_words_[last_spoken_].client];
      ping(client);
      client.silent = true;
      ++last_spoken_;
    }
  }

  // Packets of this swarm are few and small; a socket that does not take one whole is as good as closed, and its end is
  // read later.
  static void write_to(Client& client, std::string_view bytes) {
    (void)send(client.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  template <class... Args>
  static void say(fmt::format_string<Args...> text, Args&&... args) {
    fmt::print(stderr, "{}\n", fmt::format(text, std::forward<Args>(args)...));
  }
  template <class Text>
  void say_every_second(Instant time, Text&& text) {
    if (time < next_say_) return;
    next_say_ = time + base::seconds(1);
    say("{}", text());
  }

  struct LastWord {
    std::size_t client = 0;
    Instant at;
  };

  LivenessOptions options_;
  Duration silence_limit_;
  Epoll epoll_;
  Beat beat_;
  Ring pinger_ring_;
  Ring silent_ring_;
  std::vector<Client> clients_;
  std::vector<LastWord> last_words_;
  std::array<std::uint8_t, 65536> buffer_{};
  LivenessReport report_;
  Usage usage_before_;
  Instant measure_begin_;
  Instant next_connect_;
  Instant next_say_;
  std::size_t begun_ = 0;
  std::size_t greeted_ = 0;
  std::size_t alive_ = 0;
  std::size_t last_spoken_ = 0;
  unsigned closed_ = 0;
  unsigned wills_ = 0;
  bool watcher_ready_ = false;
  bool measuring_ = false;
};

}  // namespace

LivenessReport run_liveness(const LivenessOptions& options) {
  raise_open_files(std::size_t{options.pingers} + options.silent + 64);
  return std::make_unique<Swarm>(options)->run();
}

}  // namespace vigil::bench
