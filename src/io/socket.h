// Nonblocking stream sockets: thin, exact wrappers of the system calls. Nothing here waits; waiting is the reactor's.
//
// Functions that take an `int fd` borrow it. SIGPIPE is never raised.
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/tcp_evidence.h"
#include "io/address.h"
#include "io/error.h"
#include "io/fd.h"

namespace vigil::io {

// A nonblocking listening socket. SO_REUSEADDR is set, so a restart need not wait for old connections to fade.
// AllInterfaces is dual stack; an IPv6 address alone takes no IPv4. The file of a Unix socket that nobody listens on
// any more is replaced; one that is in use, or is no socket, yields address_in_use. The file is not removed at close:
// SocketFile does that.
//
// `access`: who may connect to a Unix socket. The file has these rights before the first connection can be made, and
// never more of them. A right to give the group that this process lacks yields operation_not_permitted. Addresses and
// names in the abstract name space have no rights: there it plays no part.
struct UnixAccess {
  unsigned mode = 0660;  // permission bits; connecting needs the right to write
  std::optional<unsigned> group;
};
Result<Fd> listen(const Endpoint& endpoint, int backlog, const UnixAccess& access = {});
// The same in two steps: the address is taken, and nobody can connect before the second.
Result<Fd> bind(const Endpoint& endpoint, const UnixAccess& access = {});
Result<void> start_listening(int fd, int backlog);

// The file of a bound Unix socket, removed with this object if it is still the same file: another program may have put
// its own in the place. To be destroyed before the socket is closed.
class SocketFile {
 public:
  // None for other sockets, and for names in the abstract name space.
  static std::unique_ptr<SocketFile> of(const Endpoint& endpoint);
  ~SocketFile() { remove(); }
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;
  void remove();

 private:
  SocketFile(std::string path, std::uint64_t device, std::uint64_t inode)
      : path_(std::move(path)), device_(device), inode_(inode) {}
  std::string path_;  // empty: removed
  std::uint64_t device_;
  std::uint64_t inode_;
};

struct Accepted {
  Fd fd;  // nonblocking, close-on-exec
  Endpoint peer;
};
// The next waiting connection; none if nobody waits. Connections that died while they waited are passed over.
// Errors are those of our side: out of descriptors (EMFILE, ENFILE) or memory; the connection then keeps waiting.
Result<std::optional<Accepted>> accept(int listener);

// Begins to connect; the socket is writable once that has succeeded or failed (pending_error says which).
Result<Fd> connect(const Endpoint& endpoint);

// What one read or write did. At most one of the flags and the error is set, and n may be above 0 only without them.
struct Transfer {
  std::size_t n = 0;
  bool would_block = false;
  bool eof = false;  // the peer has sent all it will (read only)
  std::error_code error = {};
};
// One read. A short one (n < into.size()) means that nothing more was there at that moment. `into` must not be empty.
Transfer read(int fd, std::span<std::uint8_t> into);
// Whether a read would bring something now, the end included.
bool has_input(int fd);
// One gathered write; n may be less than the whole. Of more than IOV_MAX (1024) pieces the first 1024 are taken.
Transfer write(int fd, std::span<const iovec> pieces);

Result<Endpoint> local_endpoint(int fd);
Result<Endpoint> peer_endpoint(int fd);
// The error that the kernel noted on the socket (SO_ERROR), and takes it away; none is a zero code.
std::error_code pending_error(int fd);

// Small frames leave at once. Without it a peer that delays its acknowledgements shows stalls of some 40 ms.
Result<void> set_no_delay(int fd);

// TCP keep alive: after `idle_s` without anything from the peer a probe, then one each `interval_s`; after `count`
// without an answer the connection fails with timed_out. Found dead after idle + interval x count at most.
struct KeepAliveOptions {
  int idle_s = 60;
  int interval_s = 15;
  int count = 4;
};
Result<void> set_keep_alive(int fd, const KeepAliveOptions& options);

// How long sent data, or keep-alive probes, may stay unacknowledged before the connection fails with timed_out.
// Replaces the count of KeepAliveOptions: an idle connection ends at the first probe due after this, even if but one
// was lost. 0 is the kernel's default (about 15 minutes for data).
Result<void> set_user_timeout(int fd, std::chrono::milliseconds timeout);

// Bytes that were written and that the peer has not acknowledged. 0 where the kernel does not say.
std::uint32_t unacknowledged_bytes(int fd);

// TCP: the socket takes no more while so many bytes wait that were never sent, and is writable once half of them are
// gone. So a slow reader shows progress, and one that is stuck does not fill the kernel's memory.
Result<void> set_unsent_low_water(int fd, int bytes);

Result<void> set_send_buffer(int fd, int bytes);
Result<void> set_receive_buffer(int fd, int bytes);

// Tells the peer that nothing more follows (FIN); reading goes on.
void shutdown_write(int fd);
// Closes at once with RST: what the peer has not acknowledged is dropped, and nothing lingers in the kernel.
void close_with_reset(Fd fd);

// What the kernel knows of the connection now; none if it is not TCP. To be asked before the socket is closed. `seen`:
// the error by which the connection ended, if it has: reading it took it off the socket, so the kernel no longer tells.
std::optional<base::TcpEvidence> tcp_evidence(int fd, std::error_code seen = {});

}  // namespace vigil::io
