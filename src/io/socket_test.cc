#include "io/socket.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <climits>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/tcp_verdict.h"
#include "io/clock.h"

namespace vigil::io {
namespace {

using base::TcpVerdict;

// Waits for the socket, 5 s at most; what it is ready for, 0 after that.
int wait_for(int fd, short events, int timeout_ms = 5000) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  ::poll(&entry, 1, timeout_ms);
  return entry.revents;
}

Accepted accept_one(int listener) {
  EXPECT_NE(wait_for(listener, POLLIN), 0);
  auto accepted = accept(listener);
  EXPECT_TRUE(accepted && *accepted);
  return std::move(**accepted);
}

struct Pair {
  Fd client;
  Fd server;
};
Pair connected(std::string_view address = "127.0.0.1:0") {
  Fd listener = listen(*Endpoint::parse(address), 16).value();
  Fd client = connect(local_endpoint(listener.get()).value()).value();
  Fd server = accept_one(listener.get()).fd;
  EXPECT_NE(wait_for(client.get(), POLLOUT), 0);
  EXPECT_EQ(pending_error(client.get()), std::error_code());
  return {std::move(client), std::move(server)};
}

Transfer write_text(int fd, std::string_view text) {
  const iovec piece{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  return write(fd, {&piece, 1});
}
std::string read_text(int fd, std::size_t room = 4096) {
  wait_for(fd, POLLIN);
  std::vector<std::uint8_t> buffer(room);
  const Transfer done = read(fd, buffer);
  return std::string(base::as_text(base::Bytes(buffer).first(done.n)));
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

// From now on the socket's kernel drops whatever arrives for it, as if the cable were cut: no FIN, no RST, no ACK.
void cut_off(int fd) {
  sock_filter drop_all{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog program{.len = 1, .filter = &drop_all};
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
}

// Asks again until the evidence is as wanted, 5 s at most.
template <class F>
base::TcpEvidence evidence_when(int fd, F&& as_wanted) {
  const base::Instant until = monotonic_now() + base::seconds(5);
  for (;;) {
    const base::TcpEvidence evidence = tcp_evidence(fd).value();
    if (as_wanted(evidence) || monotonic_now() > until) return evidence;
    ::poll(nullptr, 0, 5);
  }
}

TEST(Socket, ConnectsAndTransfersBothWays) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0", "*:0", "unix:@vigil-socket-test"}) {
    SCOPED_TRACE(address);
    Pair pair = connected(address);
    EXPECT_EQ(write_text(pair.client.get(), "ping").n, 4U);
    EXPECT_EQ(read_text(pair.server.get()), "ping");
    EXPECT_EQ(write_text(pair.server.get(), "pong").n, 4U);
    EXPECT_EQ(read_text(pair.client.get()), "pong");
  }
}

TEST(Socket, TellsWhoIsAtEachEnd) {
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), 16).value();
  const Endpoint listening = local_endpoint(listener.get()).value();
  EXPECT_NE(listening.port(), 0);
  Fd client = connect(listening).value();
  const Accepted accepted = accept_one(listener.get());
  EXPECT_EQ(accepted.peer, local_endpoint(client.get()).value());
  EXPECT_EQ(peer_endpoint(accepted.fd.get()).value(), accepted.peer);
  EXPECT_EQ(local_endpoint(accepted.fd.get()).value(), listening);
}

TEST(Socket, AListenerOnAllInterfacesSeesIpv4PeersAsIpv4) {
  Fd listener = listen(*Endpoint::parse("*:0"), 16).value();
  const std::uint16_t port = local_endpoint(listener.get())->port();
  Fd client = connect(Endpoint::parse("127.0.0.1:0")->with_port(port)).value();
  EXPECT_EQ(accept_one(listener.get()).peer.host(), "127.0.0.1");
  Fd client6 = connect(Endpoint::parse("[::1]:0")->with_port(port)).value();
  EXPECT_EQ(accept_one(listener.get()).peer.host(), "::1");
}

TEST(Socket, AnUnnamedUnixPeerHasAnEmptyPath) {
  Fd listener = listen(*Endpoint::parse("unix:@vigil-unnamed-test"), 16).value();
  Fd client = connect(*Endpoint::parse("unix:@vigil-unnamed-test")).value();
  EXPECT_EQ(accept_one(listener.get()).peer, Endpoint(UnixPath{}));
}

TEST(Socket, NobodyWaitingIsNoError) {
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), 16).value();
  const auto accepted = accept(listener.get());
  ASSERT_TRUE(accepted);
  EXPECT_FALSE(*accepted);
}

