// vigilmq-sim: runs the broker's core through random scenarios in virtual time and holds it to what it promises.
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "base/random.h"
#include "sim/swarm.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kUsage = R"(vigilmq-sim: random scenarios against the broker's core, in virtual time

  --seeds N       how many (default 1000; without a bound when a time is given)
  --base SEED     the first seed (default 1); the others follow it
  --commit HASH   the first seed is derived from this
  --seconds S     stop after so many seconds
  --minutes M     stop after so many minutes
  -j THREADS      (default 1)
  --seed S        run this one only, and show every packet
  --help
)";

struct Options {
  std::optional<std::uint64_t> seeds;
  std::uint64_t base = 1;
  std::optional<std::uint64_t> single;
  double seconds = 0;
  unsigned threads = 1;
};

template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// FNV-1a, then spread: near commits give far seeds.
std::uint64_t seed_of(std::string_view commit) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : commit) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return vigil::base::Random(hash).next() >> 16U;
}

// nullopt: the reason has been printed.
std::optional<Options> parse_options(const std::vector<std::string_view>& args) {
  Options options;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string_view name = args[i];
    if (i + 1 >= args.size()) {
      fmt::print(stderr, "vigilmq-sim: {} needs a value, or is unknown\n{}", name, kUsage);
      return std::nullopt;
    }
    const std::string_view value = args[++i];
    std::uint64_t number = 0;
    double decimal = 0;
    bool good = true;
    if (name == "--commit") {
      options.base = seed_of(value);
    } else if (name == "--seeds") {
      good = parse(value, number);
      options.seeds = number;
    } else if (name == "--base") {
      good = parse(value, options.base);
    } else if (name == "--seed") {
      good = parse(value, number);
      options.single = number;
    } else if (name == "--seconds" || name == "--minutes") {
      good = parse(value, decimal) && decimal > 0;
      options.seconds = decimal * (name == "--minutes" ? 60 : 1);
    } else if (name == "-j") {
      good = parse(value, options.threads) && options.threads > 0 && options.threads <= 256;
    } else {
      good = false;
    }
    if (!good) {
      fmt::print(stderr, "vigilmq-sim: cannot make sense of {} {}\n{}", name, value, kUsage);
      return std::nullopt;
    }
  }
  return options;
}

struct Totals {
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t events = 0;
  double virtual_s = 0;
  vigil::sim::Oracle::Counts counts;

  void add(const vigil::sim::SwarmResult& result) {
    ++(result.ok ? passed : failed);
    events += result.events;
    virtual_s += result.virtual_s;
    counts.connects += result.counts.connects;
    counts.publishes += result.counts.publishes;
    counts.deliveries += result.counts.deliveries;
    counts.redeliveries += result.counts.redeliveries;
    counts.timeouts += result.counts.timeouts;
    counts.takeovers += result.counts.takeovers;
    counts.wills_published += result.counts.wills_published;
    counts.wills_cancelled += result.counts.wills_cancelled;
    counts.crashes += result.counts.crashes;
    counts.uncertain_wills += result.counts.uncertain_wills;
    counts.uncertain_sessions += result.counts.uncertain_sessions;
    counts.obligations += result.counts.obligations;
  }
};

class Campaign {
 public:
  explicit Campaign(const Options& options)
      : options_(options),
        seeds_(options.seeds.value_or(options.seconds > 0 ? UINT64_MAX : 1000)),
        begin_(Clock::now()),
        last_report_(begin_) {}

  int run() {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options_.threads; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    summary();
    return totals_.failed == 0 ? 0 : 1;
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void work() {
    while (options_.seconds == 0 || elapsed() < options_.seconds) {
      const std::uint64_t index = next_.fetch_add(1);
      if (index >= seeds_) return;
      const std::uint64_t seed = options_.base + index;
      const vigil::sim::SwarmResult result = vigil::sim::run_swarm(seed);
      const std::lock_guard lock(mutex_);
      totals_.add(result);
      if (!result.ok && totals_.failed <= 20) {
        fmt::print("seed {} FAILED: {}\n  again, with every packet: vigilmq-sim --seed {}\n", seed, result.violation,
                   seed);
        std::fflush(stdout);
      }
      if (Clock::now() - last_report_ > std::chrono::seconds(10)) {
        last_report_ = Clock::now();
        fmt::print("{:.0f} s: {} passed, {} failed\n", elapsed(), totals_.passed, totals_.failed);
        std::fflush(stdout);
      }
    }
  }

  void summary() const {
    const auto& c = totals_.counts;
    fmt::print(
        "from seed {}: {:.1f} h of virtual time and {} events in {:.1f} s\n"
        "{} connects, {} take-overs, {} keep-alive timeouts, {} wills published, {} cancelled\n"
        "{} publishes, {} deliveries, {} again after a resume, {} owed and found\n"
        "{} crashes, which left {} wills and {} sessions to chance\n",
        options_.base, totals_.virtual_s / 3600, totals_.events, elapsed(), c.connects, c.takeovers, c.timeouts,
        c.wills_published, c.wills_cancelled, c.publishes, c.deliveries, c.redeliveries, c.obligations, c.crashes,
        c.uncertain_wills, c.uncertain_sessions);
    fmt::print("{} passed, {} failed\n", totals_.passed, totals_.failed);
  }

  Options options_;
  std::uint64_t seeds_;
  Clock::time_point begin_;
  std::atomic<std::uint64_t> next_{0};
  std::mutex mutex_;
  Clock::time_point last_report_;
  Totals totals_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string_view> args;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.size() > 2 && arg.starts_with("-j")) {  // -j2, as for make
      args.push_back(arg.substr(0, 2));
      args.push_back(arg.substr(2));
    } else {
      args.push_back(arg);
    }
  }
  for (const std::string_view arg : args) {
    if (arg == "--help") {
      fmt::print("{}", kUsage);
      return 0;
    }
  }
  const auto options = parse_options(args);
  if (!options) return 2;
  if (options->single) {
    const vigil::sim::SwarmResult result = vigil::sim::run_swarm(*options->single, true);
    fmt::print("seed {}: {:.1f} s of virtual time, trace {:016x}\n", *options->single, result.virtual_s, result.trace);
    fmt::print("{} passed, {} failed\n", result.ok ? 1 : 0, result.ok ? 0 : 1);
    return result.ok ? 0 : 1;
  }
  return Campaign(*options).run();
}
