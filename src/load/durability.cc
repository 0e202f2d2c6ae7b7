#include "load/durability.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "io/clock.h"
#include "load/histogram.h"

namespace vigil::load {
namespace {

using base::milliseconds;

constexpr Duration kStallLimit = base::seconds(20);
// Identifiers of messages under way must not come round.
constexpr std::uint64_t kMostUnacknowledged = 60'000;
constexpr std::size_t kIdentifiers = 65'536;
constexpr std::size_t kLeaving = 1'000;

struct Publisher {
  std::uint64_t sent = 0;
  std::uint64_t acked = 0;
  std::uint64_t delivered = 0;    // pass: of its messages, to all their receivers
  std::vector<Instant> intended;  // by packet id
};

class Run final : public Scene {
 public:
  Run(const Target& target, const DurabilityOptions& options, std::size_t subscribers, std::size_t publishers,
      std::size_t sockets = SIZE_MAX)
      : target_(target),
        options_(options),
        payload_(options.payload_bytes, 'x'),
        first_publisher_(subscribers),
        publishers_(publishers),
        crowd_(target.endpoint(), target.version, subscribers + publishers, *this, sockets),
        progress_(target.quiet),
        meter_(target.broker_pid) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    for (Publisher& publisher : publishers_) publisher.intended.resize(kIdentifiers);
    if (publishers > 0 && !options.to_all) {
      for (std::size_t i = 0; i < options.sessions; ++i) topics_.push_back(own_topic(i));
    }
  }

  Report make_sessions() {
    making_ = true;
    meter_.begin();
    connect_all();
    crowd_.turn_until([this] { return left_ == crowd_.size(); }, [this] { return left_; }, kStallLimit);
    return end("messages", "sessions made", ready_);
  }

  Report enqueue() {
    connect_all();
    meter_.begin();
    publish_all();
    return end("messages", "messages acknowledged", acked_);
  }

  Report pass() {
    passing_ = true;
    connect_all();
    meter_.begin();
    publish_all();
    Report report = end("messages", "messages acknowledged", acked_);
    report.count("delivered", "messages delivered", delivered_);
    return report;
  }

