// What the kernel knew of a TCP connection at one moment, and what that supports. A value; `io` fills it from TCP_INFO.
#pragma once

#include <cstdint>
#include <string_view>

namespace vigil::base {

struct TcpEvidence {
  std::uint32_t unacked_segments = 0;     // sent, not acknowledged
  std::uint32_t unacked_bytes = 0;        // in the send queue, acknowledged by nobody
  std::uint32_t retransmits = 0;          // of the segment now outstanding
  std::uint32_t total_retransmits = 0;
  std::uint32_t unanswered_probes = 0;    // keepalive or window probes
  std::uint32_t last_ack_received_ms = 0; // age
  std::uint32_t last_data_received_ms = 0;
  std::uint32_t rtt_us = 0;
  bool operator==(const TcpEvidence&) const = default;
};

enum class LivenessVerdict : std::uint8_t {
  PeerAcknowledges,    // the application is silent but its kernel acknowledges: it hangs
  NobodyAcknowledges,  // what was sent stays unacknowledged: the network or the machine is gone
  NothingKnown,        // nothing was under way, so the kernel could not tell
};

}  // namespace vigil::base
