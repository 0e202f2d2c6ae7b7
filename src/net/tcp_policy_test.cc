#include "net/tcp_policy.h"

#include <gtest/gtest.h>

namespace vigil::net {
namespace {

TEST(TcpPolicy, TcpNeverGivesUpBeforeTheKeepAlive) {
  TcpPolicy policy;
  EXPECT_EQ(policy.idle_timeout(60), base::seconds(90));
  EXPECT_EQ(policy.idle_timeout(10), base::seconds(15));
  EXPECT_EQ(policy.idle_timeout(1), base::seconds(5));
  EXPECT_EQ(policy.in_flight_timeout(60), base::seconds(90));
  policy.user_timeout = base::seconds(2);
  EXPECT_EQ(policy.idle_timeout(60), base::seconds(90));
  policy.user_timeout = base::seconds(0);
  EXPECT_EQ(policy.idle_timeout(60), base::seconds(90));
  policy.keepalive_idle = base::seconds(0);
  EXPECT_EQ(policy.idle_timeout(60), base::seconds(90));
}

TEST(TcpPolicy, AnIdleConnectionOutlivesAllButTheLastProbe) {
  TcpPolicy policy;
  const base::Duration all_probes = base::seconds(60 + 6 * 10);
  EXPECT_EQ(policy.idle_timeout(0), all_probes);
  EXPECT_EQ(policy.idle_timeout(65'535), all_probes);
  EXPECT_EQ(policy.in_flight_timeout(0), base::seconds(30));
  policy.user_timeout = base::seconds(300);
  EXPECT_EQ(policy.idle_timeout(0), base::seconds(300));
  policy.user_timeout = base::seconds(0);
  EXPECT_EQ(policy.idle_timeout(0), base::seconds(0)) << "the count of probes decides";
  policy.keepalive_idle = base::seconds(0);
  EXPECT_EQ(policy.idle_timeout(65'535), base::seconds(120));
}

}  // namespace
}  // namespace vigil::net
