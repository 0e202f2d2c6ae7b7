#include "load/commands.h"

#include <fmt/format.h>

#include <map>
#include <utility>

#include "load/stop.h"

namespace vigil::load {
namespace {

const CLI::Range kCount(1, 1'000'000);
const CLI::Range kPayload(0, 16 << 20);
const CLI::Range kQos(0, 2);

Outcome outcome_of(const Command& command, const Report& report, bool clean = true) {
  return {command.json ? report.json().dump() + "\n" : report.table(), clean ? 0 : 1};
}

CLI::App* subcommand(CLI::App& app, const char* name, const char* what, const char* group) {
  CLI::App* one = app.add_subcommand(name, what);
  one->group(group);
  one->set_help_flag("--help", "what this command does");
  return one;
}

// -h is the host, as in emqtt-bench and mqttx bench.
void add_target(CLI::App& app, Command& command) {
  Target& target = command.target;
  app.add_option("-h,--host", target.host, "of the broker: a name or an address")->capture_default_str();
  app.add_option("-p,--port", target.port, "its MQTT port")->capture_default_str();
  app.add_option("-V,--protocol", target.version, "3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Version>{{"3", Version::V31}, {"4", Version::V311}, {"5", Version::V5}}))
      ->type_name("3|4|5")
      ->default_str("4");
  app.add_option("-u,--username", target.username, "user name of all clients");
  app.add_option("-P,--password", target.password, "password of all clients")->envname("VIGILMQ_LOAD_PASSWORD");
  app.add_option("-k,--keepalive", target.keep_alive_s, "keep alive of the clients, in seconds")->capture_default_str();
  app.add_option("--prefix", target.prefix, "begins client identifiers and topics")->capture_default_str();
  app.add_option("-R,--connrate", target.pace.per_second, "connections begun a second, at most; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--connects-at-once", target.pace.at_once, "connections that wait for CONNACK, at most")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--connect-limit", target.pace.limit_s,
                 "seconds until all must be connected, besides what --connrate asks for")
      ->check(kCount)
      ->capture_default_str();
  app.add_option("--pid", target.broker_pid, "process id of the broker, to read its CPU and memory")
      ->check(CLI::PositiveNumber);
  app.add_flag("--json", command.json, "a line of JSON instead of the table");
  app.add_flag("--quiet", target.quiet, "no progress");
}

void add_sessions(CLI::App& app, bool& clean, std::uint32_t& expiry_s) {
  app.add_option("-C,--clean", clean, "Clean Start (5.0), Clean Session (3.x)")->capture_default_str();
  app.add_option("-x,--session-expiry", expiry_s, "seconds that the session outlives the connection (5.0)")
      ->capture_default_str();
}

void add_conn(CLI::App& app, Command& command) {
  CLI::App* one = subcommand(app, "conn", "connects clients and keeps them: CONNACK times, memory each, pings",
                             "As many clients as you like");
  HoldOptions& options = command.hold;
  one->add_option("-c,--count", options.clients, "clients")->check(kCount)->capture_default_str();
  one->add_option("-n,--startnumber", options.first, "number of the first")->capture_default_str();
  add_sessions(*one, options.clean, options.session_expiry_s);
  one->add_flag("--will", [&options](std::int64_t) { options.wills = Wills::One; }, "each has a last will");
  one->add_option("--ping-interval", options.ping_interval_s,
                  "seconds from a ping of a client to its next; 0: three quarters of the keep alive")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  one->add_option("--time", options.for_s, "keep them so many seconds; 0: until Ctrl-C")->capture_default_str();
  one->callback([&command, &options] {
    command.chosen = [&command, &options] {
      const io::Fd stop = catch_stop();
      options.stop_fd = stop.get();
      return outcome_of(command, hold(command.target, options));
    };
  });
}

void add_generator(CLI::App& one, Command& command, GeneratorOptions& options,
                   Report (*run)(const Target&, const GeneratorOptions&)) {
  one.add_option("-c,--count", options.clients, "clients")->check(kCount)->capture_default_str();
  one.add_option("-n,--startnumber", options.first, "number of the first")->capture_default_str();
  one.add_option("-t,--topic", options.topics,
                 "topics; %c is the client identifier, %i its number, %u the user name, %p the prefix")
      ->required();
  one.add_option("-q,--qos", options.qos, "quality of service")->check(kQos)->capture_default_str();
  add_sessions(one, options.clean, options.session_expiry_s);
  one.add_option("-L,--limit", options.messages, "end after so many messages; 0: no limit")->capture_default_str();
  one.add_option("--time", options.for_s, "end after so many seconds; 0: at Ctrl-C")->capture_default_str();
  one.callback([&command, &options, run] {
    command.chosen = [&command, &options, run] {
      const io::Fd stop = catch_stop();
      options.stop_fd = stop.get();
      return outcome_of(command, run(command.target, options));
    };
  });
}

void add_pub_and_sub(CLI::App& app, Command& command) {
  CLI::App* pub = subcommand(app, "pub", "clients that publish", "As many clients as you like");
  add_generator(*pub, command, command.publish, publish);
  GeneratorOptions& options = command.publish;
  pub->add_option("-I,--interval", options.interval_ms, "ms from a message of a client to its next")
      ->check(CLI::Range(0.001, 1e9))
      ->capture_default_str();
  pub->add_option("-s,--size", options.payload_bytes, "bytes in a message; the first eight are the time")
      ->check(kPayload)
      ->capture_default_str();
  pub->add_flag("-r,--retain", options.retain, "retained messages");
  pub->add_option("-F,--inflight", options.inflight,
                  "messages of a client that wait for an acknowledgement, at most; one that is due beyond is left out")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();

  CLI::App* sub = subcommand(app, "sub", "clients that subscribe", "As many clients as you like");
  add_generator(*sub, command, command.subscribe, subscribe);
  sub->add_flag("--latency", command.subscribe.stamped,
                "measure from when it was to be sent; for messages of `vigilmq-load pub` on this machine only");
}

void add_traffic(CLI::App& app, Command& command) {
  CLI::App* one = subcommand(app, "traffic", "CPU and latency of a delivered message: 1:1, fan-out, fan-in, shared",
                             "Measurements");
  one->footer(
      "1:1      --groups 500\n"
      "fan-out  --groups 1 --subscribers 1000\n"
      "fan-in   --groups 1 --publishers 1000 --window 10000 --burst 10\n"
      "shared   --groups 1 --publishers 1000 --subscribers 4 --shared --qos 1 --window 1000\n"
      "thin     --groups 500 --rate 20000");
  TrafficOptions& options = command.traffic;
  one->add_option("--groups", options.groups, "groups, each with a topic of its own")
      ->check(kCount)
      ->capture_default_str();
  one->add_option("--publishers", options.publishers, "in each group")->check(kCount)->capture_default_str();
  one->add_option("--subscribers", options.subscribers, "in each group")->check(kCount)->capture_default_str();
  one->add_flag("--shared", options.shared, "the subscribers of a group share its messages ($share)");
  one->add_option("-q,--qos", options.qos, "of publication and subscription")->check(kQos)->capture_default_str();
  one->add_option("--burst", options.burst, "messages of one publisher in a row")->check(kCount)->capture_default_str();
  one->add_option("--window", options.window, "messages of a group under way, at most")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  one->add_option("--rate", options.rate, "messages a second, of all groups in turn, instead of a window")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  one->add_option("-s,--size", options.payload_bytes, "bytes in a message")->check(kPayload)->capture_default_str();
  one->add_option("--warm-up-ms", options.warm_up_ms, "before measuring")->capture_default_str();
  one->add_option("--measure-ms", options.measure_ms, "measure this long")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  one->callback([&command, &options] {
    command.chosen = [&command, &options] { return outcome_of(command, run_traffic(command.target, options)); };
  });
}

void add_churn(CLI::App& app, Command& command) {
  CLI::App* one = subcommand(app, "churn", "CPU and time of a connect, or of a take-over", "Measurements");
  ChurnOptions& options = command.churn;
  one->add_option("-c,--count", options.clients, "clients that come and go at the same time")
      ->check(kCount)
      ->capture_default_str();
  one->add_flag("--will", [&options](std::int64_t) { options.wills = Wills::One; }, "each has a last will");
  one->add_flag("--take-over", options.take_over, "connect again while the old connection stands");
  one->add_option("--warm-up-ms", options.warm_up_ms, "before measuring")->capture_default_str();
  one->add_option("--measure-ms", options.measure_ms, "measure this long")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  one->callback([&command, &options] {
    command.chosen = [&command, &options] { return outcome_of(command, churn(command.target, options)); };
  });
}

void add_subscriptions(CLI::App& app, Command& command) {
  CLI::App* one = subcommand(app, "subscriptions",
                             "memory of many subscriptions, and CPU of a message that matches one", "Measurements");
  SubscriptionsOptions& options = command.subscriptions;
  one->add_option("--filters", options.filters, "subscriptions")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  one->add_option("-c,--count", options.clients, "clients that share them")->check(kCount)->capture_default_str();
  one->add_flag("--wildcard", options.wildcard, "filters with + and #");
  one->add_option("-q,--qos", options.qos, "of publication and subscription")->check(kQos)->capture_default_str();
  one->add_option("--window", options.window, "messages under way, at most")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  one->add_option("--warm-up-ms", options.warm_up_ms, "before measuring")->capture_default_str();
  one->add_option("--measure-ms", options.measure_ms, "measure this long")
      ->check(CLI::Range(100, 3'600'000))
      ->capture_default_str();
  one->callback([&command, &options] {
    command.chosen = [&command, &options] { return outcome_of(command, run_subscriptions(command.target, options)); };
  });
}

void add_liveness(CLI::App& app, Command& command) {
  CLI::App* one = subcommand(app, "liveness", "how long after 1.5 x K silent clients are closed and their wills come",
                             "Measurements");
  one->footer("Exit code 0: all closed, none early, every will once; 1: not so; 2: could not run.");
  LivenessOptions& options = command.liveness;
  one->add_option("--pingers", options.pingers, "clients that ping to the end")->capture_default_str();
  one->add_option("--pinger-keep-alive", options.pinger_keep_alive_s, "their K in seconds")->capture_default_str();
  one->add_option("--ping-interval-ms", options.ping_interval_ms, "each of them pings this often")
      ->check(CLI::Range(10, 3'600'000))
      ->capture_default_str();
  one->add_option("--silent", options.silent, "clients that fall silent")->check(kCount)->capture_default_str();
  one->add_option("--silent-keep-alive", options.silent_keep_alive_s, "their K in seconds")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  one->add_option("--spread-ms", options.spread_ms, "their last PINGREQs fall evenly into this time")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  one->add_option("--steady-ms", options.steady_ms, "all ping for this long before the first falls silent")
      ->capture_default_str();
  one->add_option("--measure-ms", options.measure_ms, "measure at least this long")->capture_default_str();
  one->add_option("--give-up-ms", options.give_up_ms, "measure at most this long")->capture_default_str();
  one->add_option("--seed", options.seed, "orders the silent clients")->capture_default_str();
  one->callback([&command, &options] {
    command.chosen = [&command, &options] {
      const LivenessResult result = run_liveness(command.target, options);
      return outcome_of(command, result.report, result.clean);
    };
  });
}

void add_durability(CLI::App& app, Command& command) {
  DurabilityOptions& options = command.durability;
  const auto add = [&](const char* name, const char* what, Report (*run)(const Target&, const DurabilityOptions&)) {
    CLI::App* one = subcommand(app, name, what, "Measurements of sessions that outlive their connections (QoS 1)");
    one->add_option("--sessions", options.sessions, "how many")->check(kCount)->capture_default_str();
    one->add_flag("--to-all", options.to_all, "every message goes to all sessions, instead of to one after the other");
    one->add_option("--settle-ms", options.settle_ms, "count the broker's CPU until so long after the end")
        ->capture_default_str();
    one->callback([&command, &options, run] {
      if (run != make_sessions && run != drain && options.messages == 0 && options.measure_ms == 0) {
        throw CLI::RequiredError("--messages or --measure-ms");
      }
      command.chosen = [&command, &options, run] { return outcome_of(command, run(command.target, options)); };
    });
    return one;
  };
  add("sessions", "clients connect, subscribe, and leave a session behind", make_sessions);
  const std::array publishing{
      add("enqueue", "publishes for them while they are away, until all is acknowledged", enqueue),
      add("pass", "the same while the clients of the sessions are connected", pass)};
  for (CLI::App* one : publishing) {
    one->add_option("--publishers", options.publishers)->check(CLI::Range(1, 10'000))->capture_default_str();
    one->add_option("--window", options.window, "messages of a publisher under way")
        ->check(CLI::Range(1, 60'000))
        ->capture_default_str();
    one->add_option("--messages", options.messages, "how many; 0: as many as --measure-ms allows")
        ->capture_default_str();
    one->add_option("--measure-ms", options.measure_ms, "publish this long, without --messages");
    one->add_option("--rate", options.rate, "messages a second instead of a window")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    one->add_option("-s,--size", options.payload_bytes, "bytes in a message")
        ->check(CLI::Range(0, 65'536))
        ->capture_default_str();
  }
  add("drain", "the clients come back and take what was kept", drain)
      ->add_option("--expected", options.expected, "messages that are to come")
      ->required();
}

}  // namespace

std::unique_ptr<Command> define_commands(CLI::App& app) {
  auto command = std::make_unique<Command>();
  app.name("vigilmq-load");
  app.description(
      "Load and measurements for MQTT brokers: clients by the thousand from one thread. For every command:\n"
      "`vigilmq-load COMMAND --help`. Options of the broker may stand before or behind the command.");
  app.set_help_flag("--help", "this text");
  app.set_version_flag("--version", "vigilmq-load " VIGIL_VERSION);
  app.footer(
      "  vigilmq-load sub -t 'bench/#' -c 10 --latency\n"
      "  vigilmq-load pub -t bench/%i -c 100 -I 10 -q 1\n"
      "  vigilmq-load traffic --groups 500 --pid $(pidof vigilmq)");
  app.fallthrough();
  app.require_subcommand(1);
  add_target(app, *command);
  add_conn(app, *command);
  add_pub_and_sub(app, *command);
  add_traffic(app, *command);
  add_churn(app, *command);
  add_subscriptions(app, *command);
  add_liveness(app, *command);
  add_durability(app, *command);
  return command;
}

}  // namespace vigil::load