TEST(Socket, APortInUseIsAnError) {
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), 16).value();
  EXPECT_EQ(listen(local_endpoint(listener.get()).value(), 16).error(), std::errc::address_in_use);
}

TEST(Socket, AnAddressOfAnotherMachineIsAnError) {
  EXPECT_EQ(listen(*Endpoint::parse("192.0.2.1:0"), 16).error(), std::errc::address_not_available);
}

TEST(Socket, ReplacesTheUnixSocketOfADeadServerOnly) {
  const std::filesystem::path path = testing::TempDir() + "vigil-socket-test-" + std::to_string(::getpid());
  const Endpoint endpoint = *Endpoint::parse("unix:" + path.string());
  {
    Fd alive = listen(endpoint, 16).value();
    EXPECT_EQ(listen(endpoint, 16).error(), std::errc::address_in_use);
  }
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_TRUE(listen(endpoint, 16));
  std::filesystem::remove(path);
  std::ofstream(path) << "precious";
  EXPECT_EQ(listen(endpoint, 16).error(), std::errc::address_in_use);
  EXPECT_EQ(std::filesystem::file_size(path), 8U);
  std::filesystem::remove(path);
}

// Whatever the umask is, and also where another socket was in the way.
TEST(Socket, GivesAUnixSocketTheRightsItIsToHave) {
  const std::filesystem::path path = testing::TempDir() + "vigil-socket-mode-" + std::to_string(::getpid());
  const Endpoint endpoint = *Endpoint::parse("unix:" + path.string());
  const mode_t before = ::umask(0077);
  struct stat status{};
  for (const unsigned mode : {0666U, 0660U, 0600U}) {
    const auto listener = listen(endpoint, 16, {.mode = mode, .group = ::getegid()});
    ASSERT_TRUE(listener) << listener.error().message();
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, mode);
    EXPECT_EQ(status.st_gid, ::getegid());
    EXPECT_TRUE(connect(endpoint));
  }
  ::umask(before);
  std::filesystem::remove(path);
  EXPECT_TRUE(listen(*Endpoint::parse("unix:@vigil-test-" + std::to_string(::getpid())), 16)) << "it has no file";
}

TEST(Socket, ReportsTooFewDescriptorsAndKeepsThePeerWaiting) {
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), 16).value();
  Fd client = connect(local_endpoint(listener.get()).value()).value();
  EXPECT_NE(wait_for(listener.get(), POLLIN), 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto refused = accept(listener.get());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(), std::errc::too_many_files_open);
  EXPECT_TRUE(accept(listener.get()).value());
}

TEST(Socket, ReadTellsEmptyFromEnd) {
  Pair pair = connected();
  std::array<std::uint8_t, 8> buffer;
  const Transfer nothing_yet = read(pair.server.get(), buffer);
  EXPECT_TRUE(nothing_yet.would_block);
  EXPECT_FALSE(nothing_yet.eof);
  write_text(pair.client.get(), "last");
  shutdown_write(pair.client.get());
  EXPECT_EQ(read_text(pair.server.get()), "last");
  wait_for(pair.server.get(), POLLIN);
  const Transfer end = read(pair.server.get(), buffer);
  EXPECT_TRUE(end.eof);
  EXPECT_FALSE(end.would_block);
  EXPECT_FALSE(end.error);
}

