#include "net/pipe.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "io/socket.h"

namespace vigil::net {
namespace {

// One gathered write takes this many pieces at most.
constexpr std::size_t kMaxPieces = 128;
// What a closed connection may leave unread before the kernel answers with RST, in reads of the scratch buffer.
constexpr int kFinalReads = 4;
// The kernel goes on for so long to deliver the last bytes to a peer that was already found silent.
constexpr base::seconds kSilentPeerLinger{5};

// Never more than so much in the kernel that was not even sent.
constexpr int kUnsentLowWater = 128 * 1024;

int whole_seconds(base::Duration time) {
  return static_cast<int>(std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::seconds>(time).count()));
}

// At most 24 days, which is what fits.
Pipe::Timeout whole_milliseconds(base::Duration time) {
  const auto whole = std::chrono::duration_cast<std::chrono::milliseconds>(time);
  return Pipe::Timeout(static_cast<std::int32_t>(std::min<std::int64_t>(whole.count(), INT32_MAX)));
}

}  // namespace

// A Unix socket knows none of these options, and needs none.
void prepare_for_peers(int listening, const TcpPolicy& policy) {
  static_cast<void>(io::set_no_delay(listening));
  static_cast<void>(io::set_unsent_low_water(listening, kUnsentLowWater));
  if (policy.keepalive_idle > base::Duration::zero()) {
    static_cast<void>(io::set_keep_alive(listening, {.idle_s = whole_seconds(policy.keepalive_idle),
                                                     .interval_s = whole_seconds(policy.keepalive_interval),
                                                     .count = static_cast<int>(policy.keepalive_count)}));
  }
  if (const base::Duration timeout = policy.idle_timeout(0); timeout > base::Duration::zero()) {
    static_cast<void>(io::set_user_timeout(listening, std::chrono::duration_cast<std::chrono::milliseconds>(timeout)));
  }
}

Pipe::Pipe(io::Fd fd, Seats::Seat seat) : fd_(std::move(fd)), seat_(std::move(seat)) {}

Pipe::Input Pipe::read(std::span<std::uint8_t> scratch) {
  const io::Transfer got = io::read(fd_.get(), scratch);
  if (got.error) {
    note(got.error);
    return {.ended = true};
  }
  if (got.eof) return {.ended = true};
  drained_ = got.would_block;
  if (got.would_block) return {.ended = broken};
  input_left_ = got.n == scratch.size();
  return {.bytes = scratch.first(got.n)};
}

bool Pipe::has_input() const { return io::has_input(fd_.get()); }

Pipe::Output Pipe::write(std::span<const base::Bytes> pieces) {
  std::array<iovec, kMaxPieces> vectors;
  const std::size_t count = std::min(pieces.size(), kMaxPieces);
  std::size_t offered = 0;
  for (std::size_t i = 0; i < count; ++i) {
    vectors[i] = {const_cast<std::uint8_t*>(pieces[i].data()), pieces[i].size()};
    offered += pieces[i].size();
  }
  const io::Transfer sent = io::write(fd_.get(), std::span(vectors).first(count));
  if (sent.error) {
    note(sent.error);
    broken = true;
    return {.failed = true};
  }
  spoken_ |= sent.n > 0;
  return {.written = sent.n, .blocked = sent.n < offered};
}

base::SocketEnd Pipe::end() const {
  const std::error_code error = this->error();
  if (!error) return base::SocketEnd::Closed;
  if (error == std::errc::connection_reset || error == std::errc::broken_pipe) return base::SocketEnd::Reset;
  // What a router answers for a host that is gone ends the connection only after TCP's own timeout.
  if (error == std::errc::timed_out || error == std::errc::host_unreachable ||
      error == std::errc::network_unreachable) {
    return base::SocketEnd::TimedOut;
  }
  return base::SocketEnd::Failed;
}

std::optional<base::TcpEvidence> Pipe::evidence() const { return io::tcp_evidence(fd_.get(), error()); }

Pipe::Goodbye Pipe::finish(base::Bytes last_bytes, Closing closing, std::span<std::uint8_t> scratch) {
  Goodbye goodbye;
  if (errno_ != 0) return goodbye;
  if (!last_bytes.empty()) goodbye.written = write({&last_bytes, 1}).written;
  const bool whole = goodbye.written == last_bytes.size();
  const bool silent = closing == Closing::PeerIsSilent;
  if (closing == Closing::PeerIsStuck || (silent && !whole)) {
    // The peer does not take what it has: nothing of it shall go on to occupy memory.
    io::close_with_reset(std::move(fd_));
    return goodbye;
  }
  if (silent) set_user_timeout(kSilentPeerLinger);
  // Closing says that nothing follows. Who has said goodbye waits for nothing, and a silent one was read just now.
  const bool told = closing == Closing::PeerSaidGoodbye && last_bytes.empty();
  if (told ? !input_left_ : silent && drained_) return goodbye;
  io::Transfer got;
  for (int i = 0; i < kFinalReads; ++i) {
    got = io::read(fd_.get(), scratch);
    goodbye.was_sending |= got.n > 0;
    if (got.n < scratch.size()) break;
  }
  goodbye.read_on = spoken_ && !broken && !got.eof && !got.error && closing == Closing::PeerDoesNotExpectIt;
  return goodbye;
}

void Pipe::set_tcp_timeouts(const TcpPolicy& policy, std::uint16_t keep_alive_s) {
  idle_timeout_ = whole_milliseconds(policy.idle_timeout(keep_alive_s));
  in_flight_timeout_ = whole_milliseconds(policy.in_flight_timeout(keep_alive_s));
  hastened_ = false;
  if (idle_timeout_ != whole_milliseconds(policy.idle_timeout(0))) set_user_timeout(idle_timeout_);
}

bool Pipe::hasten() {
  if (hastened_ || in_flight_timeout_ == idle_timeout_) return false;
  set_user_timeout(in_flight_timeout_);
  hastened_ = true;
  return true;
}

bool Pipe::relax() {
  if (io::unacknowledged_bytes(fd_.get()) > 0) return false;
  set_user_timeout(idle_timeout_);
  hastened_ = false;
  return true;
}

void Pipe::set_user_timeout(base::milliseconds timeout) { static_cast<void>(io::set_user_timeout(fd_.get(), timeout)); }

}  // namespace vigil::net
