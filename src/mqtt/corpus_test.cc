// The seeds of the fuzzers are real packets and topics. With VIGIL_WRITE_CORPUS set in the environment this test writes
// them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <fmt/format.h>

#include "mqtt/describe.h"
#include "mqtt/samples_test.h"
#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using Corpus = std::map<std::string, std::string>;  // file name to content

// As decoder_fuzz.cc reads it: version and sender, then the packet.
Corpus decoder_corpus() {
  Corpus corpus;
  for (const Sample& sample : samples()) {
    const Buffer bytes = encoded(sample.version, sample.packet);
    const bool connect = std::holds_alternative<Connect>(sample.packet);
    if (bytes.size() > 1'000 || (sample.version == Version::V31 && !connect)) continue;
    if (sample.version == Version::V311 && sample.sender == Sender::Server && bytes[0] >> 4U == 3) continue;
    const unsigned version = sample.version == Version::V5 ? 0 : sample.version == Version::V311 ? 1 : 2;
    const bool server = sample.sender == Sender::Server;
    std::string content(1, static_cast<char>(version | (server ? 4U : 0U)));
    content.append(bytes.begin(), bytes.end());
    const std::string name =
        fmt::format("v{}-{}-{:02}-{}", static_cast<unsigned>(sample.version), server ? "server" : "client",
                    corpus.size(), packet_name(packet_type(sample.packet)));
    corpus[name] = content;
  }
  return corpus;
}

// As topic_fuzz.cc reads it: filter, 0xFF, topic.
Corpus topic_corpus() {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 26> kPairs = {{
      {"sport/tennis/player1/#", "sport/tennis/player1"},
      {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"},
      {"sport/#", "sport"},
      {"#", "a/b/c"},
      {"#", "$SYS/uptime"},
      {"+", "finance"},
      {"+/+", "/finance"},
      {"/+", "/finance"},
      {"+/tennis/#", "sport/tennis/x"},
      {"sport+", "sport"},
      {"sport/+/player1", "sport//player1"},
      {"$SYS/#", "$SYS/broker/clients"},
      {"$SYS/monitor/+", "$SYS/monitor/Clients"},
      {"+/monitor/Clients", "$SYS/monitor/Clients"},
      {"a/#/b", "a/x/b"},
      {"a/b", "a/b/"},
      {"a//b", "a//b"},
      {"/", "/"},
      {"//", "/"},
      {"$share/group/a/+", "a/b"},
      {"$share/group/#", "$SYS/x"},
      {"$share//a", "a"},
      {"$share/g+/a", "a"},
      {"$share/g", "g"},
      {"$share/g/", ""},
      {"", "a"},
  }};
  Corpus corpus;
  for (const auto& [filter, topic] : kPairs) {
    corpus[fmt::format("pair-{:02}", corpus.size())] = std::string(filter) + '\xFF' + std::string(topic);
  }
  return corpus;
}

void expect_in_tree(const std::string& name, const Corpus& corpus) {
  const std::filesystem::path folder = std::filesystem::path(VIGIL_SOURCE_DIR) / "fuzz/corpus" / name;
  const bool write = std::getenv("VIGIL_WRITE_CORPUS") != nullptr;
  if (write) std::filesystem::create_directories(folder);
  for (const auto& [file, content] : corpus) {
    if (write) std::ofstream(folder / file, std::ios::binary) << content;
    std::ifstream in(folder / file, std::ios::binary);
    const std::string stored((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    EXPECT_EQ(stored, content) << folder / file << " is not what the samples give; VIGIL_WRITE_CORPUS=1 writes it anew";
  }
}

TEST(Corpus, HoldsAPacketOfEveryKind) { expect_in_tree("mqtt_decoder", decoder_corpus()); }
TEST(Corpus, HoldsTopicsOfEveryKind) { expect_in_tree("mqtt_topic", topic_corpus()); }

}  // namespace
}  // namespace vigil::mqtt
