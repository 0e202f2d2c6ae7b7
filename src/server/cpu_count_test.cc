#include "server/cpu_count.h"

#include <gtest/gtest.h>

#include <map>

namespace vigil::server {
namespace {

using Files = std::map<std::string, std::string>;

std::optional<unsigned> by(const Files& files) {
  return cgroup_cpus([&files](const std::string& path) -> std::optional<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    return found->second;
  });
}

TEST(CpuMax, IsQuotaByPeriodRoundedUp) {
  EXPECT_EQ(cpus_of_cpu_max("200000 100000\n"), 2U);
  EXPECT_EQ(cpus_of_cpu_max("150000 100000\n"), 2U);
  EXPECT_EQ(cpus_of_cpu_max("50000 100000\n"), 1U);
  EXPECT_EQ(cpus_of_cpu_max("1000 100000"), 1U);
}

TEST(CpuMax, MayBeNone) {
  EXPECT_EQ(cpus_of_cpu_max("max 100000\n"), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max(""), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max("200000"), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max("200000 0"), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max("0 100000"), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max("2x 100000"), std::nullopt);
  EXPECT_EQ(cpus_of_cpu_max("99999999999999999999 100000"), std::nullopt);
}

TEST(CfsQuota, IsQuotaByPeriodRoundedUpOrNone) {
  EXPECT_EQ(cpus_of_cfs("250000\n", "100000\n"), 3U);
  EXPECT_EQ(cpus_of_cfs("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(cpus_of_cfs("", "100000"), std::nullopt);
}

TEST(Cgroup, TheLeastQuotaOfAGroupAndItsAncestorsHolds) {
  EXPECT_EQ(by({{"/proc/self/cgroup", "0::/system.slice/vigilmq.service\n"},
                {"/sys/fs/cgroup/system.slice/vigilmq.service/cpu.max", "max 100000\n"},
                {"/sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n"}}),
            3U);
  EXPECT_EQ(by({{"/proc/self/cgroup", "0::/system.slice/vigilmq.service\n"},
                {"/sys/fs/cgroup/system.slice/vigilmq.service/cpu.max", "200000 100000\n"},
                {"/sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n"}}),
            2U);
}

TEST(Cgroup, AContainersOwnGroupIsTheRoot) {
  EXPECT_EQ(by({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "100000 100000\n"}}), 1U);
  EXPECT_EQ(by({{"/proc/self/cgroup", "0::/../../other\n"}, {"/sys/fs/cgroup/cpu.max", "100000 100000\n"}}), 1U);
}

TEST(Cgroup, Version1HasFilesOfItsOwn) {
  EXPECT_EQ(by({{"/proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/docker/12ab\n1:name=systemd:/x\n"},
                {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n"},
                {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}}),
            4U)
      << "the container sees its group as the root, under the name that it has on the host";
  EXPECT_EQ(by({{"/proc/self/cgroup", "3:cpuset:/\n2:cpu:/a\n"},
                {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n"},
                {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"}}),
            1U);
}

TEST(Cgroup, WithoutAQuotaThereIsNone) {
  EXPECT_EQ(by({}), std::nullopt);
  EXPECT_EQ(by({{"/proc/self/cgroup", "0::/user.slice\n"}}), std::nullopt);
  EXPECT_EQ(by({{"/proc/self/cgroup", "no colons\n:\n"}}), std::nullopt);
}

TEST(UsableCpus, IsAtLeastOne) { EXPECT_GE(usable_cpus(), 1U); }

}  // namespace
}  // namespace vigil::server
