// What matching, subscribing and unsubscribing cost, by the number of filters held; and what a subscription takes in
// memory.
#include <malloc.h>

#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "base/random.h"
#include "topics/interest_index.h"
#include "topics/retained_tree.h"
#include "topics/subscription_tree.h"

namespace vigil::topics {
namespace {

mqtt::TopicFilter plain(std::string_view filter) { return {.filter = filter, .group = {}}; }
Subscription by(SubscriberId subscriber) { return {.subscriber = subscriber, .subscription_id = 0, .options = {}}; }

std::vector<std::string> numbered(std::size_t count, const std::string& before, const std::string& after) {
  std::vector<std::string> names;
  names.reserve(count);
  for (std::size_t i = 0; i < count; ++i) names.push_back(before + std::to_string(i) + after);
  return names;
}

std::unique_ptr<SubscriptionTree> tree_of(const std::vector<std::string>& filters) {
  auto tree = std::make_unique<SubscriptionTree>();
  for (std::size_t i = 0; i < filters.size(); ++i) tree->add(plain(filters[i]), by(i));
  return tree;
}

// One topic over and over: the cache answers.
void match_repeated(benchmark::State& state) {
  const auto tree = tree_of(numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd"));
  for (auto _ : state) benchmark::DoNotOptimize(tree->match("device/7/cmd"));
}
BENCHMARK(match_repeated)->Arg(10)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// Topics in random order out of as many as there are filters: above some thousand the cache hardly ever answers.
void match_random(benchmark::State& state) {
  const auto topics = numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd");
  const auto tree = tree_of(topics);
  base::Random random(1);
  for (auto _ : state) benchmark::DoNotOptimize(tree->match(topics[random.below(topics.size())]));
}
BENCHMARK(match_random)->Arg(10)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// Topics of which each is new, while a few wildcards match them.
void match_new_topics(benchmark::State& state) {
  const auto topics = numbered(100'000, "device/", "/telemetry");
  const auto tree = tree_of(numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd"));
  tree->add(plain("device/+/telemetry"), by(1));
  tree->add(plain("#"), by(2));
  std::size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(tree->match(topics[next++ % topics.size()]));
}
BENCHMARK(match_new_topics)->Arg(10)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// Topics nobody asked for.
void match_nobody(benchmark::State& state) {
  const auto topics = numbered(100'000, "other/", "/telemetry");
  const auto tree = tree_of(numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd"));
  std::size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(tree->match(topics[next++ % topics.size()]));
}
BENCHMARK(match_nobody)->Arg(10)->Arg(1'000'000);

void interest_random(benchmark::State& state) {
  const auto topics = numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd");
  InterestIndex index;
  for (std::size_t i = 0; i < topics.size(); ++i) index.add(topics[i], i % 4);
  base::Random random(1);
  for (auto _ : state) benchmark::DoNotOptimize(index.match(topics[random.below(topics.size())]));
}
BENCHMARK(interest_random)->Arg(10)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// A filter comes and goes beside the others.
void add_and_remove(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const auto tree = tree_of(numbered(count, "device/", "/cmd"));
  const auto more = numbered(1'000, "device/new", "/cmd");
  std::size_t next = 0;
  for (auto _ : state) {
    const auto& filter = more[next++ % more.size()];
    tree->add(plain(filter), by(1));
    tree->remove(plain(filter), 1);
  }
}
BENCHMARK(add_and_remove)->Arg(10)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// A subscriber comes and goes on a filter that many hold.
void add_and_remove_on_one_filter(benchmark::State& state) {
  SubscriptionTree tree;
  const auto count = static_cast<SubscriberId>(state.range(0));
  for (SubscriberId id = 0; id < count; ++id) tree.add(plain("news/#"), by(id));
  SubscriberId next = 0;
  for (auto _ : state) {
    const SubscriberId id = next++ % count;
    tree.remove(plain("news/#"), id);
    tree.add(plain("news/#"), by(id));
  }
}
BENCHMARK(add_and_remove_on_one_filter)->Arg(10)->Arg(100'000);

void retained_lookup(benchmark::State& state) {
  const auto topics = numbered(static_cast<std::size_t>(state.range(0)), "device/", "/state");
  RetainedTree<std::shared_ptr<int>> tree;
  for (const auto& topic : topics) tree.set(topic, nullptr);
  base::Random random(1);
  for (auto _ : state) {
    tree.for_each_match(topics[random.below(topics.size())], [](std::string_view topic, std::shared_ptr<int>& value) {
      benchmark::DoNotOptimize(topic);
      benchmark::DoNotOptimize(value);
    });
  }
}
BENCHMARK(retained_lookup)->Arg(1'000)->Arg(1'000'000);

void retained_scan(benchmark::State& state) {
  RetainedTree<std::shared_ptr<int>> tree;
  for (const auto& topic : numbered(static_cast<std::size_t>(state.range(0)), "device/", "/state"))
    tree.set(topic, nullptr);
  for (auto _ : state) {
    std::size_t found = 0;
    tree.for_each_match("device/+/state", [&](std::string_view, std::shared_ptr<int>&) { ++found; });
    benchmark::DoNotOptimize(found);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(retained_scan)->Arg(1'000)->Arg(100'000);

// bytes_each: what the allocator gave for one of them, all included.
template <class Tree, class Fill>
void memory_of(benchmark::State& state, Fill fill) {
  const auto names = numbered(static_cast<std::size_t>(state.range(0)), "device/", "/cmd");
  double bytes = 0;
  for (auto _ : state) {
    Tree tree;
    const auto before = mallinfo2();
    for (const auto& name : names) fill(tree, name);
    const auto after = mallinfo2();
    bytes = static_cast<double>(after.uordblks + after.hblkhd) - static_cast<double>(before.uordblks + before.hblkhd);
  }
  state.counters["bytes_each"] = bytes / static_cast<double>(names.size());
}
void memory_of_subscriptions(benchmark::State& state) {
  memory_of<SubscriptionTree>(state, [](auto& tree, const auto& name) { tree.add(plain(name), by(1)); });
}
void memory_of_interests(benchmark::State& state) {
  memory_of<InterestIndex>(state, [](auto& index, const auto& name) { index.add(name, 1); });
}
void memory_of_retained_topics(benchmark::State& state) {
  memory_of<RetainedTree<void*>>(state, [](auto& tree, const auto& name) { tree.set(name, nullptr); });
}
BENCHMARK(memory_of_subscriptions)->Arg(200'000)->Arg(1'000'000)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(memory_of_interests)->Arg(200'000)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(memory_of_retained_topics)->Arg(200'000)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vigil::topics
