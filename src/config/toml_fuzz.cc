// Any text as a configuration file: every error says where it is, and what is accepted reads back as the same.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::config;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parse_config(text, "fuzz.toml");
  if (!config) {
    CHECK(!config.error().empty());
    for (const ConfigError& error : config.error()) {
      CHECK(error.where.starts_with("fuzz.toml"));
      CHECK(!error.message.empty() && error.text().find('\n') == std::string::npos);
    }
    return 0;
  }
  CHECK(validate(*config).empty());
  const std::string printed = effective_toml(*config);
  const auto again = parse_config(printed, "printed.toml");
  CHECK(again.has_value() && effective_toml(*again) == printed);
  const ConfigReload same = reload(*config, *again);
  CHECK(same.applied.empty() && same.needs_restart.empty());
  return 0;
}
