// durability_load: what does keeping messages cost a broker? Prints a few lines, or one line of JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "durability_run.h"

namespace vigil::bench {
namespace {

double seconds(base::Duration duration) { return static_cast<double>(duration.count()) / 1e9; }

nlohmann::json to_json(const DurabilityReport& report) {
  const auto messages = static_cast<double>(std::max<std::uint64_t>(report.messages, 1));
  nlohmann::json json = {{"messages", report.messages},
                         {"delivered", report.delivered},
                         {"wall_s", seconds(report.wall)},
                         {"per_s", static_cast<double>(report.messages) / seconds(report.wall)},
                         {"broker_us_per_message", 1e6 * seconds(report.broker_cpu) / messages},
                         {"broker_system_us_per_message", 1e6 * seconds(report.broker_system) / messages},
                         {"own_cpu_percent", 100 * seconds(report.own_cpu) / seconds(report.wall)},
                         {"broker_rss_bytes", report.broker_rss_bytes}};
  if (!report.ack_latency.empty()) {
    json["ack_ms"] = {{"p50", to_ms(report.ack_latency.quantile(0.5))},
                      {"p99", to_ms(report.ack_latency.quantile(0.99))},
                      {"max", to_ms(report.ack_latency.max())}};
  }
  return json;
}

void print_text(const nlohmann::json& report) {
  fmt::print("{} messages in {:.2f} s: {:.0f} a second\n", report["messages"].get<std::uint64_t>(),
             report["wall_s"].get<double>(), report["per_s"].get<double>());
  fmt::print("broker: {:.2f} us a message, {:.2f} of it in the kernel; {:.1f} MiB resident\n",
             report["broker_us_per_message"].get<double>(), report["broker_system_us_per_message"].get<double>(),
             report["broker_rss_bytes"].get<double>() / (1 << 20U));
  if (report.contains("ack_ms")) {
    const nlohmann::json& ack = report["ack_ms"];
    fmt::print("acknowledged after {:.2f} / {:.2f} / {:.2f} ms (p50/p99/max)\n", ack["p50"].get<double>(),
               ack["p99"].get<double>(), ack["max"].get<double>());
  }
  fmt::print("this process: {:.0f} % of a core\n", report["own_cpu_percent"].get<double>());
}

int run(int argc, char** argv) {
  DurabilityOptions options;
  bool json = false;
  CLI::App app{
      "Sessions that outlive their connections, and messages of QoS 1 for them (MQTT 3.1.1): makes the sessions,\n"
      "publishes while their clients are away, lets them come back and take what was kept, or publishes while they "
      "are\n"
      "there. Reads the broker's CPU time if it is told its process id.",
      "durability_load"};
  app.fallthrough();  // options of all commands may stand behind the command
  const CLI::Range count(1, 1'000'000);
  app.add_option("--host", options.broker.host, "IPv4 address of the broker")->capture_default_str();
  app.add_option("--port", options.broker.port, "its MQTT port")->capture_default_str();
  app.add_option("--pid", options.broker_pid, "process id of the broker, to read its CPU");
  app.add_option("--sessions", options.sessions, "how many")->check(count)->capture_default_str();
  app.add_option("--at-once", options.at_once, "clients that are connecting")->check(count)->capture_default_str();
  app.add_flag("--to-all", options.to_all, "every message goes to all sessions, instead of to one after the other");
  app.add_option("--settle-ms", options.settle_ms, "count the broker's CPU until so long after the end")
      ->capture_default_str();
  app.add_flag("--json", json, "one line of JSON instead of the text");

  CLI::App* sessions = app.add_subcommand("sessions", "clients connect, subscribe, and leave a session behind");
  CLI::App* publish_command = app.add_subcommand("publish", "publish, and wait until all is acknowledged");
  CLI::App* pass_command = app.add_subcommand("pass", "the same while the clients of the sessions are connected");
  CLI::App* drain_command = app.add_subcommand("drain", "the clients come back and take what was kept");
  for (CLI::App* command : {publish_command, pass_command}) {
    command->add_option("--publishers", options.publishers)->check(CLI::Range(1, 10'000))->capture_default_str();
    command->add_option("--window", options.window, "messages of a publisher under way")
        ->check(CLI::Range(1, 60'000))
        ->capture_default_str();
    command->add_option("--messages", options.messages, "how many; 0: as many as --measure-ms allows")
        ->capture_default_str();
    command->add_option("--measure-ms", options.measure_ms, "publish this long, without --messages");
    command->add_option("--rate", options.rate, "messages a second instead of a window")->capture_default_str();
    command->add_option("--payload", options.payload_bytes, "bytes in a message")
        ->check(CLI::Range(0, 65'536))
        ->capture_default_str();
  }
  drain_command->add_option("--expected", options.expected, "messages that are to come")->required();
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
    if ((publish_command->parsed() || pass_command->parsed()) && options.messages == 0 && options.measure_ms == 0) {
      throw CLI::RequiredError("--messages or --measure-ms");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  try {
    const nlohmann::json report = to_json(sessions->parsed()          ? make_sessions(options)
                                          : publish_command->parsed() ? publish(options)
                                          : pass_command->parsed()    ? pass(options)
                                                                      : drain(options));
    if (json) {
      fmt::print("{}\n", report.dump());
    } else {
      print_text(report);
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "durability_load: {}\n", error.what());
    return 2;
  }
}

}  // namespace
}  // namespace vigil::bench

int main(int argc, char** argv) { return vigil::bench::run(argc, argv); }
