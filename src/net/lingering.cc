#include "net/lingering.h"

#include <algorithm>
#include <utility>

#include "io/socket.h"

namespace vigil::net {

void Lingering::add(std::uint64_t token, io::Fd socket, Seats::Lingerer place, base::Bytes unsent, base::Instant now) {
  if (sockets_.size() >= bounds_.sockets) close(sockets_.begin());
  if (unsent.size() > bounds_.unsent) unsent = {};
  sockets_.push_back({.token = token,
                      .fd = std::move(socket),
                      .place = std::move(place),
                      .until = now + bounds_.time,
                      .bytes_left = bounds_.bytes,
                      .unsent = {unsent.begin(), unsent.end()}});
  const auto added = std::prev(sockets_.end());
  by_token_[token] = added;
  if (send(*added) == State::Over) close(added);
}

// What goes now, and FIN behind the last of it.
Lingering::State Lingering::send(Socket& socket) {
  if (!socket.all_sent()) {
    const iovec piece{socket.unsent.data() + socket.sent, socket.unsent.size() - socket.sent};
    const io::Transfer done = io::write(socket.fd.get(), {&piece, 1});
    if (done.error) return State::Over;
    socket.sent += done.n;
  }
  if (socket.all_sent()) io::shutdown_write(socket.fd.get());
  return watch(socket);
}

Lingering::State Lingering::watch(const Socket& socket) {
  const bool reads = socket.bytes_left > 0;
  const io::Interest interest = socket.all_sent() ? (reads ? io::Interest::Read : io::Interest::None)
                                                  : (reads ? io::Interest::ReadWrite : io::Interest::Write);
  return reactor_.modify(socket.fd.get(), socket.token, interest) ? State::GoesOn : State::Over;
}

Lingering::State Lingering::read(Socket& socket, std::span<std::uint8_t> scratch) {
  // Of a socket that is read no more only the end is reported.
  if (socket.bytes_left == 0) return State::Over;
  const io::Transfer got =
      io::read(socket.fd.get(), scratch.first(std::min<std::uint64_t>(scratch.size(), socket.bytes_left)));
  if (got.eof || got.error) return State::Over;
  socket.bytes_left -= got.n;
  return socket.bytes_left > 0 ? State::GoesOn : watch(socket);
}

void Lingering::serve(const io::Ready& event, std::span<std::uint8_t> scratch) {
  const auto found = by_token_.find(event.token);
  if (found == by_token_.end()) return;
  Socket& socket = *found->second;
  State state = State::GoesOn;
  if (event.writable && !socket.all_sent()) state = send(socket);
  if (state == State::GoesOn && (event.readable || event.hangup || event.error)) state = read(socket, scratch);
  if (state == State::Over) close(found->second);
}

void Lingering::advance(base::Instant now) {
  while (!sockets_.empty() && sockets_.front().until <= now) close(sockets_.begin());
}

void Lingering::hurry(base::Duration time, base::Instant now) {
  bounds_.time = std::min(bounds_.time, time);
  for (Socket& socket : sockets_) socket.until = std::min(socket.until, now + bounds_.time);
}

void Lingering::close_all() {
  by_token_.clear();
  sockets_.clear();
}

// Closing takes it out of the reactor.
void Lingering::close(Sockets::iterator socket) {
  by_token_.erase(socket->token);
  sockets_.erase(socket);
}

}  // namespace vigil::net
