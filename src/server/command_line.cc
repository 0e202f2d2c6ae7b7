#include "server/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <sstream>

#include "config/did_you_mean.h"

namespace vigil::server {
namespace {

constexpr const char* kAbout =
    "VigilMQ, an MQTT broker (3.1, 3.1.1, 5.0) that knows which clients are alive.\n"
    "Without options it listens on port 1883 of this machine only.\n";

constexpr const char* kExamples =
    "Examples:\n"
    "  vigilmq                                     listen on localhost:1883\n"
    "  vigilmq --listen 127.0.0.1:2883             on another port (a second broker needs a directory, too:\n"
    "                                              VIGILMQ_STORE__DIRECTORY=/tmp/second before it)\n"
    "  vigilmq --config /etc/vigilmq/vigilmq.toml  with a configuration file\n"
    "  vigilmq --print-default-config > my.toml    begin a file of your own: every setting, explained\n"
    "  vigilmq --config my.toml --test-config      check it\n"
    "  vigilmq store --help                        look at what the broker has on disk, copy it, save it\n"
    "\n"
    "Environment variables:\n"
    "  MQTT_KEEP_ALIVE_MONITORING_DELAY_MS  how late a silent client may be noticed, in ms (default 1000)\n"
    "  VIGILMQ_<SECTION>__<KEY>             any setting of the file: VIGILMQ_LIMITS__CONNECT_TIMEOUT_S=5\n"
    "  An empty variable counts as not set.\n"
    "\n"
    "Signals: SIGTERM and SIGINT stop it after all clients were told, SIGHUP reads the configuration again.\n"
    "Exit status: 0 stopped as asked, or printed what was asked for; 1 could not start, stop in time, or write its\n"
    "output; 2 wrong command line.\n"
    "Try it: mosquitto_sub -t 'hello/#' -v, and in another terminal mosquitto_pub -t hello/world -m hi\n";

constexpr const char* kAboutStore =
    "inspect, check, backup and export may run beside the broker: they see the store as it is at one moment, and "
    "write\n"
    "nothing to it. import and repair are for directories that no broker uses.\n"
    "Exit status: 0 the command did what it says and found nothing wrong; 1 it failed, or found something wrong;\n"
    "2 wrong command line.\n";

constexpr const char* kDirectoryOption = "-d,--directory";

struct StoreCommand {
  store::ToolRequest::Command which;
  const char* name;
  const char* about;
  const char* more;  // below the options in its help
};

using Which = store::ToolRequest::Command;
constexpr std::array kStoreCommands{
    StoreCommand{Which::Inspect, "inspect", "Say what is in it, in numbers", ""},
    StoreCommand{Which::Check, "check", "Read and cross-check every record",
                 "Exit status 1: something is wrong; standard error says what.\n"},
    StoreCommand{Which::Backup, "backup", "Copy it to another directory; the broker may run",
                 "What was acknowledged before the command began is in the copy. A broker can start with the copy.\n"
                 "Example: vigilmq store backup -d /var/lib/vigilmq /mnt/backup/monday\n"},
    StoreCommand{Which::Export, "export", "Write everything to standard output, a JSON object a line",
                 "What was acknowledged before the command began is in it. The last line says that it is complete.\n"
                 "Exit status 1: something could not be read; standard error says what was left out.\n"
                 "Example: vigilmq store export -d /var/lib/vigilmq > saved.jsonl\n"},
    StoreCommand{Which::Import, "import", "Make a store of such lines from standard input",
                 "The directory must be empty or not there. It becomes a store when all lines are read and are right.\n"
                 "Example: vigilmq store import -d /var/lib/vigilmq-new < saved.jsonl\n"},
    StoreCommand{Which::Repair, "repair",
                 "Give up what stands behind a damage in the log,\nso that the broker can start", ""},
};

// How programs of mosquitto are started, and what does the same here. "-p 1884" and "-p1884".
std::string other_brokers_option(std::string_view word, std::string_view next) {
  const auto is = [&](std::string_view small, std::string_view large) { return word == small || word == large; };
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (word.starts_with("-p") && is_number(word.substr(2))) return other_brokers_option("-p", word.substr(2));
  if (is("-p", "--port")) return fmt::format(": use --listen 127.0.0.1:{}", is_number(next) ? next : "1883");
  if (is("-v", "--verbose")) return ": set the level of the log, as in VIGILMQ_LOG__LEVEL=debug vigilmq";
  if (is("-d", "--daemon")) {
    return ": the broker stays in the foreground; systemd, or & in a shell, puts it in the background";
  }
  return "";
}

std::vector<std::string> option_names(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

std::vector<std::string> store_command_names() {
  std::vector<std::string> names;
  for (const StoreCommand& command : kStoreCommands) names.emplace_back(command.name);
  return names;
}

// What nothing in the command line asked for: `words`, of which the first is what went wrong. `innermost` is the last
// command that was understood.
std::string unexpected(const std::vector<std::string>& words, const CLI::App& innermost) {
  const std::string& word = words.front();
  const std::string& next = words.size() > 1 ? words[1] : "";
  const bool is_broker = innermost.get_parent() == nullptr;
  if (word.starts_with('-')) {
    const std::string name = word.substr(0, word.find('='));
    std::string hint;
    if (is_broker) hint = other_brokers_option(name, next);
    if (!is_broker && (name == "-d" || name == "--directory")) hint = ": it belongs behind the word store";
    if (hint.empty()) hint = config::did_you_mean(name, option_names(&innermost));
    return fmt::format("unknown option {}{}", name, hint);
  }
  const std::vector<std::string> store_commands = store_command_names();
  if (innermost.get_name() == "store") {
    return fmt::format("unknown command store {}{}", word, config::did_you_mean(word, store_commands));
  }
  if (!is_broker) return fmt::format("one word too many: {}", word);
  if (std::find(store_commands.begin(), store_commands.end(), word) != store_commands.end()) {
    return fmt::format("unknown command {}, did you mean store {}?", word, word);
  }
  if (word.ends_with(".toml") || word.ends_with(".conf")) {
    return fmt::format("unexpected {}, did you mean --config {}?", word, word);
  }
  return fmt::format("unknown command {}{}", word, config::did_you_mean(word, {"store"}));
}

CommandLineEnd wrong_usage(std::string_view what, const CLI::App& innermost) {
  std::string command = innermost.get_name();
  for (const CLI::App* app = innermost.get_parent(); app != nullptr; app = app->get_parent()) {
    command = fmt::format("{} {}", app->get_name(), command);
  }
  return {.exit_code = 2, .text = fmt::format("vigilmq: {}\n`{} --help` lists what there is.\n", what, command)};
}

const CLI::App& innermost_of(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

// A word that was written wrong explains most errors of CLI11 as well.
std::string what_is_wrong(const CLI::App& app, const CLI::ParseError* error) {
  const CLI::App& innermost = innermost_of(app);
  if (const auto words = app.remaining(true); !words.empty()) return unexpected(words, innermost);
  if (innermost.get_name() == "store" && dynamic_cast<const CLI::RequiredError*>(error) != nullptr) {
    return fmt::format("store needs a command: {}", fmt::join(store_command_names(), ", "));
  }
  return error == nullptr ? "" : error->what();
}

}  // namespace

base::Result<CommandLine, CommandLineEnd> parse_command_line(int argc, const char* const* argv,
                                                             const std::string& version) {
  CLI::App app(kAbout, "vigilmq");
  app.set_version_flag("--version", "vigilmq " + version, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.allow_extras();
  CommandLine line;
  std::string file;
  std::vector<std::string> listen;
  app.add_option(
         "-c,--config", file,
         fmt::format("Read this configuration file\n(default: {}, if it is there)", line.sources.default_file.string()))
      ->type_name("FILE");
  app.add_option("-l,--listen", listen,
                 "Listen here instead of where the configuration says; may be\n"
                 "given several times: 127.0.0.1:1883, [::1]:1883, unix:/run/mqtt.sock")
      ->type_name("ADDRESS:PORT")
      ->expected(1)
      ->take_all();
  bool test = false;
  bool print = false;
  bool print_default = false;
  bool print_docs = false;
  app.add_flag("--test-config", test, "Check the configuration, say what is wrong, and exit");
  app.add_flag("--print-config", print, "Print the configuration in force and exit");
  app.add_flag("--print-default-config", print_default, "Print a configuration file with every setting and exit");
  app.add_flag("--print-config-docs", print_docs, "Print the document about all settings and exit");

  std::string directory;
  std::string copy;
  const auto complete = [&](CLI::App* command) {
    command->fallthrough();
    command->allow_extras();
    command->add_option(kDirectoryOption, directory, "The store's directory (default: the one that the broker uses)")
        ->type_name("DIR");
  };
  CLI::App* store = app.add_subcommand("store", "Look at what a broker has on disk, copy it, save it, restore it");
  complete(store);
  app.require_subcommand(0, 1);
  store->require_subcommand(1, 1);
  for (const StoreCommand& one : kStoreCommands) {
    CLI::App* command = store->add_subcommand(one.name, one.about);
    complete(command);
    command->footer(one.more);
    if (one.which == Which::Backup) {
      command->add_option("TO", copy, "The copy: a directory that is empty or not there")->option_text(" ")->required();
    }
  }
  app.get_formatter()->label("REQUIRED", "");
  store->footer(kAboutStore);
  app.footer(kExamples);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return base::Err(wrong_usage(what_is_wrong(app, &error), innermost_of(app)));
    std::ostringstream out;
    app.exit(error, out, out);
    return base::Err(CommandLineEnd{.exit_code = 0, .text = out.str()});
  }
  const CLI::App& innermost = innermost_of(app);
  if (!app.remaining(true).empty()) return base::Err(wrong_usage(what_is_wrong(app, nullptr), innermost));
  if (int{test} + int{print} + int{print_default} + int{print_docs} > 1) {
    return base::Err(wrong_usage("only one of --test-config and --print-... at a time.", app));
  }

  using Action = CommandLine::Action;
  if (test) line.action = Action::TestConfig;
  if (print) line.action = Action::PrintConfig;
  if (print_default) line.action = Action::PrintDefaultConfig;
  if (print_docs) line.action = Action::PrintConfigDocs;
  for (const StoreCommand& one : kStoreCommands) {
    if (innermost.get_name() != one.name) continue;
    line.action = Action::Store;
    line.store = {.command = one.which, .directory = directory, .copy = copy};
  }
  if (!file.empty()) line.sources.file = file;
  if (!listen.empty()) {
    line.sources.overrides.push_back(
        {.option = "--listen", .key = "listener.0.bind", .value = fmt::format("{}", fmt::join(listen, ","))});
  }
  return line;
}

}  // namespace vigil::server
