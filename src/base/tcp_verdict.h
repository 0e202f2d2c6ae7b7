// What the kernel's evidence says of a peer that has been silent for too long.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/tcp_evidence.h"

namespace vigil::base {

// `silent_for`: how long the application has sent nothing (or, of a reader that is stuck, taken nothing).
//
// The kernel hears from a peer that is idle only when it has sent it something, data or a keep-alive probe. So:
// - it gave up waiting for an answer, or what it repeated found none for over a second: NobodyAcknowledges;
// - the last sign of the peer's kernel is from the last third of the silence, that is, from a time at which an
// application
//   with a keep alive of two thirds of it should have spoken: PeerAcknowledges;
// - otherwise the last sign belongs to the time when all was well, and nothing was sent since that could have found
// out.
TcpVerdict judge(const std::optional<TcpEvidence>& evidence, Duration silent_for);

}  // namespace vigil::base
