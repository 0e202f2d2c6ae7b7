#include "load/liveness.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/random.h"
#include "io/clock.h"
#include "load/ring.h"
#include "load/samples.h"

namespace vigil::load {
namespace {

using base::milliseconds;

constexpr int kKeepAliveTimeout = 0x8d;
constexpr Duration kBeat = milliseconds(1);
constexpr std::size_t kWatcher = 0;

struct Member {
  Instant ping_sent;       // of the latest PINGREQ
  Instant ping_answered;   // of the latest PINGRESP
  bool ping_open = false;  // sent and not answered
  bool silent = false;     // has spoken its last
  bool closed = false;
  bool will_seen = false;
};

class Swarm final : public Scene {
 public:
  Swarm(const Target& target, const LivenessOptions& options)
      : target_(target),
        options_(options),
        will_prefix_(fmt::format("{}/last/words/", target.prefix)),
        silence_limit_(Duration(base::seconds(options.silent_keep_alive_s)) * 3 / 2),
        pinger_ring_(1, options.pingers, milliseconds(options.ping_interval_ms)),
        silent_ring_(1 + options.pingers, options.silent, Duration(base::seconds(options.silent_keep_alive_s)) / 2),
        members_(std::size_t{1} + options.pingers + options.silent),
        crowd_(target.endpoint(), target.version, members_.size(), *this),
        progress_(target.quiet),
        meter_(target.broker_pid) {
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    next_beat_ = io::monotonic_now() + kBeat;
  }

  LivenessResult run() {
    connect_all();
    report_steady();
    fall_silent();
    watch();
    return report();
  }

  void on_connected(std::size_t client, const Frame& /*connack*/) override {
    if (client == kWatcher) {
      const std::string filter = will_prefix_ + "#";
      crowd_.subscribe(client, std::span(&filter, 1), 0);
    } else {
      ++ready_;
    }
  }

  void on_subscribed(std::size_t /*client*/) override { ++ready_; }

  void on_pong(std::size_t client, Instant read_at) override {
    Member& member = members_[client];
    if (!member.ping_open) return;
    member.ping_open = false;
    member.ping_answered = read_at;
    if (!measuring_) return;
    if (!is_silent_one(client)) ping_answer_.add(read_at - member.ping_sent);
    if (member.silent) last_ping_answer_.add(read_at - member.ping_sent);
  }

  void on_message(std::size_t /*client*/, const Frame& publish, Instant read_at) override {
    const std::string_view topic = publish.publish_topic();
    if (!topic.starts_with(will_prefix_)) return;
    const std::string_view digits = topic.substr(will_prefix_.size());
    std::size_t number = SIZE_MAX;
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (number >= options_.silent) return;
    Member& member = members_[first_silent() + number];
    if (member.will_seen) {
      ++wills_twice_;
      return;
    }
    member.will_seen = true;
    ++wills_;
    const Duration late = read_at - (member.ping_sent + silence_limit_);
    if (!member.silent || late < Duration(0)) ++early_wills_;
    if (member.silent) will_lateness_.add(late);
  }

  void on_end(std::size_t client, const End& end, Instant seen) override {
    if (end.kind != End::Kind::Closed || client == kWatcher || ready_ < members_.size()) {
      Scene::on_end(client, end, seen);
    }
    Member& member = members_[client];
    member.closed = true;
    if (!is_silent_one(client)) {
      ++false_deaths_;
      return;
    }
    ++closed_;
    if (end.code != 0) ++(end.code == kKeepAliveTimeout ? told_keep_alive_timeout_ : told_otherwise_);
    const Duration late = seen - (member.ping_sent + silence_limit_);
    if (!member.silent || late < Duration(0)) ++early_closes_;
    if (member.silent) close_lateness_.add(late);
    if (member.silent && !member.ping_open) {
      close_after_answer_.add(seen - (member.ping_answered + silence_limit_));
    }
  }

 private:
  std::size_t first_silent() const { return std::size_t{1} + options_.pingers; }
  bool is_silent_one(std::size_t client) const { return client >= first_silent(); }

  ConnectFields fields(std::size_t client) const {
    const char* role = client == kWatcher ? "watcher" : is_silent_one(client) ? "silent" : "pinger";
    ConnectFields one = target_.fields(fmt::format("{}-{}-{}", target_.prefix, role, client));
    one.keep_alive_s = client == kWatcher      ? UINT16_MAX
                       : is_silent_one(client) ? options_.silent_keep_alive_s
                                               : options_.pinger_keep_alive_s;
    if (is_silent_one(client)) {
      one.will = Will{.topic = fmt::format("{}{}", will_prefix_, client - first_silent()), .payload = "gone"};
    }
    return one;
  }