  Report drain() {
    meter_.begin();
    connect_all();
    crowd_.turn_until([this] { return delivered_ >= options_.expected; }, [this] { return done(); }, kStallLimit);
    crowd_.flush();  // the last acknowledgements
    return end("messages", "messages delivered", delivered_);
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override {
    if (!making_) {
      ++ready_;
      return;
    }
    std::vector<std::string> filters{own_topic(client)};
    if (options_.to_all) filters.push_back(topic_of_all());
    crowd_.subscribe(client, filters, 1);
  }

  void on_subscribed(std::size_t client) override {
    ++ready_;
    crowd_.leave(client);
  }

  void on_left(std::size_t /*client*/) override { ++left_; }

  void on_acknowledged(std::size_t client, std::uint16_t packet_id, Instant read_at) override {
    Publisher& publisher = publishers_[client - first_publisher_];
    latency_->add(read_at - publisher.intended[packet_id]);
    ++publisher.acked;
    ++acked_;
  }

  void on_message(std::size_t /*client*/, const Frame& publish, Instant /*read_at*/) override {
    ++delivered_;
    if (!passing_) return;
    const base::Bytes payload = publish.publish_payload(target_.version);
    if (payload.size() < 2) return;
    const std::size_t publisher = payload[0] + (std::size_t{payload[1]} << 8U);
    if (publisher < publishers_.size()) ++publishers_[publisher].delivered;
  }

 private:
  std::string own_topic(std::size_t session) const { return fmt::format("{}/one/{}", target_.prefix, session); }
  std::string topic_of_all() const { return fmt::format("{}/all", target_.prefix); }
  std::uint64_t done() const { return ready_ + acked_ + delivered_; }

  ConnectFields fields(std::size_t client) const {
    const bool subscriber = client < first_publisher_;
    ConnectFields one = target_.fields(fmt::format("{}-{}-{}", target_.prefix, subscriber ? "keeper" : "publisher",
                                                   subscriber ? client : client - first_publisher_));
    one.clean = !subscriber;
    if (subscriber) one.session_expiry_s = UINT32_MAX;
    return one;
  }

  void connect_all() {
    crowd_.connect_all(
        0, crowd_.size(), target_.pace, [this](std::size_t client) { return fields(client); },
        [this] { return ready_; },
        [this] { progress_.tell([this] { return fmt::format("{} of {} clients ready", ready_, crowd_.size()); }); });
  }

  Report end(const std::string& key, const std::string& label, std::uint64_t count) {
    meter_.end();
    std::this_thread::sleep_for(milliseconds(options_.settle_ms));
    meter_.end_broker();
    Report report;
    report.count(key, label, count);
    report.number("wall_s", "in", to_s(meter_.wall()), 2, "s");
    report.number("per_s", "a second", static_cast<double>(count) / to_s(meter_.wall()), 0, "");
    meter_.report(report, "message", count);
    if (!latency_->empty()) report.times("ack", "from when it was to be sent to PUBACK", times_of(*latency_));
    return report;
  }

  void publish_all() {
    begun_at_ = io::monotonic_now();
    const Instant stop_at = options_.messages == 0 ? begun_at_ + milliseconds(options_.measure_ms) : Instant::never();
    std::uint64_t last = done();
    Instant last_at = begun_at_;
    for (;;) {
      const Instant at = io::monotonic_now();
      const bool over = options_.messages != 0 ? sent_ >= options_.messages : at >= stop_at;
      if (delivered_ > sent_ * receivers()) {
        throw std::runtime_error("the sessions are given messages of before: drain them, or take another --prefix");
      }
      if (over && acked_ == sent_ && (!passing_ || delivered_ == sent_ * receivers())) {
        crowd_.flush();
        return;
      }
      Instant until = std::min(at + milliseconds(100), over ? Instant::never() : stop_at);
      if (!over && options_.rate == 0) fill_windows(at);
      if (!over && options_.rate > 0) until = std::min(until, send_due(at));
      crowd_.turn(until);
      if (const std::uint64_t now_done = done(); now_done != last) {
        last = now_done;
        last_at = at;
      } else if (at - last_at > kStallLimit) {
        throw std::runtime_error(fmt::format("nothing has happened for {} s: {} sent, {} acknowledged, {} delivered",
                                             kStallLimit / base::seconds(1), sent_, acked_, delivered_));
      }
      progress_.tell([this] { return fmt::format("{} acknowledged, {} delivered", acked_, delivered_); });
    }
  }

  std::uint64_t receivers() const { return options_.to_all ? options_.sessions : 1; }

  std::uint64_t under_way(const Publisher& publisher) const {
    const std::uint64_t gone =
        passing_ ? std::min(publisher.acked, publisher.delivered / receivers()) : publisher.acked;
    return publisher.sent - gone;
  }

  bool all_sent() const { return options_.messages != 0 && sent_ >= options_.messages; }

  void fill_windows(Instant at) {
    for (std::size_t i = 0; i < publishers_.size(); ++i) {
      while (under_way(publishers_[i]) < options_.window && !all_sent()) send_one(i, at);
    }
  }

  // Until the next one is due.
  Instant send_due(Instant at) {
    const auto due = [this] {
      return begun_at_ + Duration(static_cast<std::int64_t>(static_cast<double>(sent_) * 1e9 / options_.rate));
    };
    while (due() <= at && !all_sent()) {
      const std::size_t publisher = sent_ % publishers_.size();
      if (under_way(publishers_[publisher]) >= kMostUnacknowledged) {
        throw std::runtime_error("the broker does not keep up with this rate: ask for less");
      }
      send_one(publisher, due());
    }
    return due();
  }

  void send_one(std::size_t nth, Instant intended) {
    Publisher& publisher = publishers_[nth];
    // The payload begins with its publisher's number, as far as there is room.
    if (payload_.size() >= 2) {
      payload_[0] = static_cast<char>(nth & 0xffU);
      payload_[1] = static_cast<char>(nth >> 8U);
    }
    // Each publisher has sessions of its own, if there are enough.
    const std::size_t session = (nth + publisher.sent * publishers_.size()) % options_.sessions;
    const std::uint16_t id =
        crowd_.publish(first_publisher_ + nth, options_.to_all ? topic_of_all() : topics_[session], payload_, 1);
    publisher.intended[id] = intended;
    ++publisher.sent;
    ++sent_;
  }

  const Target& target_;
  DurabilityOptions options_;
  std::string payload_;
  std::vector<std::string> topics_;
  std::size_t first_publisher_;
  std::vector<Publisher> publishers_;
  Crowd crowd_;
  Progress progress_;
  UsageMeter meter_;
  std::unique_ptr<Histogram> latency_ = std::make_unique<Histogram>();
  bool making_ = false;
  bool passing_ = false;
  std::uint64_t ready_ = 0;
  std::uint64_t left_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t delivered_ = 0;
  Instant begun_at_;
};

}  // namespace

Report make_sessions(const Target& target, const DurabilityOptions& options) {
  // Those that connect, and those that leave.
  return Run(target, options, options.sessions, 0, target.pace.at_once + kLeaving).make_sessions();
}
Report enqueue(const Target& target, const DurabilityOptions& options) {
  return Run(target, options, 0, options.publishers).enqueue();
}
Report drain(const Target& target, const DurabilityOptions& options) {
  return Run(target, options, options.sessions, 0).drain();
}
Report pass(const Target& target, const DurabilityOptions& options) {
  return Run(target, options, options.sessions, options.publishers).pass();
}

}  // namespace vigil::load
