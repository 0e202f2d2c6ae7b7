// The broker's program: reads what the user wants, builds everything, and waits for the end.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include <malloc.h>
#include <unistd.h>

#include "config/config.h"
#include "io/fd.h"
#include "log/log.h"
#include "server/command_line.h"
#include "server/fd_limit.h"
#include "server/notify.h"
#include "server/output.h"
#include "server/supervisor.h"

namespace vigil::server {
namespace {

constexpr const char* kVersion = VIGIL_VERSION;

void complain(const std::string& text) { std::fprintf(stderr, "%s%s", text.c_str(), text.ends_with('\n') ? "" : "\n"); }

// "configuration file /etc/vigilmq/vigilmq.toml is valid."
std::string verdict(const config::ConfigOrigin& origin) {
  const bool more = !origin.variables.empty() || !origin.options.empty();
  return origin.text() + (more ? "," : "") + (origin.file ? " is valid." : " are valid.");
}

// What a burst needs in one piece goes back to the system when it is over. By itself glibc learns from the first large
// piece that is freed to keep the next ones, up to 32 MiB each.
void give_back_large_memory() {
  constexpr int kLarge = 1024 * 1024;
  mallopt(M_MMAP_THRESHOLD, kLarge);
  mallopt(M_TRIM_THRESHOLD, 4 * kLarge);
}

int run(config::Config config, config::ConfigSources sources) {
  give_back_large_memory();
  log::Log log(
      {.level = config.log_level, .style = {.format = config.log_format, .timestamps = config.log_timestamps}});
  bool clean = true;
  {
    Supervisor supervisor({.config = std::move(config),
                           .sources = std::move(sources),
                           .version = kVersion,
                           .notifier = Notifier::from_environment()},
                          log);
    if (const auto started = supervisor.start(); !started) {
      log.write(log::LogLevel::Error, "start_failed", started.error());
      return EXIT_FAILURE;
    }
    clean = supervisor.run() == EXIT_SUCCESS;
    if (!clean) {
      // Shards may still be at work: nothing of theirs can be taken down.
      log.write(log::LogLevel::Error, "stopped_early",
                "Stopped before all clients were told: there was no time left (drain_timeout_s).");
      log.finish();
      std::_Exit(EXIT_FAILURE);
    }
  }
  return EXIT_SUCCESS;
}

int look_into_store(const config::Config& config, const CommandLine& line) {
  store::ToolRequest request = line.store;
  if (request.directory.empty()) request.directory = config.store.directory;
  if (request.directory.empty())
    request.directory = config::default_store_directory(line.sources.environment, geteuid() == 0);
  if (request.directory.empty()) {
    complain("vigilmq: which store? Give its directory: vigilmq store --directory DIR ...");
    return EXIT_FAILURE;
  }
  static_cast<void>(raise_fd_limit(1, 0));  // every file of the store is opened
  Output output(STDOUT_FILENO);
  return finish_or_complain(output, store::run(request, std::cin, output.stream(), std::cerr));
}

int main(int argc, char** argv) {
  if (!io::occupy_standard_descriptors()) return EXIT_FAILURE;
  block_signals();
  auto line = parse_command_line(argc, argv, kVersion);
  if (!line || line->action != CommandLine::Action::Run) unblock_signals();
  if (!line) {
    if (line.error().exit_code == 0) return print_or_complain(line.error().text);
    complain(line.error().text);
    return line.error().exit_code;
  }
  using Action = CommandLine::Action;
  if (line->action == Action::PrintDefaultConfig) return print_or_complain(config::default_config_file());
  if (line->action == Action::PrintConfigDocs) return print_or_complain(config::config_docs());
  line->sources.environment = config::process_environment();
  auto config = config::load_config(line->sources);
  if (!config) {
    for (const config::ConfigError& error : config.error()) complain("vigilmq: " + error.text());
    return EXIT_FAILURE;
  }
  switch (line->action) {
    case Action::TestConfig: return print_or_complain(verdict(config::origin_of(line->sources)));
    case Action::Store: return look_into_store(*config, *line);
    case Action::PrintConfig: return print_or_complain(config::effective_toml(*config));
    default: return run(std::move(*config), std::move(line->sources));
  }
}

}  // namespace
}  // namespace vigil::server

int main(int argc, char** argv) { return vigil::server::main(argc, argv); }
