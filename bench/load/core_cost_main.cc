// core_cost: one scenario of core_cost.h, to be run by bench/cost under callgrind. By itself it prints how many units
// were worked off, and how many allocations that took.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <nlohmann/json.hpp>

#include "core_cost.h"

namespace {

std::uint64_t allocations = 0;

void* counted(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

// callgrind collects while this runs, so it must be a function of its own.
extern "C" [[gnu::noinline]] void measured_rounds(vigil::bench::Work& work, std::size_t rounds) {
  for (std::size_t i = 0; i < rounds; ++i) work.round();
}

namespace {

int run(int argc, char** argv) {
  std::string scenario = "pairs-qos0";
  std::size_t rounds = 4;
  unsigned shards = 0;
  bool list = false;
  CLI::App app{"Runs one fixed scenario through the broker's core; bench/cost counts what it costs.", "core_cost"};
  app.add_flag("--list", list, "the scenarios, and what is counted in each");
  app.add_option("--scenario", scenario, "which one")->capture_default_str();
  app.add_option("--rounds", rounds, "how often")->check(CLI::Range(1, 10'000))->capture_default_str();
  app.add_option("--shards", shards, "on so many shards; 0: as many as its name says")->check(CLI::Range(0, 64));
  CLI11_PARSE(app, argc, argv);
  if (list) {
    for (const auto& one : vigil::bench::scenarios()) fmt::print("{} {}\n", one.name, one.unit);
    return 0;
  }
  try {
    const auto work = vigil::bench::prepare(scenario, rounds, shards);
    const std::uint64_t before = allocations;
    measured_rounds(*work, rounds);
    const std::uint64_t during = allocations - before;
    work->check();
    const nlohmann::json report = {{"scenario", scenario}, {"units", work->each() * rounds}, {"allocations", during}};
    fmt::print("{}\n", report.dump());
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "core_cost: {}: {}\n", scenario, error.what());
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv); }
