#include "load/report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "io/clock.h"

namespace vigil::load {
namespace {

double percent(base::Duration part, base::Duration whole) {
  return whole.count() == 0 ? 0 : 100.0 * static_cast<double>(part.count()) / static_cast<double>(whole.count());
}

std::string grouped(std::uint64_t value) {
  std::string digits = fmt::format("{}", value);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

}  // namespace

void Report::count(const std::string& key, const std::string& label, std::uint64_t value) {
  json_[key] = value;
  lines_.push_back({label, grouped(value)});
}

void Report::number(const std::string& key, const std::string& label, double value, int digits,
                    const std::string& unit) {
  json_[key] = value;
  lines_.push_back({label, fmt::format("{:.{}f}{}{}", value, digits, unit.empty() ? "" : " ", unit)});
}

void Report::times(const std::string& key, const std::string& label, const Times& times) {
  nlohmann::ordered_json one = {{"count", times.count}};
  if (times.count > 0) {
    one["min_ms"] = to_ms(times.min);
    one["p50_ms"] = to_ms(times.p50);
    one["p90_ms"] = to_ms(times.p90);
    one["p99_ms"] = to_ms(times.p99);
    one["max_ms"] = to_ms(times.max);
  }
  json_[key] = std::move(one);
  times_.push_back({label, times});
}

void Report::detail(const std::string& key, nlohmann::ordered_json value) { json_[key] = std::move(value); }

std::string Report::table() const {
  std::size_t width = 0;
  for (const Line& line : lines_) width = std::max(width, line.label.size());
  for (const TimesLine& line : times_) width = std::max(width, line.label.size());
  std::string out;
  for (const Line& line : lines_) out += fmt::format("{:{}}  {}\n", line.label, width, line.value);
  if (times_.empty()) return out;
  out += fmt::format("{}{:{}}  {:>9} {:>10} {:>10} {:>10} {:>10} {:>10}\n", lines_.empty() ? "" : "\n", "milliseconds",
                     width, "count", "min", "p50", "p90", "p99", "max");
  for (const auto& [label, times] : times_) {
    out += fmt::format("{:{}}  {:>9} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f} {:>10.3f}\n", label, width, times.count,
                       to_ms(times.min), to_ms(times.p50), to_ms(times.p90), to_ms(times.p99), to_ms(times.max));
  }
  return out;
}

UsageMeter::UsageMeter(pid_t broker_pid) : pid_(broker_pid) { begin(); }

void UsageMeter::begin() {
  before_ = read_usage(pid_);
  own_before_ = read_usage(getpid());
  begun_ = io::monotonic_now();
}

void UsageMeter::end() {
  wall_ = io::monotonic_now() - begun_;
  own_after_ = read_usage(getpid());
  end_broker();
}

void UsageMeter::end_broker() { after_ = read_usage(pid_); }

Usage UsageMeter::broker() const {
  return {.user = after_.user - before_.user,
          .system = after_.system - before_.system,
          .resident_bytes = after_.resident_bytes};
}

void UsageMeter::report(Report& report, const std::string& unit, std::uint64_t units) const {
  if (sees_broker()) {
    const Usage used = broker();
    const double each = 1e6 / static_cast<double>(std::max<std::uint64_t>(units, 1));
    report.number("broker_us_per_" + unit, "broker, CPU for each " + unit, to_s(used.cpu()) * each, 3, "us");
    report.number("broker_system_us_per_" + unit, "  of it in the kernel", to_s(used.system) * each, 3, "us");
    report.number("broker_cpu_percent", "broker, CPU", percent(used.cpu(), wall_), 1, "% of a core");
    report.number("broker_rss_mib", "broker, resident", static_cast<double>(used.resident_bytes) / (1 << 20U), 1,
                  "MiB");
  }
  report.number("own_cpu_percent", "this process, CPU", percent(own_after_.cpu() - own_before_.cpu(), wall_), 1,
                "% of a core");
}

bool Progress::due() {
  const base::Instant now = io::monotonic_now();
  if (begun_ == base::Instant{}) begun_ = now;
  if (now < next_) return false;
  next_ = now + base::seconds(1);
  return true;
}

void Progress::say(const std::string& text) const {
  if (!quiet_) fmt::print(stderr, "{}\n", text);
}

}  // namespace vigil::load
