// What a run found out: once as a table for people, once as a line of JSON for programs.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "load/process_usage.h"

namespace vigil::load {

inline double to_ms(base::Duration duration) { return static_cast<double>(duration.count()) / 1e6; }
inline double to_s(base::Duration duration) { return static_cast<double>(duration.count()) / 1e9; }

struct Times {
  std::uint64_t count = 0;
  base::Duration min{}, p50{}, p90{}, p99{}, max{};
};
// Of a Histogram or of Samples.
template <class All>
Times times_of(const All& all) {
  if (all.empty()) return {};
  return {all.size(), all.min(), all.quantile(0.5), all.quantile(0.9), all.quantile(0.99), all.max()};
}

class Report {
 public:
  // `key` is the name in JSON and carries the unit; `label` is for people.
  void count(const std::string& key, const std::string& label, std::uint64_t value);
  void number(const std::string& key, const std::string& label, double value, int digits, const std::string& unit);
  void times(const std::string& key, const std::string& label, const Times& times);
  // In JSON only.
  void detail(const std::string& key, nlohmann::ordered_json value);

  const nlohmann::ordered_json& json() const { return json_; }
  std::string table() const;

 private:
  struct Line {
    std::string label;
    std::string value;
  };
  struct TimesLine {
    std::string label;
    Times times;
  };
  std::vector<Line> lines_;
  std::vector<TimesLine> times_;
  nlohmann::ordered_json json_ = nlohmann::ordered_json::object();
};

// What the broker's process and this one use between two moments. Without a process id only this one is seen.
class UsageMeter {
 public:
  // Throws when there is no such process.
  explicit UsageMeter(pid_t broker_pid);
  void begin();
  // What was used since begin() until now.
  void end();
  // Ends later for the broker: what it put off belongs to the work.
  void end_broker();

  bool sees_broker() const { return pid_ != 0; }
  base::Duration wall() const { return wall_; }
  Usage broker() const;
  std::uint64_t resident_before() const { return before_.resident_bytes; }
  std::uint64_t resident_after() const { return after_.resident_bytes; }

  // CPU of the broker for each of `units` ("broker_us_per_message"), in the kernel thereof, and of this process.
  void report(Report& report, const std::string& unit, std::uint64_t units) const;

 private:
  pid_t pid_;
  Usage before_, after_, own_before_, own_after_;
  base::Instant begun_;
  base::Duration wall_{};
};

// A line on stderr at most once a second, unless told to be quiet.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}
  template <class Text>
  void tell(Text&& text) {
    if (quiet_ || !due()) return;
    say(text());
  }
  void say(const std::string& text) const;

 private:
  bool due();
  bool quiet_;
  base::Instant next_;
  base::Instant begun_;
};

}  // namespace vigil::load
