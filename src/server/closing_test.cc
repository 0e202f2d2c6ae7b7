#include "server/closing.h"

#include <gtest/gtest.h>

namespace vigil::server {
namespace {

using broker::DisconnectReason;

TEST(ClosingOf, ReadsOnForClientsThatDoNotExpectTheEnd) {
  EXPECT_EQ(closing_of(DisconnectReason::SessionTakenOver), net::Closing::PeerDoesNotExpectIt);
  EXPECT_EQ(closing_of(DisconnectReason::ConnectionRefused), net::Closing::PeerDoesNotExpectIt);
  EXPECT_EQ(closing_of(DisconnectReason::ServerShutdown), net::Closing::PeerDoesNotExpectIt);
}

TEST(ClosingOf, SpendsNoTimeOnClientsThatEndedByThemselves) {
  EXPECT_EQ(closing_of(DisconnectReason::ClientDisconnect), net::Closing::PeerSaidGoodbye);
  EXPECT_EQ(closing_of(DisconnectReason::ClientDisconnectWithWill), net::Closing::Plain);
  EXPECT_EQ(closing_of(DisconnectReason::ConnectionClosed), net::Closing::Plain);
}

TEST(ClosingOf, SpendsNoTimeOnClientsThatNeverSaidWhoTheyAre) {
  EXPECT_EQ(closing_of(DisconnectReason::ConnectTimeout), net::Closing::Plain);
}

TEST(ClosingOf, TellsSilentFromStuckClients) {
  EXPECT_EQ(closing_of(DisconnectReason::KeepAliveTimeout), net::Closing::PeerIsSilent);
  EXPECT_EQ(closing_of(DisconnectReason::WriteStalled), net::Closing::PeerIsStuck);
}

}  // namespace
}  // namespace vigil::server
