#include "sim/transcript.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace vigil::sim {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(VIGIL_SOURCE_DIR) / "test" / "transcripts";

std::vector<std::string> transcript_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kFolder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".txt") {
      files.push_back(std::filesystem::relative(entry.path(), kFolder).string());
    }
  }
  std::ranges::sort(files);
  return files;
}

class Transcripts : public testing::TestWithParam<std::string> {};

// One test a file. VIGIL_UPDATE=1 writes what came into the file instead of failing.
TEST_P(Transcripts, Hold) {
  const std::filesystem::path path = kFolder / GetParam();
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const TranscriptResult result = run_transcript("test/transcripts/" + GetParam(), text);
  if (!result.ok && std::getenv("VIGIL_UPDATE") != nullptr) {
    std::ofstream(path, std::ios::binary) << result.rewritten;
    std::printf("rewritten: %s\n%s", GetParam().c_str(), result.report.c_str());
    return;
  }
  EXPECT_TRUE(result.ok) << result.report;
}

std::string test_name(const testing::TestParamInfo<std::string>& file) {
  std::string name = file.param.substr(0, file.param.size() - 4);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Transcripts, testing::ValuesIn(transcript_files()), test_name);

TEST(TranscriptRunner, ShowsWhatDiffersSideBySide) {
  const TranscriptResult result = run_transcript("x.txt", "a: CONNECT\n---\na < PINGRESP\n");
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.report.find("x.txt:3"), std::string::npos) << result.report;
  EXPECT_NE(result.report.find("! a < PINGRESP | a < CONNACK session_present=0"), std::string::npos) << result.report;
  EXPECT_EQ(result.rewritten, "a: CONNECT\n---\na < CONNACK session_present=0\n");
}

TEST(TranscriptRunner, KeepsTheOrderOfAClientButNotBetweenClients) {
  EXPECT_TRUE(
      run_transcript("x", "a: CONNECT\nb: CONNECT; PINGREQ\n---\nb < CONNACK ...\nb < PINGRESP\na < CONNACK ...\n").ok);
  EXPECT_FALSE(run_transcript("x", "b: CONNECT; PINGREQ\n---\nb < PINGRESP\nb < CONNACK ...\n").ok);
  EXPECT_FALSE(run_transcript("x", "ordered\na: CONNECT\nb: CONNECT\n---\nb < CONNACK ...\na < CONNACK ...\n").ok);
}

TEST(TranscriptRunner, MissesNothing) {
  EXPECT_FALSE(run_transcript("x", "a: CONNECT\n---\na < CONNACK ...\na: PINGREQ\n").ok)
      << "received after the last block";
  EXPECT_FALSE(run_transcript("x", "a: CONNECT\n---\n(nothing)\n").ok);
  EXPECT_FALSE(run_transcript("x", "a: CONNECT\n---\n").ok) << "an empty block";
  EXPECT_FALSE(run_transcript("x", "a: CONNECT\nforget\n").ok) << "a file without a block";
  EXPECT_FALSE(run_transcript("x", "a: CONNECT\na < CONNACK ...\n").ok) << "an expectation outside of a block";
}

TEST(TranscriptRunner, SaysWhatItDoesNotUnderstand) {
  for (const char* line : {"frobnicate", "a: JUMP", "a: PUBLISH x", "a: CONNECT colour=red", "limit max_width=3",
                           "advance 5", "a: CONNECT v=6", "a: send 1", "a: CONNECT id=\"x"}) {
    const TranscriptResult result = run_transcript("x.txt", std::string(line) + "\n---\n(nothing)\n");
    EXPECT_FALSE(result.ok) << line;
    EXPECT_NE(result.report.find("x.txt:1: "), std::string::npos) << line << "\n" << result.report;
  }
}

}  // namespace
}  // namespace vigil::sim
