#include "load/connections.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "io/clock.h"
#include "load/histogram.h"
#include "load/ring.h"
#include "load/stop.h"

namespace vigil::load {
namespace {

using base::milliseconds;

void add_will(const Target& target, Wills wills, ConnectFields& fields) {
  if (wills == Wills::None) return;
  fields.will = Will{.topic = fmt::format("{}/will/{}", target.prefix, fields.client_id), .payload = "gone"};
}

class Hold final : public Scene {
 public:
  Hold(const Target& target, const HoldOptions& options)
      : target_(target),
        options_(options),
        begun_at_(options.clients),
        pinged_at_(options.clients, Instant::never()),
        crowd_(target.endpoint(), target.version, options.clients, *this),
        progress_(target.quiet),
        meter_(target.broker_pid) {
    if (options.stop_fd >= 0) crowd_.watch(options.stop_fd);
  }

  Report run() {
    const double interval_s =
        options_.ping_interval_s > 0 ? options_.ping_interval_s : 0.75 * std::max<unsigned>(1, target_.keep_alive_s);
    Ring pings(0, options_.clients, Duration(static_cast<std::int64_t>(interval_s * 1e9)));
    connect_all(pings);
    if (meter_.sees_broker()) std::this_thread::sleep_for(kSettle);
    meter_.end_broker();
    Report report;
    report.count("connected", "clients connected", connected_);
    report.number("connect_s", "in", to_s(connect_time_), 2, "s");
    report.number("connects_per_s", "a second", static_cast<double>(connected_) / to_s(connect_time_), 0, "");
    if (meter_.sees_broker()) {
      const auto each = static_cast<double>(std::max<std::uint64_t>(1, connected_));
      report.number("broker_us_per_connect", "broker, CPU for each connect", 1e6 * to_s(meter_.broker().cpu()) / each,
                    2, "us");
      report.number(
          "broker_bytes_per_client", "broker, resident for each client",
          (static_cast<double>(meter_.resident_after()) - static_cast<double>(meter_.resident_before())) / each, 0,
          "bytes");
    }
    keep(pings, report);
    report.times("connack", "connect() to CONNACK", times_of(*connack_));
    report.times("pong", "PINGREQ to PINGRESP", times_of(*pong_));
    return report;
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override {
    connack_->add(io::monotonic_now() - begun_at_[client]);
    begun_at_[client] = Instant::never();
    ++connected_;
  }
  void on_pong(std::size_t client, Instant read_at) override {
    if (pinged_at_[client].is_never()) return;
    pong_->add(read_at - pinged_at_[client]);
    pinged_at_[client] = Instant::never();
    ++pongs_;
  }
  void on_end(std::size_t client, const End& end, Instant /*seen*/) override {
    ++lost_[end.sentence()];
    if (begun_at_[client].is_never()) ++lost_later_;
  }

 private:
  std::uint64_t lost() const {
    std::uint64_t all = 0;
    for (const auto& [why, count] : lost_) all += count;
    return all;
  }

  void connect_all(Ring& pings) {
    meter_.begin();
    const Instant begin = io::monotonic_now();
    crowd_.connect_all(
        0, options_.clients, target_.pace,
        [this](std::size_t client) {
          begun_at_[client] = io::monotonic_now();
          ConnectFields one = target_.fields(fmt::format("{}-conn-{}", target_.prefix, options_.first + client));
          one.clean = options_.clean;
          one.session_expiry_s = options_.session_expiry_s;
          add_will(target_, options_.wills, one);
          return one;
        },
        [this] { return connected_ + lost() - lost_later_; },
        [&] {
          ping(pings);
          progress_.tell([this] { return fmt::format("{} of {} connected", connected_, options_.clients); });
          if (stopped(options_.stop_fd)) throw std::runtime_error("stopped before all were connected");
        });
    connect_time_ = io::monotonic_now() - begin;
    if (connected_ == 0) throw std::runtime_error(lost_.begin()->first);
    progress_.say(fmt::format(
        "{} of {} connected in {:.1f} s; {}", connected_, options_.clients, to_s(connect_time_),
        options_.for_s > 0 ? fmt::format("keeping them for {} s", options_.for_s) : "keeping them until Ctrl-C"));
  }

  void keep(Ring& pings, Report& report) {
    meter_.begin();
    // Who was asked before this process slept is not counted.
    std::ranges::fill(pinged_at_, Instant::never());
    pongs_ = 0;
    pong_->clear();
    const Instant end = options_.for_s > 0 ? io::monotonic_now() + base::seconds(options_.for_s) : Instant::never();
    while (crowd_.batch_at() < end && !stopped(options_.stop_fd)) {
      crowd_.turn(std::min({end, pings.next(), io::monotonic_now() + milliseconds(1'000)}));
      ping(pings);
      progress_.tell([this] { return fmt::format("{} connected, {} pongs", connected_ - lost(), pongs_); });
    }
    meter_.end();
    report.count("lost", "clients lost", lost());
    for (const auto& [why, count] : lost_) report.count("lost: " + why, "  " + why, count);
    report.count("pongs", "pings answered", pongs_);
    meter_.report(report, "ping", pongs_);
  }

  void ping(Ring& pings) {
    pings.turn(io::monotonic_now(), [this](std::size_t client, Instant) {
      if (!crowd_.up(client)) return;
      pinged_at_[client] = io::monotonic_now();
      crowd_.ping(client);
    });
  }

  const Target& target_;
  HoldOptions options_;
  std::vector<Instant> begun_at_;   // never: connected
  std::vector<Instant> pinged_at_;  // never: no answer is owed
  Crowd crowd_;
  Progress progress_;
  UsageMeter meter_;
  std::unique_ptr<Histogram> connack_ = std::make_unique<Histogram>();
  std::unique_ptr<Histogram> pong_ = std::make_unique<Histogram>();
  std::map<std::string, std::uint64_t> lost_;
  std::uint64_t lost_later_ = 0;  // after they had been connected
  std::uint64_t connected_ = 0;
  std::uint64_t pongs_ = 0;
  Duration connect_time_{};
};

// Slot i and slot i + clients take turns with one client identifier.
class Churn final : public Scene {
 public:
  Churn(const Target& target, const ChurnOptions& options)
      : target_(target),
        options_(options),
        begun_at_(2 * options.clients),
        crowd_(target.endpoint(), target.version, 2 * options.clients, *this),
        progress_(target.quiet) {}

  Report run() {
    for (std::size_t client = 0; client < options_.clients; ++client) begin(client);
    turn_for(milliseconds(options_.warm_up_ms));
    UsageMeter meter(target_.broker_pid);
    connack_->clear();
    const std::uint64_t before = connects_;
    turn_for(milliseconds(options_.measure_ms));
    meter.end();
    Report report;
    const std::uint64_t done = connects_ - before;
    report.count("connects", options_.take_over ? "take-overs" : "connects", done);
    report.number("per_s", "a second", static_cast<double>(done) / to_s(meter.wall()), 0, "");
    meter.report(report, options_.take_over ? "takeover" : "connect", done);
    report.times("connack", "connect() to CONNACK", times_of(*connack_));
    return report;
  }

  void on_connected(std::size_t slot, const Frame& /*connack*/) override {
    connack_->add(io::monotonic_now() - begun_at_[slot]);
    ++connects_;
    if (!options_.take_over) {
      crowd_.leave(slot);
    } else if (crowd_.gone(other(slot))) {
      begin(other(slot));
    }
  }
  void on_left(std::size_t slot) override { begin(slot); }
  void on_end(std::size_t slot, const End& end, Instant seen) override {
    // Taken over. If the newcomer stands already, it is the next one's turn.
    const bool taken_over = options_.take_over && end.kind == End::Kind::Closed && !crowd_.gone(other(slot));
    if (!taken_over) Scene::on_end(slot, end, seen);
    if (crowd_.up(other(slot))) begin(slot);
  }

 private:
  std::size_t other(std::size_t slot) const {
    return slot < options_.clients ? slot + options_.clients : slot - options_.clients;
  }

  void begin(std::size_t slot) {
    ConnectFields one = target_.fields(fmt::format("{}-{}", target_.prefix, slot % options_.clients));
    add_will(target_, options_.wills, one);
    begun_at_[slot] = io::monotonic_now();
    crowd_.connect(slot, one);
  }

  void turn_for(Duration time) {
    const Instant end = io::monotonic_now() + time;
    std::uint64_t last = connects_;
    Instant last_at = io::monotonic_now();
    while (crowd_.batch_at() < end) {
      crowd_.turn(std::min(end, io::monotonic_now() + milliseconds(100)));
      if (connects_ != last) {
        last = connects_;
        last_at = crowd_.batch_at();
      } else if (crowd_.batch_at() - last_at > base::seconds(10)) {
        throw std::runtime_error("the broker has answered no CONNECT for 10 s");
      }
      progress_.tell([this] { return fmt::format("{} connects", connects_); });
    }
  }

  const Target& target_;
  ChurnOptions options_;
  std::vector<Instant> begun_at_;
  Crowd crowd_;
  Progress progress_;
  std::unique_ptr<Histogram> connack_ = std::make_unique<Histogram>();
  std::uint64_t connects_ = 0;
};

}  // namespace

Report hold(const Target& target, const HoldOptions& options) { return Hold(target, options).run(); }
Report churn(const Target& target, const ChurnOptions& options) { return Churn(target, options).run(); }

}  // namespace vigil::load
