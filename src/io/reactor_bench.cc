// What a small frame costs to be told of and to read, level- against edge-triggered. Results:
// docs/adr/0001-epoll-trigger.md
#include "io/reactor.h"

#include <benchmark/benchmark.h>
#include <time.h>

#include <array>
#include <thread>

#include "base/check.h"
#include "io/socket.h"

namespace vigil::io {
namespace {

constexpr std::size_t kSockets = 500;
constexpr std::size_t kFrame = 64;

// When a reader stops: at the first read that does not fill its buffer, or only when there is nothing more.
enum class Stop : std::uint8_t { ShortRead, WouldBlock };

struct Connections {
  std::vector<Fd> clients;
  std::vector<Fd> servers;
};

Connections connect_all() {
  Connections all;
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), kSockets).value();
  const Endpoint endpoint = local_endpoint(listener.get()).value();
  while (all.servers.size() < kSockets) {
    all.clients.push_back(connect(endpoint).value());
    auto accepted = accept(listener.get()).value();
    for (; !accepted; accepted = accept(listener.get()).value()) std::this_thread::yield();
    all.servers.push_back(std::move(accepted->fd));
  }
  return all;
}

// Processor time of this thread: on a shared machine others take turns in between.
double cpu_seconds() {
  timespec t{};
  CHECK(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// One round: `active` of 500 connections get a frame each (not timed), then the reactor is asked and all of it is read
// (timed).
void ReadFrames(benchmark::State& state, Trigger trigger, Stop stop) {
  const auto active = static_cast<std::size_t>(state.range(0));
  const Connections connections = connect_all();
  Reactor reactor = Reactor::create().value();
  for (std::size_t i = 0; i < kSockets; ++i) {
    CHECK(reactor.add(connections.servers[i].get(), i, Interest::Read, trigger));
  }
  std::array<std::uint8_t, kFrame> frame{};
  const iovec piece{.iov_base = frame.data(), .iov_len = frame.size()};
  std::vector<std::uint8_t> buffer(64 * 1024);
  std::vector<Ready> ready;
  std::size_t next = 0;
  double total = 0;
  std::uint64_t waits = 0;
  std::uint64_t reads = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < active; ++i, next = (next + 1) % kSockets) {
      CHECK(write(connections.clients[next].get(), {&piece, 1}).n == kFrame);
    }
    const double begin = cpu_seconds();
    for (std::size_t left = active * kFrame; left > 0;) {
      CHECK(reactor.wait(std::nullopt, ready));
      ++waits;
      for (const Ready& r : ready) {
        for (;;) {
          const Transfer done = read(connections.servers[r.token].get(), buffer);
          ++reads;
          left -= done.n;
          if (done.would_block || (stop == Stop::ShortRead && done.n < buffer.size())) break;
        }
      }
    }
    const double spent = cpu_seconds() - begin;
    total += spent;
    state.SetIterationTime(spent);
  }
  // Google Benchmark's own counters divide by the processor time of everything, the writing included.
  const auto frames = static_cast<double>(state.iterations()) * static_cast<double>(active);
  state.counters["ns_per_frame"] = total * 1e9 / frames;
  state.counters["waits_per_frame"] = static_cast<double>(waits) / frames;
  state.counters["reads_per_frame"] = static_cast<double>(reads) / frames;
}
void sizes(benchmark::internal::Benchmark* b) { b->Arg(1)->Arg(10)->Arg(100)->Arg(500)->UseManualTime(); }
BENCHMARK_CAPTURE(ReadFrames, level_short_read, Trigger::Level, Stop::ShortRead)->Apply(sizes);
BENCHMARK_CAPTURE(ReadFrames, edge_short_read, Trigger::Edge, Stop::ShortRead)->Apply(sizes);
BENCHMARK_CAPTURE(ReadFrames, level_would_block, Trigger::Level, Stop::WouldBlock)->Apply(sizes);
BENCHMARK_CAPTURE(ReadFrames, edge_would_block, Trigger::Edge, Stop::WouldBlock)->Apply(sizes);

// What it costs to begin and to end waiting for room to write: what a level-triggered connection pays when its socket
// is full.
void WantWriteAndBack(benchmark::State& state) {
  const Connections connections = connect_all();
  Reactor reactor = Reactor::create().value();
  const int fd = connections.servers[0].get();
  CHECK(reactor.add(fd, 0, Interest::Read));
  for (auto _ : state) {
    CHECK(reactor.modify(fd, 0, Interest::ReadWrite));
    CHECK(reactor.modify(fd, 0, Interest::Read));
  }
}
BENCHMARK(WantWriteAndBack);

}  // namespace
}  // namespace vigil::io
