// vigilmq-load: reads the command line, runs one load, prints what it found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "load/commands.h"

int main(int argc, char** argv) {
  CLI::App app;
  const auto command = vigil::load::define_commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    static_cast<void>(vigil::load::read_usage(command->target.broker_pid));  // or throws at once
    const vigil::load::Outcome outcome = command->run();
    fmt::print("{}", outcome.text);
    return outcome.status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "vigilmq-load: {}\n", error.what());
    return 2;
  }
}
