// `vigilmq store inspect|check|backup|export|import|repair`: what an operator does with a store. Those that read may do
// so while a broker runs on it: they see it as it was at one moment (store/snapshot.h), and write nothing to its
// directory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <ostream>

namespace vigil::store {

struct ToolRequest {
  enum class Command : std::uint8_t {
    Inspect,  // what is in it, in numbers
    Check,    // reads and cross-checks every record
    Backup,   // copies its files to `copy`, a directory that is empty or not there
    Export,   // JSON lines to `out`
    Import,   // JSON lines from `in` into a directory that is empty or not there
    Repair    // no broker may run: opens it once, giving up what stands behind a damage in its log
  };
  Command command = Command::Inspect;
  std::filesystem::path directory;
  std::filesystem::path copy = {};
};

// The exit status: 0 if all went well and all is well, 1 if not. Errors and findings are sentences on `err`, and so is
// what `import` did; what was asked for is on `out`, and that `out` fails is for the caller to notice. `in` is read by
// `import` only.
int run(const ToolRequest& request, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace vigil::store
