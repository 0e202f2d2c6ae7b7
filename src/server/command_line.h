// What the user asked for on the command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "store/tool.h"

namespace vigil::server {

struct CommandLine {
  enum class Action : std::uint8_t { Run, TestConfig, PrintConfig, PrintDefaultConfig, PrintConfigDocs, Store };
  Action action = Action::Run;
  config::ConfigSources sources;  // without the environment
  store::ToolRequest store;       // of Action::Store; its directory is empty where the configuration decides
};

// Why there is nothing to run: --help and --version, or a wrong usage.
struct CommandLineEnd {
  int exit_code = 0;  // 0: `text` is for standard output; 2: wrong usage, for standard error
  std::string text;
};

base::Result<CommandLine, CommandLineEnd> parse_command_line(int argc, const char* const* argv,
                                                             const std::string& version);

}  // namespace vigil::server
