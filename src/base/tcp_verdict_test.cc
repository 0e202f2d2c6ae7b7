#include "base/tcp_verdict.h"

namespace vigil::base {
namespace {

TEST(Evidence, NoTcpConnectionSaysNothing) { EXPECT_EQ(judge(std::nullopt, seconds(90)), TcpVerdict::NothingKnown); }

TEST(Evidence, NothingUnderWaySinceTheLastPacketSaysNothing) {
  const TcpEvidence e{.last_ack_received_ms = 89'950, .last_data_received_ms = 90'000, .last_data_sent_ms = 90'000};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NothingKnown);
}

TEST(Evidence, AnAcknowledgementAfterThePeerShouldHaveSpokenMeansThatItHangs) {
  TcpEvidence e{.last_ack_received_ms = 30'000, .last_data_received_ms = 90'000, .last_data_sent_ms = 30'001};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::PeerAcknowledges);
  // Before that, it says that the peer's machine lived then, and no more.
  e.last_ack_received_ms = 30'001;
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NothingKnown);
}

TEST(Evidence, BytesOfAnUnfinishedPacketShowTheKernelToo) {
  const TcpEvidence e{.last_ack_received_ms = 90'000, .last_data_received_ms = 200};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::PeerAcknowledges);
}

TEST(Evidence, RetransmissionsWithoutAnAnswerMeanThatNobodyAcknowledges) {
  const TcpEvidence e{.unacknowledged_bytes = 10,
                      .unacknowledged_segments = 1,
                      .retransmits = 3,
                      .last_ack_received_ms = 2'000,
                      .last_data_received_ms = 3'000};
  EXPECT_EQ(judge(e, seconds(3)), TcpVerdict::NobodyAcknowledges);
  // Also when that began late in a long silence.
  EXPECT_EQ(judge(e, seconds(3600)), TcpVerdict::NobodyAcknowledges);
}

TEST(Evidence, OneLossJustNowIsNotHeldAgainstThePeer) {
  TcpEvidence e{
      .unacknowledged_bytes = 10, .retransmits = 1, .last_ack_received_ms = 900, .last_data_received_ms = 9'000};
  EXPECT_EQ(judge(e, seconds(9)), TcpVerdict::PeerAcknowledges);
  // A long way is given more time.
  e.last_ack_received_ms = 2'900;
  EXPECT_EQ(judge(e, seconds(9)), TcpVerdict::NobodyAcknowledges);
  e.rtt_us = 500'000;
  EXPECT_EQ(judge(e, seconds(9)), TcpVerdict::PeerAcknowledges);
}

TEST(Evidence, DataSentJustNowProvesNothing) {
  const TcpEvidence e{.unacknowledged_bytes = 10,
                      .unacknowledged_segments = 1,
                      .last_ack_received_ms = 90'000,
                      .last_data_received_ms = 90'000,
                      .last_data_sent_ms = 1};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NothingKnown);
}

TEST(Evidence, ProbesWithoutAnAnswerMeanThatNobodyAcknowledges) {
  TcpEvidence e{.probes = 2, .last_ack_received_ms = 70'000, .last_data_received_ms = 90'000};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NobodyAcknowledges);
  // The answer to a first probe may be on its way.
  e.probes = 1;
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NothingKnown);
}

TEST(Evidence, AFullWindowThatIsAnsweredIsAStuckReader) {
  const TcpEvidence e{
      .unsent_bytes = 100'000, .backoff = 6, .last_ack_received_ms = 8'000, .last_data_received_ms = 90'000};
  EXPECT_EQ(judge(e, seconds(60)), TcpVerdict::PeerAcknowledges);
}

TEST(Evidence, AFullWindowThatIsNotAnsweredAnyMoreIsNobody) {
  // What the kernel says when the cable is cut while it tries a full window: no retransmits are counted.
  TcpEvidence e{.unacknowledged_bytes = 32'768,
                .unacknowledged_segments = 1,
                .backoff = 5,
                .last_ack_received_ms = 9'000,
                .last_data_received_ms = 90'000,
                .last_data_sent_ms = 2'900};
  EXPECT_EQ(judge(e, seconds(60)), TcpVerdict::NobodyAcknowledges);
  e.last_ack_received_ms = e.last_data_sent_ms;
  EXPECT_EQ(judge(e, seconds(60)), TcpVerdict::PeerAcknowledges);
}

TEST(Evidence, TheKernelsOwnVerdictDecides) {
  const TcpEvidence e{.last_ack_received_ms = 100, .last_data_received_ms = 100, .state = 7, .timed_out = true};
  EXPECT_EQ(judge(e, seconds(90)), TcpVerdict::NobodyAcknowledges);
}

}  // namespace
}  // namespace vigil::base
