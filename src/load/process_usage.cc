#include "load/process_usage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace vigil::load {
namespace {

base::Duration from_clock_ticks(long ticks) { return base::Duration(base::seconds(ticks)) / sysconf(_SC_CLK_TCK); }

}  // namespace

Usage read_usage(pid_t pid) {
  if (pid == 0) return {};
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) throw std::runtime_error(fmt::format("there is no process {}", pid));
  // The name in parentheses may hold anything; field 3 (state) follows the last one.
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  constexpr int kUser = 14;
  constexpr int kSystem = 15;
  constexpr int kResidentPages = 24;
  Usage usage;
  std::string field;
  for (int number = 3; number <= kResidentPages && fields >> field; ++number) {
    if (number == kUser) usage.user = from_clock_ticks(std::stol(field));
    if (number == kSystem) usage.system = from_clock_ticks(std::stol(field));
    if (number == kResidentPages) {
      usage.resident_bytes = std::stoull(field) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    }
  }
  return usage;
}

}  // namespace vigil::load
