// liveness_load: how late does a broker notice that a client has gone? Prints a table, or one line of JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "liveness_swarm.h"

namespace vigil::bench {
namespace {

constexpr double kMedian = 0.5;
constexpr double kTail = 0.99;

double share(base::Duration part, base::Duration whole) {
  return whole.count() == 0 ? 0 : 100.0 * static_cast<double>(part.count()) / static_cast<double>(whole.count());
}

nlohmann::json to_json(const Samples& samples) {
  if (samples.empty()) return {{"count", 0}};
  return {{"count", samples.size()},
          {"min_ms", to_ms(samples.min())},
          {"p50_ms", to_ms(samples.quantile(kMedian))},
          {"p99_ms", to_ms(samples.quantile(kTail))},
          {"max_ms", to_ms(samples.max())}};
}

nlohmann::json to_json(const LivenessOptions& options, const LivenessReport& report) {
  nlohmann::json out{{"pingers", options.pingers},
                     {"silent", options.silent},
                     {"protocol", options.version == Version::V5 ? "5.0" : "3.1.1"},
                     {"clean", report.clean()},
                     {"close_late", to_json(report.close_lateness)},
                     {"will_late", to_json(report.will_lateness)},
                     {"close_late_from_answer", to_json(report.close_after_answer)},
                     {"ping_answer", to_json(report.ping_answer)},
                     {"last_ping_answer", to_json(report.last_ping_answer)},
                     {"beat_late", to_json(report.beat_lateness)},
                     {"early_closes", report.early_closes},
                     {"early_wills", report.early_wills},
                     {"never_closed", report.never_closed},
                     {"wills_missing", report.wills_missing},
                     {"wills_twice", report.wills_twice},
                     {"false_deaths", report.false_deaths},
                     {"pings_unanswered", report.pings_unanswered},
                     {"told_keep_alive_timeout", report.told_keep_alive_timeout},
                     {"told_otherwise", report.told_otherwise},
                     {"connect_s", to_ms(report.connect_time) / 1000},
                     {"own_cpu_percent", share(report.own_cpu, report.measure_wall)}};
  if (options.broker_pid != 0) {
    out["steady_cpu_percent"] = share(report.steady_cpu, report.steady_wall);
    out["measure_cpu_percent"] = share(report.measure_cpu, report.measure_wall);
    out["broker_rss_mib"] = static_cast<double>(report.broker_resident_bytes) / (1024 * 1024);
  }
  return out;
}

void print_row(const char* name, const Samples& samples) {
  fmt::print("{:34} {:>7} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f}\n", name, samples.size(), to_ms(samples.min()),
             to_ms(samples.quantile(kMedian)), to_ms(samples.quantile(kTail)), to_ms(samples.max()));
}

void print_table(const LivenessOptions& options, const LivenessReport& report) {
  fmt::print("{:34} {:>7} {:>10} {:>10} {:>10} {:>10}\n", "milliseconds", "count", "min", "p50", "p99", "max");
  print_row("close after 1.5 x K", report.close_lateness);
  print_row("will after 1.5 x K", report.will_lateness);
  print_row("close, counted from PINGRESP", report.close_after_answer);
  print_row("PINGRESP to pingers", report.ping_answer);
  print_row("PINGRESP to the last words", report.last_ping_answer);
  print_row("noise: own 1 ms beat", report.beat_lateness);
  fmt::print("\nearly: {} closes, {} wills; never closed: {}; wills missing: {}, twice: {}\n", report.early_closes,
             report.early_wills, report.never_closed, report.wills_missing, report.wills_twice);
  fmt::print("pingers closed: {}, unanswered: {}\n", report.false_deaths, report.pings_unanswered);
  if (options.version == Version::V5) {
    fmt::print("DISCONNECT 0x8D: {}; another reason: {}\n", report.told_keep_alive_timeout, report.told_otherwise);
  }
  fmt::print("{} clients connected in {:.1f} s; this process used {:.1f} % of a core while measuring\n",
             options.pingers + options.silent, to_ms(report.connect_time) / 1000,
             share(report.own_cpu, report.measure_wall));
  if (options.broker_pid != 0) {
    fmt::print("broker: {:.1f} % of a core while all ping, {:.1f} % while measuring; {:.1f} MiB resident\n",
               share(report.steady_cpu, report.steady_wall), share(report.measure_cpu, report.measure_wall),
               static_cast<double>(report.broker_resident_bytes) / (1024 * 1024));
  }
}

int run(int argc, char** argv) {
  LivenessOptions options;
  bool json = false;
  int version = 4;
  CLI::App app{
      "Connects clients that ping, lets some of them fall silent, and measures how long after 1.5 x K the broker "
      "closes\n"
      "them and publishes their wills. Exit code 0: all closed, none early, every will once; 1: not so; 2: could not "
      "run.",
      "liveness_load"};
  app.add_option("--host", options.broker.host, "IPv4 address of the broker")->capture_default_str();
  app.add_option("--port", options.broker.port, "its MQTT port")->capture_default_str();
  app.add_option("--protocol", version, "4 is MQTT 3.1.1, 5 is MQTT 5.0")
      ->check(CLI::IsMember({4, 5}))
      ->capture_default_str();
  app.add_option("--pid", options.broker_pid, "process id of the broker, to read its CPU and memory");
  app.add_option("--pingers", options.pingers, "clients that ping to the end")->capture_default_str();
  app.add_option("--pinger-keep-alive", options.pinger_keep_alive_s, "their K in seconds")->capture_default_str();
  app.add_option("--ping-interval-ms", options.ping_interval_ms, "each of them pings this often")
      ->check(CLI::Range(10, 3'600'000))
      ->capture_default_str();
  app.add_option("--silent", options.silent, "clients that fall silent")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--silent-keep-alive", options.silent_keep_alive_s, "their K in seconds")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  app.add_option("--spread-ms", options.spread_ms, "their last PINGREQs fall evenly into this time")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  app.add_option("--connect-rate", options.connect_rate, "connections begun a second, at most")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--connects-at-once", options.connects_at_once, "connections without CONNACK, at most")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--connect-limit-s", options.connect_limit_s, "give up when not all are connected by then")
      ->capture_default_str();
  app.add_option("--steady-ms", options.steady_ms, "all ping for this long before the first falls silent")
      ->capture_default_str();
  app.add_option("--measure-ms", options.measure_ms, "measure at least this long")->capture_default_str();
  app.add_option("--give-up-ms", options.give_up_ms, "measure at most this long")->capture_default_str();
  app.add_option("--seed", options.seed, "orders the silent clients")->capture_default_str();
  app.add_flag("--json", json, "one line of JSON instead of the table");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.version = static_cast<Version>(version);

  try {
    const LivenessReport report = run_liveness(options);
    if (json) {
      fmt::print("{}\n", to_json(options, report).dump());
    } else {
      print_table(options, report);
    }
    return report.clean() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "liveness_load: {}\n", error.what());
    return 2;
  }
}

}  // namespace
}  // namespace vigil::bench

int main(int argc, char** argv) { return vigil::bench::run(argc, argv); }
