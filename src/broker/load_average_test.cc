#include "broker/load_average.h"

namespace vigil::broker {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(LoadAverage, BeginsAtNothing) {
  LoadAverage load;
  EXPECT_THAT(load.per_minute(), ElementsAre(0, 0, 0));
  load.measure(0, base::seconds(10));
  EXPECT_THAT(load.per_minute(), ElementsAre(0, 0, 0));
}

// As a Unix machine's: after one window a steady rate shows to 1 - 1/e.
TEST(LoadAverage, ComesNearASteadyRate) {
  LoadAverage load;
  std::uint64_t total = 0;
  const auto run = [&](int seconds) {
    for (int i = 0; i < seconds; i += 10) load.measure(total += 20, base::seconds(10));  // 120 a minute
  };
  const auto after = [](double minutes, double window) { return 120 * (1 - std::exp(-minutes / window)); };
  run(60);
  EXPECT_THAT(load.per_minute(), ElementsAre(DoubleNear(after(1, 1), 1e-6), DoubleNear(after(1, 5), 1e-6),
                                             DoubleNear(after(1, 15), 1e-6)));
  EXPECT_NEAR(load.per_minute()[0], 75.85, 0.01);
  run(4 * 60);
  EXPECT_NEAR(load.per_minute()[1], after(5, 5), 1e-6);
  run(3600);
  EXPECT_NEAR(load.per_minute()[0], 120, 1e-6);
  EXPECT_NEAR(load.per_minute()[2], 120, 3);
}

TEST(LoadAverage, FadesWhenNothingHappens) {
  LoadAverage load;
  load.measure(1000, base::seconds(60));
  const auto before = load.per_minute();
  load.measure(1000, base::seconds(60));
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double window = static_cast<double>(LoadAverage::kWindows[i].count());
    EXPECT_NEAR(load.per_minute()[i], before[i] * std::exp(-1 / window), 1e-9);
  }
}

// How often it is measured changes nothing of a steady rate.
TEST(LoadAverage, DoesNotDependOnTheInterval) {
  LoadAverage often;
  LoadAverage seldom;
  for (int i = 1; i <= 300; ++i) often.measure(7U * i, base::seconds(1));
  seldom.measure(2100, base::seconds(300));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(often.per_minute()[i], seldom.per_minute()[i], 1e-6);
}

TEST(LoadAverage, OfNoTimeIsNoRate) {
  LoadAverage load;
  load.measure(5, base::Duration(0));
  EXPECT_THAT(load.per_minute(), ElementsAre(0, 0, 0));
  // It is not lost: the next measurement has it.
  load.measure(5, base::seconds(60));
  EXPECT_NEAR(load.per_minute()[0], 5 * (1 - std::exp(-1)), 1e-9);
}

}  // namespace
}  // namespace vigil::broker
