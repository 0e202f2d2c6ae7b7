// What the kernel knew of a TCP connection at one moment, and what that says of the peer. Values only.
#pragma once

#include <cstdint>

namespace vigil::base {

// From TCP_INFO and the socket's queues. Ages count back from the moment of asking. Behind a proxy all of it speaks of
// the proxy.
struct TcpEvidence {
  std::uint32_t unsent_bytes = 0;          // handed to the kernel, not sent yet (the peer's window is full)
  std::uint32_t unacknowledged_bytes = 0;  // sent, not acknowledged
  std::uint32_t unacknowledged_segments = 0;
  std::uint32_t retransmits = 0;            // in a row, without an answer: back to 0 when the peer acknowledges
  std::uint32_t total_retransmits = 0;      // since the connection began
  std::uint32_t probes = 0;                 // keep-alive or window probes without an answer, in a row
  std::uint32_t backoff = 0;                // times the retransmission or window probe timer was doubled
  std::uint32_t last_ack_received_ms = 0;   // age; a connection that has received none: its own age
  std::uint32_t last_data_received_ms = 0;  // age
  std::uint32_t last_data_sent_ms = 0;      // age, retransmissions included
  std::uint32_t rtt_us = 0;                 // smoothed round trip
  std::uint8_t state = 0;                   // as in the kernel's enum: 1 ESTABLISHED, 7 CLOSE, 8 CLOSE_WAIT
  bool timed_out = false;                   // the kernel gave the peer up (ETIMEDOUT)

  bool operator==(const TcpEvidence&) const = default;
};

// What the evidence supports when a peer has been silent for too long.
enum class TcpVerdict : std::uint8_t {
  NothingKnown,       // nothing was under way, so nothing was there to be acknowledged; or no TCP connection
  PeerAcknowledges,   // its kernel answers while the application is silent: the application hangs
  NobodyAcknowledges  // what was sent found no answer: the network or the machine is gone
};

}  // namespace vigil::base
