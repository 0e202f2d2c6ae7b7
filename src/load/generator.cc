#include "load/generator.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

#include "io/clock.h"
#include "load/histogram.h"
#include "load/ring.h"
#include "load/stamp.h"
#include "load/stop.h"

namespace vigil::load {
namespace {

using base::milliseconds;

// Of a client: what a socket does not take is left out beyond this.
constexpr std::size_t kMostUnsaid = 4U << 20U;
// Identifiers of messages under way must not come round.
constexpr unsigned kMostInflight = 60'000;

// What publishers and subscribers have in common.
class Generator : public Scene {
 public:
  // `role`: part of client identifiers, so that publishers do not take subscribers over.
  Generator(const Target& target, const GeneratorOptions& options, std::string role)
      : role_(std::move(role)),
        target_(target),
        options_(options),
        was_ready_(options.clients),
        crowd_(target.endpoint(), target.version, options.clients, *this),
        progress_(target.quiet) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (options.stop_fd >= 0) crowd_.watch(options.stop_fd);
    if (target.keep_alive_s > 0) {
      pings_ = Ring(0, options.clients, milliseconds(750) * target.keep_alive_s);
    }
  }

  void on_end(std::size_t client, const End& end, Instant /*seen*/) override {
    ++lost_[end.sentence()];
    if (!was_ready_[client]) ++never_ready_;
  }

 protected:
  std::string client_id(std::size_t client) const {
    return fmt::format("{}-{}-{}", target_.prefix, role_, options_.first + client);
  }
  std::vector<std::string> topics_of(std::size_t client) const {
    std::vector<std::string> all;
    for (const std::string& topic : options_.topics) {
      all.push_back(expand(topic, client_id(client), options_.first + client, target_));
    }
    return all;
  }
  void set_ready(std::size_t client) {
    was_ready_[client] = true;
    ++ready_;
  }

  void connect_all() {
    crowd_.connect_all(
        0, options_.clients, target_.pace,
        [this](std::size_t client) {
          ConnectFields one = target_.fields(client_id(client));
          one.clean = options_.clean;
          one.session_expiry_s = options_.session_expiry_s;
          return one;
        },
        [this] { return ready_ + never_ready_; },
        [this] {
          progress_.tell([this] { return fmt::format("{} of {} connected", ready_, options_.clients); });
          if (stopped(options_.stop_fd)) throw std::runtime_error("stopped before all were connected");
        });
    if (ready_ == 0) throw std::runtime_error(lost_.begin()->first);
    progress_.say(fmt::format("{} of {} connected{}", ready_, options_.clients,
                              options_.for_s == 0 && options_.messages == 0 ? "; Ctrl-C ends this" : ""));
  }

  bool over(Instant end, std::uint64_t count) const {
    return crowd_.batch_at() >= end || stopped(options_.stop_fd) ||
           (options_.messages > 0 && count >= options_.messages);
  }
  Instant end_from_now() const {
    return options_.for_s > 0 ? io::monotonic_now() + base::seconds(options_.for_s) : Instant::never();
  }
  void ping() {
    pings_.turn(io::monotonic_now(), [this](std::size_t client, Instant) {
      if (crowd_.up(client)) crowd_.ping(client);
    });
  }
  void report_lost(Report& report) const {
    std::uint64_t all = 0;
    for (const auto& [why, count] : lost_) all += count;
    report.count("lost", "clients lost", all);
    for (const auto& [why, count] : lost_) report.count("lost: " + why, "  " + why, count);
  }
  // A whole number a second, for progress.
  double rate(std::uint64_t count) {
    const Instant at = io::monotonic_now();
    const double rate = static_cast<double>(count - told_) / std::max(1e-9, to_s(at - told_at_));
    told_ = count;
    told_at_ = at;
    return rate;
  }

  std::string role_;
  const Target& target_;
  GeneratorOptions options_;
  std::vector<bool> was_ready_;
  Crowd crowd_;
  Progress progress_;
  Ring pings_;
  std::unique_ptr<Histogram> latency_ = std::make_unique<Histogram>();

 private:
  std::map<std::string, std::uint64_t> lost_;
  std::uint64_t ready_ = 0;
  std::uint64_t never_ready_ = 0;
  std::uint64_t told_ = 0;
  Instant told_at_ = io::monotonic_now();
};

class Publishing final : public Generator {
 public:
  Publishing(const Target& target, const GeneratorOptions& options)
      : Generator(target, options, "pub"), payload_(options.payload_bytes, 'x'), publishers_(options.clients) {
    options_.inflight = std::min(options_.inflight, kMostInflight);
    for (std::size_t i = 0; i < publishers_.size(); ++i) publishers_[i].topics = topics_of(i);
  }

