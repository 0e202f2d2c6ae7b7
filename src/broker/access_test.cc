#include "broker/access.h"

namespace vigil::broker {
namespace {

TEST(Access, TheBrokersTopicsAreItsOwn) {
  for (const std::string_view topic :
       {"$SYS", "$SYS/", "$SYS/x", "$SYS/broker/version", "$SYS/clients/a/state", "$SYS/broker/connection",
        "$SYS/broker/connection/a", "$SYS/broker/connection/state", "$SYS/broker/connection//state",
        "$SYS/broker/connection/a/b/state", "$SYS/broker/connection/a/state/", "$SYS/broker/connection/a/states",
        "$SYS/broker/connections/a/state", "$share/g/t"}) {
    EXPECT_FALSE(may_publish({}, topic)) << topic;
  }
}

TEST(Access, BridgesTellTheirState) {
  for (const std::string_view topic : {"$SYS/broker/connection/a/state", "$SYS/broker/connection/host.name/state"}) {
    EXPECT_TRUE(may_publish({}, topic)) << topic;
    EXPECT_FALSE(is_brokers_own(topic)) << topic;
  }
}

TEST(Access, OtherTopicsAreFree) {
  for (const std::string_view topic :
       {"a", "/", "SYS/x", "$SYSTEM", "$SYSTEM/x", "$sys/x", "$own/x", "$", "$share", "a/$SYS/b"})
    EXPECT_TRUE(may_publish({}, topic)) << topic;
}

}  // namespace
}  // namespace vigil::broker
