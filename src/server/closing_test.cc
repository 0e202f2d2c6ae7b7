#include "server/closing.h"

#include <gtest/gtest.h>

namespace vigil::server {
namespace {

using broker::DisconnectReason;

TEST(ClosingOf, ReadsOnForClientsThatDoNotExpectTheEnd) {
  EXPECT_EQ(closing_of(DisconnectReason::SessionTakenOver), Closing::PeerDoesNotExpectIt);
  EXPECT_EQ(closing_of(DisconnectReason::ConnectionRefused), Closing::PeerDoesNotExpectIt);
  EXPECT_EQ(closing_of(DisconnectReason::ServerShutdown), Closing::PeerDoesNotExpectIt);
}

TEST(ClosingOf, SpendsNoTimeOnClientsThatEndedByThemselves) {
  EXPECT_EQ(closing_of(DisconnectReason::ClientDisconnect), Closing::PeerSaidGoodbye);
  EXPECT_EQ(closing_of(DisconnectReason::ClientDisconnectWithWill), Closing::Plain);
  EXPECT_EQ(closing_of(DisconnectReason::ConnectionClosed), Closing::Plain);
}

TEST(ClosingOf, SpendsNoTimeOnClientsThatNeverSaidWhoTheyAre) {
  EXPECT_EQ(closing_of(DisconnectReason::ConnectTimeout), Closing::Plain);
}

TEST(ClosingOf, TellsSilentFromStuckClients) {
  EXPECT_EQ(closing_of(DisconnectReason::KeepAliveTimeout), Closing::PeerIsSilent);
  EXPECT_EQ(closing_of(DisconnectReason::WriteStalled), Closing::PeerIsStuck);
}

}  // namespace
}  // namespace vigil::server
