// throughput_load: what does a delivered message cost a broker? Prints a few lines, or one line of JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "throughput_run.h"

namespace vigil::bench {
namespace {

double core_percent(base::Duration cpu, base::Duration wall) {
  return 100.0 * static_cast<double>(cpu.count()) / static_cast<double>(wall.count());
}

nlohmann::json to_json(const ThroughputReport& report) {
  return {{"delivered", report.delivered},
          {"per_s", report.per_second()},
          {"broker_us_per_message", report.broker_us_per_message()},
          {"broker_user_percent", core_percent(report.broker_user, report.wall)},
          {"broker_system_percent", core_percent(report.broker_system, report.wall)},
          {"own_cpu_percent", core_percent(report.own_cpu, report.wall)}};
}

void print_text(const ThroughputReport& report) {
  fmt::print("{} messages delivered, {:.0f} a second\n", report.delivered, report.per_second());
  fmt::print("broker: {:.2f} us a message; {:.0f} % of a core in user space, {:.0f} % in the kernel\n",
             report.broker_us_per_message(), core_percent(report.broker_user, report.wall),
             core_percent(report.broker_system, report.wall));
  fmt::print("this process: {:.0f} % of a core\n", core_percent(report.own_cpu, report.wall));
}

int run(int argc, char** argv) {
  ThroughputOptions options;
  bool json = false;
  int version = 4;
  CLI::App app{
      "Publishes in groups with a bounded number of messages under way, and measures the CPU time that the broker "
      "takes\n"
      "for each delivered message. 1:1: --groups 500. Fan-out: --groups 1 --subscribers 1000. Fan-in: --groups 1\n"
      "--publishers 1000 --window 10000 --burst 10.",
      "throughput_load"};
  const CLI::Range count(1, 100'000);
  app.add_option("--host", options.broker.host, "IPv4 address of the broker")->capture_default_str();
  app.add_option("--port", options.broker.port, "its MQTT port")->capture_default_str();
  app.add_option("--protocol", version, "4 is MQTT 3.1.1, 5 is MQTT 5.0")
      ->check(CLI::IsMember({4, 5}))
      ->capture_default_str();
  app.add_option("--pid", options.broker_pid, "process id of the broker, to read its CPU");
  app.add_option("--groups", options.groups, "groups, each with a topic of its own")
      ->check(count)
      ->capture_default_str();
  app.add_option("--publishers", options.publishers, "in each group")->check(count)->capture_default_str();
  app.add_option("--subscribers", options.subscribers, "in each group")->check(count)->capture_default_str();
  app.add_option("--qos", options.qos, "of publication and subscription")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  app.add_option("--burst", options.burst, "messages of one publisher in a row")->check(count)->capture_default_str();
  app.add_option("--window", options.window, "messages of a group under way")->check(count)->capture_default_str();
  app.add_option("--payload", options.payload_bytes, "bytes in a message")
      ->check(CLI::Range(0, 65'536))
      ->capture_default_str();
  app.add_option("--warm-up-ms", options.warm_up_ms, "before measuring")->capture_default_str();
  app.add_option("--measure-ms", options.measure_ms, "measure this long")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  app.add_flag("--json", json, "one line of JSON instead of the text");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  options.version = static_cast<Version>(version);

  try {
    const ThroughputReport report = run_throughput(options);
    if (json) {
      fmt::print("{}\n", to_json(report).dump());
    } else {
      print_text(report);
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "throughput_load: {}\n", error.what());
    return 2;
  }
}

}  // namespace
}  // namespace vigil::bench

int main(int argc, char** argv) { return vigil::bench::run(argc, argv); }
