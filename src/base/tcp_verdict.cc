#include "base/tcp_verdict.h"

#include <algorithm>

namespace vigil::base {
namespace {

// Longer than a retransmission that was lost by chance takes to be answered on any usual path.
constexpr std::int64_t kAnswerWithinMs = 1000;
constexpr std::int64_t kAnswerWithinRoundTrips = 4;

}  // namespace

TcpVerdict judge(const std::optional<TcpEvidence>& evidence, Duration silent_for) {
  using enum TcpVerdict;
  if (!evidence) return NothingKnown;
  const TcpEvidence& e = *evidence;
  if (e.timed_out) return NobodyAcknowledges;
  // Data that acknowledges nothing new does not count as an acknowledgement, but is as good a sign.
  const std::int64_t heard_ms = std::min(e.last_ack_received_ms, e.last_data_received_ms);
  const std::int64_t patience_ms = kAnswerWithinMs + kAnswerWithinRoundTrips * e.rtt_us / 1000;
  // Towards a full window the kernel counts no retransmits; nothing heard since it last sent is the same fact. (Its
  // backoff says nothing: that grows while a peer with a full window answers, too.)
  const bool last_unanswered =
      e.unacknowledged_segments > 0 && heard_ms > e.last_data_sent_ms && e.last_data_sent_ms > patience_ms;
  // A single probe may have been sent just now.
  const bool unanswered = e.retransmits > 0 || e.probes > 1 || last_unanswered;
  if (unanswered && heard_ms > patience_ms) return NobodyAcknowledges;
  const std::int64_t silent_ms = std::chrono::duration_cast<milliseconds>(silent_for).count();
  return heard_ms <= silent_ms / 3 ? PeerAcknowledges : NothingKnown;
}

}  // namespace vigil::base
