// The assembled broker over real sockets: a supervisor with its shards on a free port, clients on loopback. What the
// core decides is tested in broker/ and sim/; here it is shown that bytes, connections and signals find their way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "io/socket.h"
#include "server/command_line.h"
#include "server/supervisor.h"

namespace vigil::server {
namespace {

using testing::HasSubstr;

constexpr int kPatienceMs = 10'000;

// A log that nobody reads.
class Silence {
 public:
  Silence() : fd_(::memfd_create("log", MFD_CLOEXEC)), log_({.fd = fd_.get()}) {}
  log::Log& log() { return log_; }
  std::string text() const {
    std::string all(1 << 16U, '\0');
    const ssize_t n = ::pread(fd_.get(), all.data(), all.size(), 0);
    all.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return all;
  }

 private:
  io::Fd fd_;
  log::Log log_;
};

// A client that knows just the bytes it needs. MQTT 5.0.
class TestClient {
 public:
  explicit TestClient(const io::Endpoint& to) : fd_(io::connect(to).value()) { wait(POLLOUT); }

  void send(std::string_view bytes) {
    const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    ASSERT_EQ(io::write(fd_.get(), {&piece, 1}).n, bytes.size());
  }
  // CONNECT without a will; `expiry_s` 0: the session ends with the connection.
  void connect(std::string_view id, bool clean_start = true, std::uint8_t expiry_s = 0,
               std::uint8_t keep_alive_s = 60) {
    std::string body("\0\4MQTT\5", 7);
    body += clean_start ? '\2' : '\0';
    body += '\0';
    body += static_cast<char>(keep_alive_s);
    body += std::string("\5\x11\0\0\0", 5) + static_cast<char>(expiry_s);
    body += '\0';
    body += static_cast<char>(id.size());
    send(packet('\x10', body + std::string(id)));
  }
  void subscribe(std::string_view filter) {
    std::string body("\0\1\0\0", 4);
    body += static_cast<char>(filter.size());
    send(packet('\x82', body + std::string(filter) + '\0'));
  }
  void subscribe_qos1(std::string_view filter) {
    std::string body("\0\1\0\0", 4);
    body += static_cast<char>(filter.size());
    send(packet('\x82', body + std::string(filter) + '\1'));
  }
  void publish_qos1(std::string_view topic, std::string_view payload) {
    std::string body("\0", 1);
    body += static_cast<char>(topic.size());
    send(packet('\x32', body + std::string(topic) + std::string("\0\7\0", 3) + std::string(payload)));
  }
  void publish(std::string_view topic, std::string_view payload) {
    std::string body("\0", 1);
    body += static_cast<char>(topic.size());
    send(packet('\x30', body + std::string(topic) + '\0' + std::string(payload)));
  }
  // The next packet (of less than 128 bytes, or its first 128), or nothing when the broker has closed.
  std::optional<std::string> receive() {
    for (;;) {
      if (unread_.size() >= 2) {
        std::size_t size = static_cast<std::uint8_t>(unread_[1]) & 0x7FU;
        std::size_t header = 2;
        if ((static_cast<std::uint8_t>(unread_[1]) & 0x80U) != 0 && unread_.size() >= 3) {
          size += static_cast<std::size_t>(static_cast<std::uint8_t>(unread_[2])) << 7U;
          header = 3;
        }
        if (unread_.size() >= header + size) {
          std::string one = unread_.substr(0, header + size);
          unread_.erase(0, header + size);
          return one;
        }
      }
      if (!wait(POLLIN)) return std::nullopt;
      std::array<std::uint8_t, 4096> buffer;
      const io::Transfer got = io::read(fd_.get(), buffer);
      if (got.n == 0) return std::nullopt;
      unread_.append(reinterpret_cast<const char*>(buffer.data()), got.n);
    }
  }
  void expect(char type) {
    const auto got = receive();
    ASSERT_TRUE(got.has_value()) << "the broker closed the connection, or said nothing";
    EXPECT_EQ((*got)[0], type);
  }
  void half_close() { io::shutdown_write(fd_.get()); }

 private:
  static std::string packet(char type, const std::string& body) {
    EXPECT_LT(body.size(), 128U);
    return std::string(1, type) + static_cast<char>(body.size()) + body;
  }
  bool wait(short what) {
    pollfd one{fd_.get(), what, 0};
    return ::poll(&one, 1, kPatienceMs) == 1;
  }

  io::Fd fd_;
  std::string unread_;
};

class ServerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { block_signals(); }