  Report run() {
    connect_all();
    UsageMeter meter(target_.broker_pid);
    Ring turns(0, options_.clients, Duration(static_cast<std::int64_t>(options_.interval_ms * 1e6)));
    const Instant end = end_from_now();
    while (!over(end, sent_)) {
      const Instant at = io::monotonic_now();
      turns.turn(at, [this](std::size_t client, Instant due) { send(client, due); });
      crowd_.turn(std::min({end, turns.next(), at + milliseconds(200)}));
      ping();
      progress_.tell(
          [this] { return fmt::format("{} published, {:.0f}/s, {} left out", sent_, rate(sent_), left_out_); });
    }
    const Instant limit = io::monotonic_now() + base::seconds(5);
    while (unfinished() && crowd_.batch_at() < limit) crowd_.turn(crowd_.batch_at() + milliseconds(20));
    meter.end();

    Report report;
    report.count("published", "messages published", sent_);
    report.number("per_s", "a second", static_cast<double>(sent_) / to_s(meter.wall()), 0, "");
    if (options_.qos > 0) report.count("acknowledged", "acknowledged", acked_);
    report.count("left_out", "left out: the broker did not take them in time", left_out_);
    report_lost(report);
    meter.report(report, "message", sent_);
    if (options_.qos > 0) report.times("ack", "from when it was to be sent to PUBACK or PUBCOMP", times_of(*latency_));
    return report;
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override { set_ready(client); }
  void on_acknowledged(std::size_t client, std::uint16_t packet_id, Instant read_at) override {
    Publisher& publisher = publishers_[client];
    const auto it = publisher.due.find(packet_id);
    if (it == publisher.due.end()) return;
    latency_->add(read_at - it->second);
    publisher.due.erase(it);
    ++acked_;
  }

 private:
  struct Publisher {
    std::vector<std::string> topics;
    std::size_t next_topic = 0;
    std::map<std::uint16_t, Instant> due;  // by packet id: when it was to be sent
  };

  bool unfinished() const {
    for (std::size_t i = 0; i < publishers_.size(); ++i) {
      if (crowd_.up(i) && (crowd_.unsaid(i) > 0 || !publishers_[i].due.empty())) return true;
    }
    return false;
  }

  void send(std::size_t client, Instant due) {
    if (!crowd_.up(client) || (options_.messages > 0 && sent_ >= options_.messages)) return;
    Publisher& publisher = publishers_[client];
    if (crowd_.unsaid(client) > kMostUnsaid || publisher.due.size() >= options_.inflight) {
      ++left_out_;
      return;
    }
    stamp(payload_, due);
    const std::string& topic = publisher.topics[publisher.next_topic];
    publisher.next_topic = (publisher.next_topic + 1) % publisher.topics.size();
    const std::uint16_t id = crowd_.publish(client, topic, payload_, options_.qos, options_.retain);
    if (options_.qos > 0) publisher.due[id] = due;
    ++sent_;
  }

  std::string payload_;
  std::vector<Publisher> publishers_;
  std::uint64_t sent_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t left_out_ = 0;
};

class Subscribing final : public Generator {
 public:
  Subscribing(const Target& target, const GeneratorOptions& options) : Generator(target, options, "sub") {}

  Report run() {
    connect_all();
    UsageMeter meter(target_.broker_pid);
    const Instant end = end_from_now();
    while (!over(end, received_)) {
      crowd_.turn(std::min({end, pings_.next(), io::monotonic_now() + milliseconds(200)}));
      ping();
      progress_.tell([this] { return fmt::format("{} received, {:.0f}/s", received_, rate(received_)); });
    }
    meter.end();

    Report report;
    report.count("received", "messages received", received_);
    report.number("per_s", "a second", static_cast<double>(received_) / to_s(meter.wall()), 0, "");
    report.number("payload_mib", "payloads", static_cast<double>(bytes_) / (1 << 20U), 1, "MiB");
    report_lost(report);
    meter.report(report, "message", received_);
    if (options_.stamped) report.times("latency", "from when it was to be sent", times_of(*latency_));
    return report;
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override {
    crowd_.subscribe(client, topics_of(client), options_.qos);
  }
  void on_subscribed(std::size_t client) override { set_ready(client); }
  void on_message(std::size_t /*client*/, const Frame& publish, Instant read_at) override {
    const base::Bytes payload = publish.publish_payload(target_.version);
    ++received_;
    bytes_ += payload.size();
    if (!options_.stamped) return;
    if (const auto due = stamp_of(payload)) latency_->add(read_at - *due);
  }

 private:
  std::uint64_t received_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace

std::string expand(const std::string& pattern, const std::string& client_id, std::size_t number, const Target& target) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'c': out += client_id; break;
      case 'i': out += fmt::format("{}", number); break;
      case 'u': out += target.username; break;
      case 'p': out += target.prefix; break;
      case '%': out += '%'; break;
      default:
        throw std::runtime_error(fmt::format(
            "'%{}' in a topic means nothing: %c is the client identifier, %i its number, %u the user name, %p the "
            "prefix, %% a percent sign",
            pattern[i]));
    }
  }
  return out;
}

namespace {

// A wildcard stands alone in its level, '#' in the last one. A broker closes the connection of a client that says
// otherwise, which would look like a fault of the broker.
bool legal_filter(std::string_view filter) {
  for (std::size_t at = filter.find_first_of("+#"); at != std::string_view::npos;
       at = filter.find_first_of("+#", at + 1)) {
    const bool last = at + 1 == filter.size();
    const bool alone = (at == 0 || filter[at - 1] == '/') && (last || filter[at + 1] == '/');
    if (!alone || (filter[at] == '#' && !last)) return false;
  }
  return !filter.empty();
}

}  // namespace

Report publish(const Target& target, const GeneratorOptions& options) {
  for (const std::string& topic : options.topics) {
    if (topic.empty() || topic.find_first_of("+#") != std::string::npos) {
      throw std::runtime_error(
          fmt::format("nobody can publish to '{}': a topic is not empty and has no wildcards (+ and #)", topic));
    }
  }
  return Publishing(target, options).run();
}

Report subscribe(const Target& target, const GeneratorOptions& options) {
  for (const std::string& filter : options.topics) {
    if (!legal_filter(filter)) {
      throw std::runtime_error(fmt::format(
          "'{}' is no legal filter: it is not empty, + and # stand alone in their level, # at the end", filter));
    }
  }
  return Subscribing(target, options).run();
}

}  // namespace vigil::load
