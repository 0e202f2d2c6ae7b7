#include "server/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <sstream>

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
    "  vigilmq store inspect                       what the broker has on disk (when it does not run)\n"
    "\n"
    "Environment variables:\n"
    "  MQTT_KEEP_ALIVE_MONITORING_DELAY_MS  how late a silent client may be noticed, in ms (default 1000)\n"
    "  VIGILMQ_<SECTION>__<KEY>             any setting of the file: VIGILMQ_LIMITS__CONNECT_TIMEOUT_S=5\n"
    "  An empty variable counts as not set.\n"
    "\n"
    "Signals: SIGTERM and SIGINT stop it after all clients were told, SIGHUP reads the configuration again.\n"
    "Try it: mosquitto_sub -t 'hello/#' -v, and in another terminal mosquitto_pub -t hello/world -m hi\n";

}  // namespace

base::Result<CommandLine, CommandLineEnd> parse_command_line(int argc, const char* const* argv,
                                                             const std::string& version) {
  CLI::App app(kAbout, "vigilmq");
  app.footer(kExamples);
  app.set_version_flag("--version", "vigilmq " + version, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  CommandLine line;
  std::string file;
  std::vector<std::string> listen;
  app.add_option(
         "-c,--config", file,
         fmt::format("Read this configuration file (default: {}, if it is there)", line.sources.default_file.string()))
      ->type_name("FILE");
  app.add_option("-l,--listen", listen,
                 "Listen here instead of where the configuration says; may be given several times, as in "
                 "127.0.0.1:1883, [::1]:1883 or unix:/run/vigilmq/mqtt.sock")
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

  using StoreCommand = store::ToolRequest::Command;
  CLI::App* store =
      app.add_subcommand("store", "Look at, check, save or restore the data of a broker that does not run");
  store->require_subcommand(1);
  std::string directory;
  store
      ->add_option("-d,--directory", directory,
                   "The store's directory, or a copy of it (default: what the configuration says)")
      ->type_name("DIR");
  store->fallthrough();
  const std::pair<CLI::App*, StoreCommand> store_commands[] = {
      {store->add_subcommand("inspect", "Say what is in it, in numbers"), StoreCommand::Inspect},
      {store->add_subcommand("check", "Read and cross-check every record; exit status 1 if something is wrong"),
       StoreCommand::Check},
      {store->add_subcommand("repair", "Give up what stands behind a damage in the log, so that the broker can start"),
       StoreCommand::Repair},
      {store->add_subcommand("export", "Write everything to standard output, a JSON object a line"),
       StoreCommand::Export},
      {store->add_subcommand("import",
                             "Read such lines from standard input into a directory that is empty or not there"),
       StoreCommand::Import},
  };
  for (const auto& [command, which] : store_commands) command->fallthrough();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream wrong;
    const int code = app.exit(error, out, wrong);
    const bool well = code == 0;
    return base::Err(
        CommandLineEnd{.exit_code = well ? 0 : 2, .text = (well ? "" : "vigilmq: ") + out.str() + wrong.str()});
  }

  if (int{test} + int{print} + int{print_default} + int{print_docs} > 1) {
    return base::Err(
        CommandLineEnd{.exit_code = 2, .text = "vigilmq: only one of --test-config and --print-... at a time."});
  }

  using Action = CommandLine::Action;
  if (test) line.action = Action::TestConfig;
  if (print) line.action = Action::PrintConfig;
  if (print_default) line.action = Action::PrintDefaultConfig;
  if (print_docs) line.action = Action::PrintConfigDocs;
  for (const auto& [command, which] : store_commands) {
    if (!command->parsed()) continue;
    line.action = Action::Store;
    line.store = {.command = which, .directory = directory};
  }
  if (!file.empty()) line.sources.file = file;
  if (!listen.empty()) {
    line.sources.overrides.push_back(
        {.option = "--listen", .key = "listener.0.bind", .value = fmt::format("{}", fmt::join(listen, ","))});
  }
  return line;
}

}  // namespace vigil::server