  static config::Config config(unsigned shards) {
    config::Config config =
        config::parse_config("[store]\nsync = \"memory\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n", "test").value();
    config.shards = shards;
    config.limits.sys_interval = base::seconds(3600);
    return config;
  }
  void start(config::Config config) {
    supervisor_.emplace(Supervisor::Setup{.config = std::move(config),
                                          .sources = {.default_file = "/nonexistent", .environment = {}},
                                          .version = "0",
                                          .notifier = Notifier("")},
                        silence_.log());
    const auto started = supervisor_->start();
    ASSERT_TRUE(started.has_value()) << started.error();
  }
  TestClient client() { return TestClient(supervisor_->listening()[0].endpoint); }

  Silence silence_;
  std::optional<Supervisor> supervisor_;
};

constexpr char kConnAck = '\x20';
constexpr char kSubAck = '\x90';
constexpr char kPublish = '\x30';
constexpr char kPingResp = '\xD0';
constexpr char kDisconnect = '\xE0';

// Client ids of many homes: wherever a connection is accepted, some of them have to move.
TEST_F(ServerTest, MessagesCrossShards) {
  start(config(4));
  std::vector<TestClient> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(client());
    clients.back().connect("c" + std::to_string(i));
    clients.back().expect(kConnAck);
    clients.back().subscribe("all/#");
    clients.back().expect(kSubAck);
  }
  clients[0].publish("all/of/you", "hello");
  for (TestClient& c : clients) {
    const auto got = c.receive();
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ((*got)[0], kPublish);
    EXPECT_THAT(*got, HasSubstr("hello"));
  }
}

// What follows a CONNECT in the same segment moves along with the connection.
TEST_F(ServerTest, WhatFollowsAConnectIsHandedOverWithIt) {
  start(config(4));
  for (int i = 0; i < 16; ++i) {
    TestClient c = client();
    c.connect("mover" + std::to_string(i));
    c.send(std::string_view("\xC0\0", 2));
    c.expect(kConnAck);
    c.expect(kPingResp);
  }
}

// [MQTT-3.1.4-3] The old connection hears of it (0x8E) and ends; the new one has the session.
TEST_F(ServerTest, ATakeOverEndsTheOldConnection) {
  start(config(2));
  TestClient old = client();
  old.connect("dev", false, 60);
  old.expect(kConnAck);
  TestClient fresh = client();
  fresh.connect("dev", false, 60);
  const auto connack = fresh.receive();
  ASSERT_TRUE(connack.has_value());
  EXPECT_EQ((*connack)[2], '\1') << "Session Present";
  const auto farewell = old.receive();
  ASSERT_TRUE(farewell.has_value());
  EXPECT_EQ((*farewell)[0], kDisconnect);
  EXPECT_EQ((*farewell)[2], '\x8E');
  EXPECT_FALSE(old.receive().has_value());
}

// A peer that has said all it will still gets its answers.
TEST_F(ServerTest, AHalfClosedPeerHearsTheAnswer) {
  start(config(1));
  TestClient c = client();
  c.send(std::string_view("\x10\x10\0\4MQTT\5\2\0\0\3\x21\0\0\0\0", 18));  // Receive Maximum 0 is illegal
  c.half_close();
  const auto got = c.receive();
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ((*got)[0], kConnAck);
  EXPECT_EQ((*got)[3], '\x82');
}

TEST_F(ServerTest, MoreConnectionsThanAllowedAreRefused) {
  config::Config few = config(2);
  few.limits.max_connections = 1;
  start(std::move(few));
  TestClient first = client();
  first.connect("first");
  first.expect(kConnAck);
  TestClient second = client();
  second.connect("second");
  const auto got = second.receive();
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ((*got)[3], '\x97') << "Quota exceeded";
  first.send(std::string_view("\xC0\0", 2));
  first.expect(kPingResp);
}

// SIGTERM: everybody is told (0x8B), and the program ends well.
TEST_F(ServerTest, SigtermTellsEverybody) {
  start(config(2));
  std::vector<TestClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(client());
    clients.back().connect("c" + std::to_string(i));
    clients.back().expect(kConnAck);
  }
  std::future<int> code = std::async(std::launch::async, [this] { return supervisor_->run(); });
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  for (TestClient& c : clients) {
    const auto farewell = c.receive();
    ASSERT_TRUE(farewell.has_value());
    EXPECT_EQ((*farewell)[0], kDisconnect);
    EXPECT_EQ((*farewell)[2], '\x8B');
    EXPECT_FALSE(c.receive().has_value());
  }
  EXPECT_EQ(code.get(), EXIT_SUCCESS);
}

