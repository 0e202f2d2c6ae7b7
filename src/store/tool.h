// `vigilmq store inspect|check|repair|export|import`: what an operator does with a store while no broker runs on it, or
// with a copy. Nothing but `import` and `repair` writes anything.
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
    Export,   // JSON lines to `out`
    Repair,   // opens it once, giving up what stands behind a damage in its log
    Import    // JSON lines from `in` into a directory that is empty or not there
  };
  Command command = Command::Inspect;
  std::filesystem::path directory;
};

// The exit status: 0 if all went well and all is well, 1 if not. Errors and findings are sentences on `err`, and so is
// what `import` did; what was asked for is on `out`. `in` is read by `import` only.
int run(const ToolRequest& request, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace vigil::store
