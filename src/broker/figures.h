// The broker's figures: one table says what each is called and how it follows from the counters. $SYS/broker is made
// of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "broker/load_average.h"
#include "broker/stats.h"

namespace vigil::broker {

// One row. Topics are named as below $SYS/broker/.
struct Figure {
  std::string_view name;
  std::uint64_t (*value)(const Stats& broker);
  std::string_view also;  // a second topic for it, where mosquitto has one
  std::string_view load;  // below load/: how much it grows in a minute, averaged
};

std::span<const Figure> figures();

// The topics under $SYS/broker. They speak of the whole broker, so one shard publishes them.
class FigureTexts {
 public:
  struct Text {
    std::string topic;  // in full
    std::string text;
  };
  // The texts that have changed since the last call. `broker` is the sum of all shards.
  std::vector<Text> update(const Stats& broker, std::string_view version, base::Duration uptime);
  // The next update brings all of them, changed or not.
  void publish_all_again() { last_.clear(); }

 private:
  std::vector<std::string> last_;   // in the order in which update() makes them
  std::vector<LoadAverage> loads_;  // of the figures that have them
  base::Duration measured_at_{};    // uptime at the last update
  std::uint64_t most_clients_ = 0;
};

}  // namespace vigil::broker