// The store's thread, the shards' and the supervisor's together: what was acknowledged is there after the next start,
// with another number of shards.
TEST_F(ServerTest, WhatWasAcknowledgedOutlivesTheBroker) {
  std::string directory = (std::filesystem::temp_directory_path() / "vigilmq-server-test-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const auto durable = [&directory, this](unsigned shards) {
    config::Config c = config(shards);
    c.store.sync = config::StoreSync::Process;
    c.store.directory = directory;
    return c;
  };
  start(durable(3));
  constexpr int kClients = 8;
  for (int i = 0; i < kClients; ++i) {
    TestClient c = client();
    c.connect("keeper" + std::to_string(i), false, 120);
    c.expect(kConnAck);
    c.subscribe_qos1("all/#");
    c.expect(kSubAck);
    c.send(std::string_view("\xE0\0", 2));
    EXPECT_FALSE(c.receive().has_value());
  }
  TestClient publisher = client();
  publisher.connect("publisher");
  publisher.expect(kConnAck);
  publisher.publish_qos1("all/of/you", "kept");
  publisher.expect('\x40');
  EXPECT_TRUE(supervisor_->drain());
  supervisor_.reset();

  start(durable(2));
  for (int i = 0; i < kClients; ++i) {
    TestClient c = client();
    c.connect("keeper" + std::to_string(i), false, 120);
    const auto connack = c.receive();
    ASSERT_TRUE(connack.has_value());
    EXPECT_EQ((*connack)[2], '\1') << "Session Present";
    const auto got = c.receive();
    ASSERT_TRUE(got.has_value());
    EXPECT_THAT(*got, HasSubstr("kept"));
  }
  EXPECT_TRUE(supervisor_->drain());
  supervisor_.reset();
  std::filesystem::remove_all(directory);
}

// A reload that finds mistakes changes nothing; clients notice neither.
TEST_F(ServerTest, AReloadDisturbsNobody) {
  start(config(2));
  TestClient c = client();
  c.connect("dev");
  c.expect(kConnAck);
  supervisor_->reload();
  c.send(std::string_view("\xC0\0", 2));
  c.expect(kPingResp);
}

TEST_F(ServerTest, APortInUseIsSaidPlainly) {
  start(config(1));
  const io::Endpoint taken = supervisor_->listening()[0].endpoint;
  config::Config same =
      config::parse_config("[store]\nsync = \"memory\"\n[[listener]]\nbind = \"" + taken.text() + "\"\n", "test")
          .value();
  same.shards = 1;
  Supervisor second({.config = std::move(same), .sources = {}, .version = "0", .notifier = Notifier("")},
                    silence_.log());
  const auto started = second.start();
  ASSERT_FALSE(started.has_value());
  EXPECT_THAT(started.error(), HasSubstr("Port " + std::to_string(taken.port()) + " on 127.0.0.1 is already in use"));
  EXPECT_THAT(started.error(), HasSubstr("--listen"));
}

base::Result<CommandLine, CommandLineEnd> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "vigilmq");
  return parse_command_line(static_cast<int>(words.size()), words.data(), "1.2.3");
}

TEST(CommandLineTest, ListenMayBeRepeated) {
  const auto line = parse({"--listen", "127.0.0.1:1", "--listen", "[::1]:2"});
  ASSERT_TRUE(line.has_value());
  ASSERT_EQ(line->sources.overrides.size(), 1U);
  EXPECT_EQ(line->sources.overrides[0].value, "127.0.0.1:1,[::1]:2");
}

TEST(CommandLineTest, HelpAndVersionEndWell) {
  EXPECT_EQ(parse({"--version"}).error().text, "vigilmq 1.2.3\n");
  const auto help = parse({"--help"});
  EXPECT_EQ(help.error().exit_code, 0);
  EXPECT_THAT(help.error().text, HasSubstr("MQTT_KEEP_ALIVE_MONITORING_DELAY_MS"));
}

TEST(CommandLineTest, WrongUsageEndsWithTwo) {
  EXPECT_EQ(parse({"--bogus"}).error().exit_code, 2);
  EXPECT_EQ(parse({"--test-config", "--print-config"}).error().exit_code, 2);
  EXPECT_EQ(parse({"stray"}).error().exit_code, 2);
  EXPECT_THAT(parse({"--bogus"}).error().text, testing::StartsWith("vigilmq: "));
  EXPECT_THAT(parse({"--test-config", "--print-config"}).error().text, testing::StartsWith("vigilmq: "));
}

}  // namespace
}  // namespace vigil::server
