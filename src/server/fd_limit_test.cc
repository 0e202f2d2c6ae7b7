#include "server/fd_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace vigil::server {
namespace {

TEST(FdBudget, LeavesWhatTheBrokerDoesNotNeedItself) {
  EXPECT_EQ(own_descriptors(2), 208U);
  const FdBudget budget = fd_budget(20'000, 80, 0);
  EXPECT_EQ(budget.connections, 19'920U);
  EXPECT_EQ(budget.warning, "");
}

TEST(FdBudget, GivesNoMoreThanWanted) {
  const FdBudget budget = fd_budget(1080, 80, 1000);
  EXPECT_EQ(budget.connections, 1000U);
  EXPECT_EQ(budget.warning, "");
}

TEST(FdBudget, SaysWhatToDoWhenTheLimitIsTooLow) {
  const FdBudget budget = fd_budget(1024, 80, 50'000);
  EXPECT_EQ(budget.connections, 944U);
  EXPECT_EQ(budget.warning,
            "Only 944 of the 50000 connections of limits.max_connections can be open at once, because this process may "
            "have 1024 files open. Allow 50080 (LimitNOFILE=50080 in the systemd unit, or `ulimit -n 50080` before the "
            "start), or lower limits.max_connections.");
}

TEST(FdBudget, SaysSoWhenNoConnectionFits) {
  const FdBudget budget = fd_budget(80, 80, 0);
  EXPECT_EQ(budget.connections, 0U);
  EXPECT_EQ(
      budget.warning,
      "No connection can be open, because this process may have only 80 files open and needs 80 for itself. Allow "
      "more (LimitNOFILE= in the systemd unit, or `ulimit -n` before the start).");
}

TEST(FdBudget, TakesNoLimitAsManyConnections) { EXPECT_EQ(fd_budget(UINT64_MAX, 80, 0).connections, UINT32_MAX); }

TEST(FdLimit, RaisesTheSoftLimitToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low{256, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const FdBudget budget = raise_fd_limit(1, 0);
  rlimit after{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &after), 0);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_EQ(budget.open_files, before.rlim_max);
  EXPECT_EQ(budget.connections, fd_budget(before.rlim_max, own_descriptors(1), 0).connections);
}

}  // namespace
}  // namespace vigil::server
