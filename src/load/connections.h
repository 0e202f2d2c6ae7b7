// What connections cost a broker.
//
//   hold     connects clients, keeps them, and pings: the time to CONNACK, what each takes of the broker's memory, what
//            a ping costs
//   churn    connects again and again: after DISCONNECT, or over a connection that still stands (take-over)
#pragma once

#include <cstdint>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

enum class Wills : std::uint8_t { None, One };

struct HoldOptions {
  std::size_t clients = 1'000;
  std::size_t first = 0;  // number in the first client identifier
  Wills wills = Wills::None;
  bool clean = true;
  std::uint32_t session_expiry_s = 0;
  double ping_interval_s = 0;  // 0: three quarters of the keep alive
  unsigned for_s = 0;          // 0: until stopped
  int stop_fd = -1;            // readable: stop. Borrowed; -1: none
};
// A client that is lost is counted, and not connected again.
Report hold(const Target& target, const HoldOptions& options);

struct ChurnOptions {
  std::size_t clients = 100;  // that do so at the same time
  Wills wills = Wills::None;
  bool take_over = false;
  unsigned warm_up_ms = 500;
  unsigned measure_ms = 5'000;
};
Report churn(const Target& target, const ChurnOptions& options);

}  // namespace vigil::load
