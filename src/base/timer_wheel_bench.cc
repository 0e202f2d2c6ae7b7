#include "base/timer_wheel.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "base/random.h"

namespace vigil::base {
namespace {

// A shard full of sessions that are heard in time: each timer comes due after 90 s and is armed anew, the wheel
// advances each millisecond. One iteration is one second of virtual time, so time per iteration over 1 s is the share
// of a core.
void IdleSessionsAtOneMillisecond(benchmark::State& state) {
  const auto sessions = static_cast<std::uint64_t>(state.range(0));
  const Duration period = seconds(90);
  Random random(1);
  Instant now;
  TimerWheel wheel(now);
  for (std::uint64_t i = 0; i < sessions; ++i) {
    wheel.arm(now + Duration(random.below(static_cast<std::uint64_t>(period.count()))), {0, i});
  }
  std::vector<TimerOwner> fired;
  std::int64_t rearmed = 0;
  std::chrono::steady_clock::duration worst{};
  for (auto _ : state) {
    for (int ms = 0; ms < 1000; ++ms) {
      now += milliseconds(1);
      const auto begin = std::chrono::steady_clock::now();
      fired.clear();
      wheel.advance(now, fired);
      for (const TimerOwner& owner : fired) wheel.arm(now + period, owner);
      worst = std::max(worst, std::chrono::steady_clock::now() - begin);
      rearmed += static_cast<std::int64_t>(fired.size());
    }
  }
  state.SetItemsProcessed(rearmed);
  state.counters["per_rearm"] =
      benchmark::Counter(static_cast<double>(rearmed), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["cpu_share"] = benchmark::Counter(static_cast<double>(state.iterations()),
                                                   benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["worst_tick_us"] =
      static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(worst).count());
}
BENCHMARK(IdleSessionsAtOneMillisecond)->Arg(10'000)->Arg(1'000'000)->Iterations(180)->Unit(benchmark::kMillisecond);

// One timer more in a wheel of so many, and away with it.
void ArmAndCancel(benchmark::State& state) {
  Random random(1);
  TimerWheel wheel(Instant::from_ns(0));
  for (std::int64_t i = 0; i < state.range(0); ++i) wheel.arm(Instant::from_ns(0) + seconds(random.below(3600)), {});
  for (auto _ : state) {
    const TimerId id = wheel.arm(Instant::from_ns(0) + milliseconds(random.below(3'600'000)), {});
    benchmark::DoNotOptimize(wheel.cancel(id));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ArmAndCancel)->RangeMultiplier(10)->Range(1'000, 1'000'000);

// Any of so many timers is moved: memory decides.
void Move(benchmark::State& state) {
  Random random(1);
  TimerWheel wheel(Instant::from_ns(0));
  std::vector<TimerId> ids;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    ids.push_back(wheel.arm(Instant::from_ns(0) + milliseconds(random.below(3'600'000)), {}));
  }
  for (auto _ : state) {
    wheel.move(ids[random.below(ids.size())], Instant::from_ns(0) + milliseconds(random.below(3'600'000)));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Move)->RangeMultiplier(10)->Range(1'000, 1'000'000);

}  // namespace
}  // namespace vigil::base