  void connect_all() {
    const Instant begin = io::monotonic_now();
    const auto connect = [&](std::size_t first, std::size_t count, std::size_t before) {
      crowd_.connect_all(
          first, count, target_.pace, [this](std::size_t client) { return fields(client); },
          [this, before] { return ready_ - before; },
          [this] {
            ping_who_is_due(io::monotonic_now());
            progress_.tell([this] { return fmt::format("{} of {} connected", ready_, members_.size()); });
          });
    };
    connect(kWatcher, 1, 0);
    connect(1, members_.size() - 1, 1);
    connect_time_ = io::monotonic_now() - begin;
    progress_.say(fmt::format("{} connected in {:.1f} s", ready_, to_s(connect_time_)));
  }

  void report_steady() {
    meter_.begin();
    run_until([] { return false; }, io::monotonic_now() + milliseconds(options_.steady_ms), [](Instant) {});
    meter_.end();
    steady_cpu_ = meter_.broker().cpu();
    steady_wall_ = meter_.wall();
    resident_ = meter_.broker().resident_bytes;
  }

  // Deals the last moments: evenly over the spread, in an order of chance, and at chance within each step.
  void fall_silent() {
    base::Random random(options_.seed);
    last_words_.resize(options_.silent);
    for (std::size_t i = 0; i < last_words_.size(); ++i) last_words_[i].client = first_silent() + i;
    for (std::size_t i = last_words_.size(); i > 1; --i) std::swap(last_words_[i - 1], last_words_[random.below(i)]);
    const auto step = static_cast<std::uint64_t>(Duration(milliseconds(options_.spread_ms)).count()) /
                      std::max<std::uint64_t>(1, options_.silent);
    measure_begin_ = io::monotonic_now();
    for (std::size_t i = 0; i < last_words_.size(); ++i) {
      last_words_[i].at = measure_begin_ + Duration(static_cast<std::int64_t>(i * step + random.below(step)));
    }
    progress_.say(fmt::format("measuring: {} clients fall silent over {} ms", options_.silent, options_.spread_ms));
  }

  void watch() {
    measuring_ = true;
    meter_.begin();
    const Instant least = measure_begin_ + milliseconds(options_.measure_ms);
    const Instant limit = measure_begin_ + milliseconds(options_.give_up_ms);
    run_until([&] { return crowd_.batch_at() >= least && closed_ == options_.silent && wills_ == options_.silent; },
              limit,
              [&](Instant time) {
                speak_last_words(time);
                progress_.tell([this] { return fmt::format("{} closed, {} wills", closed_, wills_); });
              });
    meter_.end();
    measuring_ = false;
  }

  // The loop: pings go on whatever else happens; `each_beat` is called each millisecond.
  template <class Done, class EachBeat>
  void run_until(Done&& done, Instant limit, EachBeat&& each_beat) {
    while (!done()) {
      crowd_.turn(next_beat_);
      const Instant seen = crowd_.batch_at();
      if (seen >= next_beat_) {
        for (; next_beat_ <= seen; next_beat_ += kBeat) {
          if (measuring_) beat_lateness_.add(seen - next_beat_);
        }
        const Instant time = io::monotonic_now();
        ping_who_is_due(time);
        each_beat(time);
      }
      if (seen >= limit) return;
    }
  }

  void ping_who_is_due(Instant time) {
    pinger_ring_.turn(time, [&](std::size_t client, Instant) { ping(client); });
    silent_ring_.turn(time, [&](std::size_t client, Instant) { ping(client); });
  }

  void ping(std::size_t client) {
    Member& member = members_[client];
    if (!crowd_.up(client) || member.silent) return;
    // The time before the write: the broker cannot have read the packet sooner.
    member.ping_sent = io::monotonic_now();
    member.ping_open = true;
    crowd_.ping(client);
    crowd_.flush();
  }

  void speak_last_words(Instant time) {
    for (; last_spoken_ < last_words_.size() && last_words_[last_spoken_].at <= time; ++last_spoken_) {
      const std::size_t client = last_words_[last_spoken_].client;
      ping(client);
      members_[client].silent = true;
    }
  }