TEST(Socket, WritesGatheredAndSaysHowMuchFitted) {
  Pair pair = connected();
  ASSERT_TRUE(set_send_buffer(pair.server.get(), 16 * 1024));
  std::string a = "head ";
  std::string b = "body";
  const std::array<iovec, 2> pieces{iovec{a.data(), a.size()}, iovec{b.data(), b.size()}};
  EXPECT_EQ(write(pair.server.get(), pieces).n, 9U);
  EXPECT_EQ(read_text(pair.client.get()), "head body");

  std::string much(8 << 20, 'x');
  const std::vector<iovec> many(2000, iovec{much.data(), much.size() / 2000});
  const Transfer first = write(pair.server.get(), many);
  EXPECT_GT(first.n, 0U);
  EXPECT_LT(first.n, much.size());
  Transfer last = first;
  for (int i = 0; i < 10'000 && !last.would_block; ++i) last = write(pair.server.get(), many);
  EXPECT_TRUE(last.would_block);
  EXPECT_FALSE(last.error);
}

TEST(Socket, TakesAtMostIovMaxPieces) {
  Pair pair = connected();
  char x = 'x';
  const std::vector<iovec> many(1500, iovec{&x, 1});
  EXPECT_EQ(write(pair.server.get(), many).n, 1024U);
}

TEST(Socket, WritingToWhoIsGoneIsAnErrorAndNoSignal) {
  Pair pair = connected();
  close_with_reset(std::move(pair.client));
  EXPECT_NE(wait_for(pair.server.get(), POLLIN) & (POLLERR | POLLHUP), 0);
  EXPECT_EQ(pending_error(pair.server.get()), std::errc::connection_reset);
  EXPECT_EQ(write_text(pair.server.get(), "x").error, std::errc::broken_pipe);
}

TEST(Socket, AResetReachesThePeerAsAnError) {
  Pair pair = connected();
  close_with_reset(std::move(pair.client));
  wait_for(pair.server.get(), POLLIN);
  std::array<std::uint8_t, 8> buffer;
  EXPECT_EQ(read(pair.server.get(), buffer).error, std::errc::connection_reset);
}

TEST(Socket, ARefusedConnectShowsAsThePendingError) {
  Fd listener = listen(*Endpoint::parse("127.0.0.1:0"), 16).value();
  const Endpoint nobody = local_endpoint(listener.get()).value();
  listener.reset();
  Result<Fd> client = connect(nobody);
  if (client) {
    wait_for(client->get(), POLLOUT);
    EXPECT_EQ(pending_error(client->get()), std::errc::connection_refused);
    EXPECT_EQ(pending_error(client->get()), std::error_code());
  } else {
    EXPECT_EQ(client.error(), std::errc::connection_refused);
  }
}

TEST(Socket, SetsWhatFindsDeadPeers) {
  Pair pair = connected();
  const int fd = pair.server.get();
  ASSERT_TRUE(set_no_delay(fd));
  ASSERT_TRUE(set_keep_alive(fd, {.idle_s = 7, .interval_s = 3, .count = 2}));
  ASSERT_TRUE(set_user_timeout(fd, std::chrono::milliseconds(12'345)));
  EXPECT_NE(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_NE(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 7);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 2);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
  ASSERT_TRUE(set_unsent_low_water(fd, 65'536));
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65'536);
  ASSERT_TRUE(set_user_timeout(fd, std::chrono::hours(24 * 365)));
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), INT_MAX);
  EXPECT_EQ(set_keep_alive(fd, {.idle_s = 0}).error(), std::errc::invalid_argument);
}

TEST(TcpEvidence, IsNoneForAUnixSocket) {
  Pair pair = connected("unix:@vigil-evidence-test");
  EXPECT_FALSE(tcp_evidence(pair.server.get()));
}

TEST(TcpEvidence, OfAnIdleConnectionSaysNothingOutstanding) {
  Pair pair = connected();
  write_text(pair.server.get(), "x");
  const base::TcpEvidence evidence =
      evidence_when(pair.server.get(), [](const base::TcpEvidence& e) { return e.unacknowledged_bytes == 0; });
  EXPECT_EQ(evidence.unacknowledged_bytes, 0U);
  EXPECT_EQ(evidence.unacknowledged_segments, 0U);
  EXPECT_EQ(evidence.unsent_bytes, 0U);
  EXPECT_EQ(evidence.retransmits, 0U);
  EXPECT_EQ(evidence.state, TCP_ESTABLISHED);
  EXPECT_GT(evidence.rtt_us, 0U);
}

TEST(TcpEvidence, AHungApplicationsKernelAcknowledges) {
  Pair pair = connected();
  write_text(pair.server.get(), "a packet that the application never reads");
  const base::TcpEvidence evidence =
      evidence_when(pair.server.get(), [](const base::TcpEvidence& e) { return e.unacknowledged_bytes == 0; });
  EXPECT_LT(evidence.last_ack_received_ms, 5000U);
  EXPECT_EQ(judge(evidence, base::seconds(90)), TcpVerdict::PeerAcknowledges);
}

TEST(TcpEvidence, OfAFullWindowTellsSentFromUnsent) {
  Pair pair = connected();
  ASSERT_TRUE(set_receive_buffer(pair.client.get(), 4096));
  const std::string much(1 << 20, 'x');
  Transfer done;
  for (int i = 0; i < 100 && !done.would_block; ++i) done = write_text(pair.server.get(), much);
  ASSERT_TRUE(done.would_block);
  // The kernel has tried the window again and doubled its timer, and got an answer each time.
  const base::TcpEvidence evidence =
      evidence_when(pair.server.get(), [](const base::TcpEvidence& e) { return e.backoff > 0; });
  EXPECT_GT(evidence.backoff, 0U);
  EXPECT_EQ(evidence.retransmits, 0U);
  EXPECT_GT(evidence.unsent_bytes, 0U);
  EXPECT_EQ(judge(evidence, base::seconds(90)), TcpVerdict::PeerAcknowledges);
}

TEST(TcpEvidence, OfACutCableShowsRetransmissionsWithoutAnAnswer) {
  Pair pair = connected();
  cut_off(pair.client.get());
  write_text(pair.server.get(), "hello?");
  const base::TcpEvidence evidence = evidence_when(
      pair.server.get(), [](const base::TcpEvidence& e) { return e.retransmits > 0 && e.last_ack_received_ms > 1100; });
  EXPECT_GT(evidence.retransmits, 0U);
  EXPECT_GE(evidence.total_retransmits, evidence.retransmits);
  EXPECT_EQ(evidence.unacknowledged_bytes, 6U);
  EXPECT_EQ(evidence.unacknowledged_segments, 1U);
  EXPECT_GT(evidence.last_ack_received_ms, evidence.last_data_sent_ms);
  EXPECT_EQ(judge(evidence, base::seconds(3)), TcpVerdict::NobodyAcknowledges);
}

TEST(TcpEvidence, OfAConnectionTheKernelGaveUp) {
  Pair pair = connected();
  ASSERT_TRUE(set_user_timeout(pair.server.get(), std::chrono::milliseconds(300)));
  cut_off(pair.client.get());
  write_text(pair.server.get(), "hello?");
  EXPECT_NE(wait_for(pair.server.get(), POLLIN) & (POLLERR | POLLHUP), 0);
  std::array<std::uint8_t, 8> buffer;
  const std::error_code error = read(pair.server.get(), buffer).error;
  EXPECT_EQ(error, std::errc::timed_out);
  const auto evidence = tcp_evidence(pair.server.get(), error);
  ASSERT_TRUE(evidence);
  EXPECT_TRUE(evidence->timed_out);
  EXPECT_EQ(evidence->state, TCP_CLOSE);
  EXPECT_EQ(judge(evidence, base::seconds(100)), TcpVerdict::NobodyAcknowledges);
}

TEST(TcpEvidence, KeepAliveProbesFindThePeerOfAnIdleConnectionGone) {
  Pair pair = connected();
  ASSERT_TRUE(set_keep_alive(pair.server.get(), {.idle_s = 1, .interval_s = 1, .count = 2}));
  cut_off(pair.client.get());
  const base::TcpEvidence probing =
      evidence_when(pair.server.get(), [](const base::TcpEvidence& e) { return e.probes > 1; });
  EXPECT_GT(probing.probes, 1U);
  EXPECT_EQ(probing.unacknowledged_bytes, 0U);
  EXPECT_EQ(judge(probing, base::seconds(3)), TcpVerdict::NobodyAcknowledges);
  EXPECT_NE(wait_for(pair.server.get(), POLLIN) & (POLLERR | POLLHUP), 0);
  EXPECT_EQ(pending_error(pair.server.get()), std::errc::timed_out);
}

TEST(SocketFile, GoesWithItsObject) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "vigil_socket_file";
  std::filesystem::remove(path);
  const Endpoint endpoint(UnixPath{path.string()});
  const Fd first = listen(endpoint, 1).value();
  auto file = SocketFile::of(endpoint);
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(std::filesystem::exists(path));
  file.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(SocketFile, IsLeftAloneWhereItIsAnother) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "vigil_socket_file";
  std::filesystem::remove(path);
  const Endpoint endpoint(UnixPath{path.string()});
  const Fd first = listen(endpoint, 1).value();
  auto file = SocketFile::of(endpoint);
  std::filesystem::remove(path);
  const Fd second = listen(endpoint, 1).value();
  file.reset();
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

TEST(SocketFile, IsOfUnixSocketsWithAFileAlone) {
  EXPECT_EQ(SocketFile::of(*Endpoint::parse("127.0.0.1:1883")), nullptr);
  EXPECT_EQ(SocketFile::of(*Endpoint::parse("unix:@abstract")), nullptr);
  EXPECT_EQ(SocketFile::of(*Endpoint::parse("unix:/nowhere/at/all")), nullptr);
}

}  // namespace
}  // namespace vigil::io
