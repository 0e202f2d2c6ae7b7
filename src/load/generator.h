// Publishers and subscribers as many as asked for, until they are stopped: what emqtt-bench's pub and sub do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "load/report.h"
#include "load/target.h"

namespace vigil::load {

struct GeneratorOptions {
  std::size_t clients = 10;
  std::size_t first = 0;  // number in the first client identifier
  bool clean = true;
  std::uint32_t session_expiry_s = 0;
  std::vector<std::string> topics;  // %c: client identifier, %i: its number, %u: user name, %p: prefix
  unsigned qos = 0;
  unsigned for_s = 0;          // 0: until stopped
  std::uint64_t messages = 0;  // stop after as many; 0: no limit
  int stop_fd = -1;            // readable: stop. Borrowed; -1: none
  // publish
  double interval_ms = 1'000;  // from one message of a client to its next
  unsigned payload_bytes = 256;
  bool retain = false;
  unsigned inflight = 1'000;  // QoS 1 and 2: unacknowledged messages of a client; one that is due beyond is left out
  // subscribe
  bool stamped = false;  // payloads begin with when they were sent, as publish() writes it: latency is measured
};

// A client that is lost is counted, and not connected again.
Report publish(const Target& target, const GeneratorOptions& options);
Report subscribe(const Target& target, const GeneratorOptions& options);

// What a %-template means for a client. Throws for an unknown letter.
std::string expand(const std::string& pattern, const std::string& client_id, std::size_t number, const Target& target);

}  // namespace vigil::load