  LivenessResult report() {
    unsigned never_closed = 0, wills_missing = 0, unanswered = 0;
    for (std::size_t i = 1; i < members_.size(); ++i) {
      const Member& member = members_[i];
      if (is_silent_one(i)) {
        never_closed += member.closed ? 0 : 1;
        wills_missing += member.will_seen ? 0 : 1;
      } else if (!member.closed && member.ping_open && io::monotonic_now() - member.ping_sent > base::seconds(1)) {
        ++unanswered;
      }
    }
    LivenessResult result;
    result.clean = early_closes_ + early_wills_ + never_closed + wills_missing + wills_twice_ + false_deaths_ == 0;
    Report& report = result.report;
    report.detail("pingers", options_.pingers);
    report.detail("silent", options_.silent);
    report.detail("protocol", target_.version == Version::V5 ? "5.0" : "3.1.1");
    report.detail("clean", result.clean);
    report.count("early_closes", "closed early", early_closes_);
    report.count("never_closed", "never closed", never_closed);
    report.count("early_wills", "wills that came early", early_wills_);
    report.count("wills_missing", "wills missing", wills_missing);
    report.count("wills_twice", "wills that came twice", wills_twice_);
    report.count("false_deaths", "pinging clients closed", false_deaths_);
    report.count("pings_unanswered", "pinging clients without an answer", unanswered);
    if (target_.version == Version::V5) {
      report.count("told_keep_alive_timeout", "told DISCONNECT 0x8D", told_keep_alive_timeout_);
      report.count("told_otherwise", "told another reason", told_otherwise_);
    }
    report.number("connect_s", "all connected in", to_s(connect_time_), 1, "s");
    if (meter_.sees_broker()) {
      const auto share = [](Duration part, Duration whole) { return 100.0 * to_s(part) / to_s(whole); };
      report.number("steady_cpu_percent", "broker, CPU while all ping", share(steady_cpu_, steady_wall_), 1,
                    "% of a core");
      report.number("measure_cpu_percent", "broker, CPU while measuring", share(meter_.broker().cpu(), meter_.wall()),
                    1, "% of a core");
      report.detail("resident_while_all_ping_mib", static_cast<double>(resident_) / (1 << 20U));
    }
    meter_.report(report, "client", members_.size());
    report.times("close_late", "close after 1.5 x K", times_of(close_lateness_));
    report.times("will_late", "will after 1.5 x K", times_of(will_lateness_));
    report.times("close_late_from_answer", "close, counted from PINGRESP", times_of(close_after_answer_));
    report.times("ping_answer", "PINGRESP to pingers", times_of(ping_answer_));
    report.times("last_ping_answer", "PINGRESP to the last words", times_of(last_ping_answer_));
    report.times("beat_late", "noise: own 1 ms beat", times_of(beat_lateness_));
    return result;
  }

  struct LastWord {
    std::size_t client = 0;
    Instant at;
  };

  const Target& target_;
  LivenessOptions options_;
  std::string will_prefix_;
  Duration silence_limit_;
  Ring pinger_ring_;
  Ring silent_ring_;
  std::vector<Member> members_;
  Crowd crowd_;
  Progress progress_;
  UsageMeter meter_;
  std::vector<LastWord> last_words_;
  std::size_t last_spoken_ = 0;
  Instant measure_begin_;
  Instant next_beat_;
  Duration connect_time_{};
  Duration steady_cpu_{};
  Duration steady_wall_{};
  std::uint64_t resident_ = 0;
  std::size_t ready_ = 0;
  bool measuring_ = false;

  Samples close_lateness_;
  Samples will_lateness_;
  Samples close_after_answer_;  // from the PINGRESP to the last PINGREQ: the broker had read it by then
  Samples ping_answer_;         // of the pingers while measuring
  Samples last_ping_answer_;    // of the last words
  Samples beat_lateness_;       // the swarm's own noise while measuring
  unsigned closed_ = 0;
  unsigned wills_ = 0;
  unsigned early_closes_ = 0;  // before 1.5 x K, or before the client had fallen silent at all
  unsigned early_wills_ = 0;
  unsigned wills_twice_ = 0;
  unsigned false_deaths_ = 0;  // pingers closed by the broker
  unsigned told_keep_alive_timeout_ = 0;
  unsigned told_otherwise_ = 0;
};

}  // namespace

LivenessResult run_liveness(const Target& target, const LivenessOptions& options) {
  return Swarm(target, options).run();
}

}  // namespace vigil::load
