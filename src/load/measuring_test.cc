// Histogram, samples, rings, stamps and topics: what measures must be right itself.
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "base/random.h"
#include "load/generator.h"
#include "load/histogram.h"
#include "load/report.h"
#include "load/ring.h"
#include "load/samples.h"
#include "load/stamp.h"

namespace vigil::load {
namespace {

using base::Duration;
using base::Instant;

TEST(Histogram, IsWithinOnePercentOfSamples) {
  base::Random random(3);
  const auto histogram = std::make_unique<Histogram>();
  Samples samples;
  for (int i = 0; i < 20'000; ++i) {
    // From nanoseconds to seconds.
    const Duration value(static_cast<std::int64_t>(random.below(std::uint64_t{1} << (1 + random.below(32)))));
    histogram->add(value);
    samples.add(value);
  }
  EXPECT_EQ(histogram->size(), samples.size());
  EXPECT_EQ(histogram->min(), samples.min());
  EXPECT_EQ(histogram->max(), samples.max());
  for (const double q : {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto exact = static_cast<double>(samples.quantile(q).count());
    EXPECT_NEAR(static_cast<double>(histogram->quantile(q).count()), exact, exact / 100 + 1) << q;
  }
}

TEST(Histogram, TakesWhatIsOutOfItsRange) {
  const auto histogram = std::make_unique<Histogram>();
  EXPECT_EQ(histogram->quantile(0.5), Duration(0));
  histogram->add(Duration(-5));
  EXPECT_EQ(histogram->max(), Duration(0));
  histogram->add(Duration::max());
  EXPECT_EQ(histogram->quantile(1), histogram->max());
  histogram->clear();
  EXPECT_TRUE(histogram->empty());
}

TEST(Samples, PercentilesAreMeasuredValues) {
  Samples samples;
  for (const int value : {5, -1, 3, 2, 4}) samples.add(Duration(value));
  EXPECT_EQ(samples.quantile(0.5), Duration(3));
  EXPECT_EQ(samples.quantile(0), Duration(-1));
  EXPECT_EQ(samples.quantile(1), Duration(5));
}

TEST(Ring, EachHasItsTurnOnceAnInterval) {
  Ring ring(10, 4, base::milliseconds(100));
  std::vector<std::size_t> turns;
  const Instant start = Instant::from_ns(1'000'000'000);
  const auto note = [&](std::size_t client, Instant) { turns.push_back(client); };
  ring.turn(start, note);
  ring.turn(start + base::milliseconds(49), note);
  EXPECT_EQ(turns, (std::vector<std::size_t>{10, 11}));
  // It makes up for what it missed, with the times when it was due.
  std::vector<Instant> due;
  ring.turn(start + base::milliseconds(125), [&](std::size_t, Instant at) { due.push_back(at); });
  ASSERT_EQ(due.size(), 4U);
  EXPECT_EQ(due.front(), start + base::milliseconds(50));
  EXPECT_EQ(ring.next(), start + base::milliseconds(150));
  EXPECT_TRUE(Ring().next().is_never());
}

TEST(Stamp, ComesBack) {
  std::string payload(8, 'x');
  stamp(payload, Instant::from_ns(77));
  EXPECT_EQ(stamp_of(base::as_bytes(payload)), Instant::from_ns(77));
  std::string small(7, 'x');
  stamp(small, Instant::from_ns(77));
  EXPECT_EQ(small, std::string(7, 'x'));
  EXPECT_FALSE(stamp_of(base::as_bytes(small)).has_value());
}

TEST(Generator, TopicsHavePlaces) {
  Target target;
  target.username = "user";
  EXPECT_EQ(expand("a/%i/%c/%u/%p/%%", "client-3", 3, target), "a/3/client-3/user/load/%");
  EXPECT_EQ(expand("plain%", "c", 0, target), "plain%");
  EXPECT_THROW(expand("%x", "c", 0, target), std::runtime_error);
}

TEST(Report, SaysTheSameToPeopleAndPrograms) {
  Report report;
  report.count("messages", "messages delivered", 1'234'567);
  report.number("cpu_us", "CPU", 1.2345, 2, "us");
  Samples samples;
  samples.add(base::milliseconds(2));
  report.times("latency", "latency", times_of(samples));
  EXPECT_EQ(report.json()["messages"], 1'234'567);
  EXPECT_EQ(report.json()["latency"]["p99_ms"], 2.0);
  EXPECT_NE(report.table().find("1,234,567"), std::string::npos) << report.table();
  EXPECT_NE(report.table().find("1.23 us"), std::string::npos) << report.table();
}

}  // namespace
}  // namespace vigil::load
