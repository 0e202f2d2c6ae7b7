#include "load/subscriptions.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "io/clock.h"
#include "load/histogram.h"
#include "load/stamp.h"

namespace vigil::load {
namespace {

using base::milliseconds;

constexpr std::size_t kFiltersAPacket = 500;
constexpr std::size_t kPayload = 64;

class Subscriptions final : public Scene {
 public:
  Subscriptions(const Target& target, const SubscriptionsOptions& options)
      : target_(target),
        options_(options),
        payload_(kPayload, 'x'),
        crowd_(target.endpoint(), target.version, options.clients + 1, *this),
        progress_(target.quiet),
        next_(options.clients) {}

  Report run() {
    crowd_.connect_all(
        0, crowd_.size(), target_.pace,
        [this](std::size_t client) { return target_.fields(fmt::format("{}-{}", target_.prefix, client)); },
        [this] { return connected_; }, nullptr);
    UsageMeter meter(target_.broker_pid);
    const Instant begin = io::monotonic_now();
    for (std::size_t client = 0; client < options_.clients; ++client) subscribe_more(client);
    crowd_.turn_until(
        [this] { return subscribed_ >= options_.filters; },
        [this] {
          progress_.tell([this] { return fmt::format("{} of {} subscriptions", subscribed_, options_.filters); });
          return subscribed_;
        });
    const Duration took = io::monotonic_now() - begin;
    if (meter.sees_broker()) std::this_thread::sleep_for(kSettle);
    meter.end();

    Report report;
    report.count("subscriptions", "subscriptions", subscribed_);
    report.number("subscribes_per_s", "made a second", static_cast<double>(subscribed_) / to_s(took), 0, "");
    if (meter.sees_broker()) {
      const auto each = static_cast<double>(options_.filters);
      report.number("broker_us_per_subscription", "broker, CPU for each", 1e6 * to_s(meter.broker().cpu()) / each, 2,
                    "us");
      report.number("broker_bytes_per_subscription", "broker, resident for each",
                    (static_cast<double>(meter.resident_after()) - static_cast<double>(meter.resident_before())) / each,
                    0, "bytes");
    }
    turn_for(milliseconds(options_.warm_up_ms));
    meter.begin();
    latency_->clear();
    const std::uint64_t before = delivered_;
    turn_for(milliseconds(options_.measure_ms));
    meter.end();
    report.count("delivered", "messages that matched one", delivered_ - before);
    meter.report(report, "message", delivered_ - before);
    report.times("latency", "from sent to received", times_of(*latency_));
    return report;
  }

  void on_connected(std::size_t /*client*/, const Frame& /*connack*/) override { ++connected_; }
  void on_subscribed(std::size_t client) override {
    subscribed_ += in_packet(client, next_[client] - 1);
    subscribe_more(client);
  }
  void on_message(std::size_t /*client*/, const Frame& publish, Instant read_at) override {
    if (const auto sent_at = stamp_of(publish.publish_payload(target_.version))) latency_->add(read_at - *sent_at);
    ++delivered_;
  }

 private:
  // Client c has the filters c, c + clients, and so on.
  std::size_t filters_of(std::size_t client) const {
    return options_.filters / options_.clients + (client < options_.filters % options_.clients ? 1 : 0);
  }
  std::size_t in_packet(std::size_t client, std::size_t nth) const {
    return std::min(kFiltersAPacket, filters_of(client) - nth * kFiltersAPacket);
  }
  std::string filter(std::size_t number) const {
    return options_.wildcard ? fmt::format("{}/+/{}/#", target_.prefix, number)
                             : fmt::format("{}/{}", target_.prefix, number);
  }
  std::string topic(std::size_t number) const {
    return options_.wildcard ? fmt::format("{}/any/{}/thing", target_.prefix, number) : filter(number);
  }

  void subscribe_more(std::size_t client) {
    const std::size_t nth = next_[client];
    if (nth * kFiltersAPacket >= filters_of(client)) return;
    ++next_[client];
    std::vector<std::string> filters;
    filters.reserve(in_packet(client, nth));
    for (std::size_t i = 0; i < in_packet(client, nth); ++i) {
      filters.push_back(filter(client + (nth * kFiltersAPacket + i) * options_.clients));
    }
    crowd_.subscribe(client, filters, options_.qos);
  }

  void turn_for(Duration time) {
    const Instant end = io::monotonic_now() + time;
    std::uint64_t last = delivered_;
    Instant last_at = io::monotonic_now();
    for (Instant at = last_at; at < end; at = io::monotonic_now()) {
      while (sent_ - delivered_ < options_.window) {
        stamp(payload_, at);
        crowd_.publish(options_.clients, topic(random_.below(options_.filters)), payload_, options_.qos);
        ++sent_;
      }
      crowd_.turn(std::min(end, at + milliseconds(100)));
      if (delivered_ != last) {
        last = delivered_;
        last_at = at;
      } else if (at - last_at > base::seconds(10)) {
        throw std::runtime_error("the broker delivers nothing any more: a message was lost");
      }
      progress_.tell([this] { return fmt::format("{} messages delivered", delivered_); });
    }
  }

  const Target& target_;
  SubscriptionsOptions options_;
  std::string payload_;
  Crowd crowd_;
  Progress progress_;
  std::vector<std::size_t> next_;  // by client: packets of subscriptions that were sent
  base::Random random_{1};
  std::unique_ptr<Histogram> latency_ = std::make_unique<Histogram>();
  std::uint64_t connected_ = 0;
  std::uint64_t subscribed_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t delivered_ = 0;
};

}  // namespace

Report run_subscriptions(const Target& target, const SubscriptionsOptions& options) {
  return Subscriptions(target, options).run();
}

}  // namespace vigil::load
