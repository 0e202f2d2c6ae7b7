#include "server/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

namespace vigil::server {
namespace {

constexpr std::string_view kBlanks = " \t\n";

// The next word, taken off the text.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
  text.remove_prefix(word.size());
  return word;
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const std::string_view word = next_word(text);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (word.empty() || error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

std::optional<unsigned> cores(std::optional<std::int64_t> quota_us, std::optional<std::int64_t> period_us) {
  if (!quota_us || !period_us || *quota_us <= 0 || *period_us <= 0) return std::nullopt;
  const std::int64_t rounded_up = (*quota_us - 1) / *period_us + 1;
  return static_cast<unsigned>(std::min<std::int64_t>(rounded_up, std::numeric_limits<unsigned>::max()));
}

// A group and its ancestors, itself first: "/a/b", "/a", "". In a container the path may be the host's, of which
// nothing is to be seen; the container's own group then is the root.
std::vector<std::string> upwards(std::string path) {
  if (!path.starts_with('/') || path.starts_with("/..")) path.clear();
  std::vector<std::string> all;
  while (path.size() > 1) {
    all.push_back(path);
    path.resize(path.rfind('/'));
  }
  all.emplace_back();
  return all;
}

bool names_cpu(std::string_view controllers) {
  return controllers == "cpu" || controllers.starts_with("cpu,") || controllers.ends_with(",cpu") ||
         controllers.contains(",cpu,");
}

std::optional<std::string> read_file(const std::string& path) {
  const std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream all;
  all << file.rdbuf();
  return std::move(all).str();
}

unsigned cpus_by_affinity() {
  // A set that is too small for the machine is refused with EINVAL.
  for (unsigned most = 1024; most <= 1U << 20U; most *= 4) {
    const auto release = [](cpu_set_t* set) { CPU_FREE(set); };
    const std::unique_ptr<cpu_set_t, decltype(release)> set(CPU_ALLOC(most), release);
    const std::size_t size = CPU_ALLOC_SIZE(most);
    if (set && ::sched_getaffinity(0, size, set.get()) == 0) {
      return static_cast<unsigned>(std::max(1, CPU_COUNT_S(size, set.get())));
    }
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

std::optional<unsigned> cpus_of_cpu_max(std::string_view text) {
  const auto quota = number(next_word(text));
  return cores(quota, number(text));
}

std::optional<unsigned> cpus_of_cfs(std::string_view quota_us, std::string_view period_us) {
  return cores(number(quota_us), number(period_us));
}

std::optional<unsigned> cgroup_cpus(const ReadFile& read) {
  std::optional<unsigned> least;
  const auto consider = [&least](std::optional<unsigned> cpus) {
    if (cpus && (!least || *cpus < *least)) least = cpus;
  };
  std::istringstream groups(read("/proc/self/cgroup").value_or(""));
  // "0::/system.slice/vigilmq.service" (version 2), "4:cpu,cpuacct:/docker/12ab" (version 1)
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::vector<std::string> paths = upwards(line.substr(second + 1));
    if (controllers.empty()) {
      for (const std::string& path : paths) {
        if (const auto text = read("/sys/fs/cgroup" + path + "/cpu.max")) consider(cpus_of_cpu_max(*text));
      }
    } else if (names_cpu(controllers)) {
      for (const std::string& path : paths) {
        const std::string directory = "/sys/fs/cgroup/" + controllers + path;
        const auto quota = read(directory + "/cpu.cfs_quota_us");
        const auto period = read(directory + "/cpu.cfs_period_us");
        if (quota && period) consider(cpus_of_cfs(*quota, *period));
      }
    }
  }
  return least;
}

unsigned usable_cpus() {
  const unsigned affinity = cpus_by_affinity();
  return std::max(1U, std::min(affinity, cgroup_cpus(read_file).value_or(affinity)));
}

}  // namespace vigil::server
