// Golden transcripts: a short script of what clients do, and exactly what each of them receives.
// test/transcripts/README.md is the language's reference.
#pragma once

#include <string>
#include <string_view>

namespace vigil::sim {

struct TranscriptResult {
  bool ok = false;
  std::string report;     // of what differs: file:line, expected and actual side by side
  std::string rewritten;  // the text with its expectations replaced by what came
};

// `name` is what the report calls the file.
TranscriptResult run_transcript(std::string_view name, std::string_view text);

}  // namespace vigil::sim
