#include "load/traffic.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "io/clock.h"
#include "load/histogram.h"
#include "load/stamp.h"

namespace vigil::load {
namespace {

using base::milliseconds;

constexpr Duration kStallLimit = base::seconds(10);
// What is under way at a fixed rate, in seconds of that rate.
constexpr double kMostBehind_s = 5;

struct Group {
  std::string topic;
  std::size_t first_publisher = 0;
  unsigned next_publisher = 0;
  unsigned of_burst = 0;  // that it has sent
  std::uint64_t sent = 0;
  std::uint64_t delivered = 0;  // to all subscribers together
  bool dirty = false;           // its window moved in this batch
};

class Traffic final : public Scene {
 public:
  Traffic(const Target& target, const TrafficOptions& options)
      : target_(target),
        options_(options),
        each_(std::size_t{options.publishers} + options.subscribers),
        payload_(options.payload_bytes, 'x'),
        groups_(options.groups),
        crowd_(target.endpoint(), target.version, each_ * options.groups, *this),
        progress_(target.quiet) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      groups_[g].topic = fmt::format("{}/{}", target.prefix, g);
      groups_[g].first_publisher = g * each_ + options.subscribers;
    }
  }

  Report run() {
    crowd_.connect_all(
        0, crowd_.size(), target_.pace, [this](std::size_t client) { return fields(client); },
        [this] { return ready_; },
        [this] { progress_.tell([this] { return fmt::format("{} of {} clients ready", ready_, crowd_.size()); }); });
    progress_.say(fmt::format("{} clients ready; warming up for {} ms, measuring for {} ms", ready_,
                              options_.warm_up_ms, options_.measure_ms));
    for (std::size_t g = 0; g < groups_.size() && options_.rate == 0; ++g) fill_window(groups_[g]);
    begun_at_ = io::monotonic_now();
    turn_for(milliseconds(options_.warm_up_ms));

    UsageMeter meter(target_.broker_pid);
    latency_->clear();
    const std::uint64_t before = delivered_;
    turn_for(milliseconds(options_.measure_ms));
    meter.end();
    if (delivered_ == before) {
      throw std::runtime_error(
          "nothing was delivered while it was measured: the broker does not pass on, or too slowly");
    }
    return report(meter, delivered_ - before);
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override {
    if (!is_subscriber(client)) {
      ++ready_;
      return;
    }
    const std::string& topic = groups_[client / each_].topic;
    const std::string filter = options_.shared ? fmt::format("$share/{}/{}", target_.prefix, topic) : topic;
    crowd_.subscribe(client, std::span(&filter, 1), options_.qos);
  }

  void on_subscribed(std::size_t /*client*/) override { ++ready_; }

  void on_message(std::size_t client, const Frame& publish, Instant read_at) override {
    if (const auto sent_at = stamp_of(publish.publish_payload(target_.version))) latency_->add(read_at - *sent_at);
    ++delivered_;
    Group& group = groups_[client / each_];
    ++group.delivered;
    if (!group.dirty) {
      group.dirty = true;
      dirty_groups_.push_back(client / each_);
    }
  }

 private:
  bool is_subscriber(std::size_t client) const { return client % each_ < options_.subscribers; }
  // Deliveries of one message.
  std::uint64_t receivers() const { return options_.shared ? 1 : options_.subscribers; }

  ConnectFields fields(std::size_t client) const {
    return target_.fields(
        fmt::format("{}-{}-{}", target_.prefix, is_subscriber(client) ? "subscriber" : "publisher", client));
  }

  Report report(const UsageMeter& meter, std::uint64_t delivered) const {
    Report report;
    report.count("delivered", "messages delivered", delivered);
    report.number("per_s", "a second", static_cast<double>(delivered) / to_s(meter.wall()), 0, "");
    meter.report(report, "message", delivered);
    report.times("latency", options_.rate > 0 ? "from when it was to be sent" : "from sent to received",
                 times_of(*latency_));
    return report;
  }

  void turn_for(Duration time) {
    const Instant end = io::monotonic_now() + time;
    std::uint64_t last = delivered_;
    Instant last_progress = io::monotonic_now();
    for (Instant at = last_progress; at < end; at = io::monotonic_now()) {
      Instant until = std::min(end, at + milliseconds(100));
      if (options_.rate > 0) until = std::min(until, send_due(at));
      crowd_.turn(until);
      for (const std::size_t group : dirty_groups_) {
        groups_[group].dirty = false;
        if (options_.rate == 0) fill_window(groups_[group]);
      }
      dirty_groups_.clear();
      if (delivered_ != last) {
        last = delivered_;
        last_progress = at;
      } else if (at - last_progress > kStallLimit) {
        throw std::runtime_error("the broker delivers nothing any more: a message was lost");
      }
      progress_.tell([this] { return fmt::format("{} messages delivered", delivered_); });
    }
  }

  void fill_window(Group& group) {
    while (group.sent * receivers() < group.delivered + std::uint64_t{options_.window} * receivers()) {
      send_one(group, crowd_.batch_at());
    }
  }

  // Until the next one is due.
  Instant send_due(Instant at) {
    const auto due = [this] {
      return begun_at_ + Duration(static_cast<std::int64_t>(static_cast<double>(sent_) * 1e9 / options_.rate));
    };
    for (; due() <= at; ++next_group_) {
      if (static_cast<double>(sent_ - delivered_ / receivers()) > options_.rate * kMostBehind_s) {
        throw std::runtime_error("the broker does not keep up with this rate: ask for less");
      }
      send_one(groups_[next_group_ % groups_.size()], due());
    }
    return due();
  }

  void send_one(Group& group, Instant at) {
    const std::size_t client = group.first_publisher + group.next_publisher;
    if (++group.of_burst >= options_.burst) {
      group.of_burst = 0;
      group.next_publisher = (group.next_publisher + 1) % options_.publishers;
    }
    stamp(payload_, at);
    crowd_.publish(client, group.topic, payload_, options_.qos);
    ++group.sent;
    ++sent_;
  }

  const Target& target_;
  TrafficOptions options_;
  std::size_t each_;  // clients in a group
  std::string payload_;
  std::vector<Group> groups_;
  std::vector<std::size_t> dirty_groups_;
  Crowd crowd_;
  Progress progress_;
  std::unique_ptr<Histogram> latency_ = std::make_unique<Histogram>();
  std::uint64_t ready_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t delivered_ = 0;
  std::size_t next_group_ = 0;
  Instant begun_at_;
};

}  // namespace

Report run_traffic(const Target& target, const TrafficOptions& options) { return Traffic(target, options).run(); }

}  // namespace vigil::load
