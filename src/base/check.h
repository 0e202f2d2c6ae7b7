// CHECK(condition): an invariant of our own code. A broken one stops the process, in release too.
//
// Never for what a peer or a user sends: that is a Result.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace vigil::base {

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "vigilmq: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace vigil::base

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): needs the text and the place of the condition
#define CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::vigil::base::check_failed(#condition, __FILE__, __LINE__))
