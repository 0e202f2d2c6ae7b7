// How many processor cores this process may use: fewer than the machine has where an affinity (taskset, cpusets) or a
// quota of its control group (containers, CPUQuota= of systemd) says so.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace vigil::server {

// At least 1. A quota counts rounded up: with 1.5 cores two threads have work.
unsigned usable_cpus();

// The contents of a file; none if it cannot be read.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;

// The quota in force, in cores rounded up, by /proc/self/cgroup and the files of both versions below /sys/fs/cgroup;
// the least of the group's and its ancestors'. None if there is none.
std::optional<unsigned> cgroup_cpus(const ReadFile& read);

// Of version 2's cpu.max: "150000 100000" is 2 cores; "max 100000" and what cannot be read are none.
std::optional<unsigned> cpus_of_cpu_max(std::string_view text);
// Of version 1's cpu.cfs_quota_us (-1: none) and cpu.cfs_period_us.
std::optional<unsigned> cpus_of_cfs(std::string_view quota_us, std::string_view period_us);

}  // namespace vigil::server
