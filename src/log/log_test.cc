#include "log/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

namespace vigil::log {
namespace {

constexpr std::int64_t kTime = 1'769'860'800'123;  // 2026-01-31T12:00:00.123Z

std::string text_line(LogLevel level, std::string_view message) {
  return log_line({}, kTime, level, "event", message, {});
}

// A pipe with room for one page, whose far end is read when told to.
struct Pipe {
  Pipe() {
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  std::string read() const {
    std::string all;
    std::array<char, 4096> buffer{};
    while (true) {
      const ssize_t size = ::read(ends[0], buffer.data(), buffer.size());
      if (size <= 0) return all;
      all.append(buffer.data(), static_cast<std::size_t>(size));
    }
  }
  void fill() const {
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    while (::write(ends[1], "x", 1) == 1) {
    }
    ::fcntl(ends[1], F_SETFL, 0);
  }

  std::array<int, 2> ends{};
};

TEST(LogLine, ReadsAsOperatorsExpect) {
  EXPECT_EQ(text_line(LogLevel::Info, "New client connected from 127.0.0.1:5000 as dev1 (p5, c1, k60)."),
            "2026-01-31T12:00:00.123Z info  New client connected from 127.0.0.1:5000 as dev1 (p5, c1, k60).");
  EXPECT_EQ(text_line(LogLevel::Error, "x"), "2026-01-31T12:00:00.123Z error x");
  EXPECT_EQ(log_line({.timestamps = false}, kTime, LogLevel::Warn, "event", "x", {}), "warn  x");
}

TEST(LogLine, StaysOneLineWhateverAClientIsCalled) {
  EXPECT_EQ(text_line(LogLevel::Info, "as a\nb\x1b[31m\x7f\xc2\x9b. \xc3\xa9"),
            "2026-01-31T12:00:00.123Z info  as a\\x0ab\\x1b[31m\\x7f\\u009b. \xc3\xa9");
}

TEST(LogLine, GivesProgramsJson) {
  const std::array fields = {LogField("client_id", "dev1"), LogField("keep_alive_s", 60), LogField("clean", true)};
  EXPECT_EQ(log_line({LogFormat::Json, false}, kTime, LogLevel::Info, "client_connected", "New \"client\"", fields),
            R"({"time":"2026-01-31T12:00:00.123Z","level":"info","event":"client_connected",)"
            R"("message":"New \"client\"","client_id":"dev1","keep_alive_s":60,"clean":true})");
}

TEST(LogLine, IsValidJsonWhateverAClientIsCalled) {
  const LogField field("client_id", "\xff\n\"\xc2\x9b");
  const std::string line = log_line({LogFormat::Json, true}, kTime, LogLevel::Info, "e", "\x01", {&field, 1});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto read = nlohmann::json::parse(line);
  EXPECT_EQ(read["message"], "\x01");
  EXPECT_EQ(read["client_id"], "\xef\xbf\xbd\n\"\xc2\x9b");
}

TEST(Log, WritesWholeLinesInOrderBeforeItEnds) {
  const Pipe pipe;
  {
    Log log({.style = {.timestamps = false}, .fd = pipe.ends[1]});
    log.write(LogLevel::Info, "a", "first {} %v");
    log.write(LogLevel::Warn, "b", "second", {{"n", 1}});
    EXPECT_EQ(log.lost(), 0U);
  }
  EXPECT_EQ(pipe.read(), "info  first {} %v\nwarn  second\n");
}

TEST(Log, HasWrittenEverythingWhenItIsFinished) {
  const Pipe pipe;
  Log log({.style = {.timestamps = false}, .fd = pipe.ends[1], .patience = base::seconds(60)});
  for (int i = 0; i < 20; ++i) log.write(LogLevel::Info, "a", "x");
  log.write(LogLevel::Error, "b", "the last one");
  log.finish();
  EXPECT_THAT(pipe.read(), testing::EndsWith("info  x\nerror the last one\n"));
}

TEST(Log, FinishesAlthoughNobodyReads) {
  const Pipe pipe;
  pipe.fill();
  Log log({.fd = pipe.ends[1], .patience = base::milliseconds(1)});
  log.write(LogLevel::Info, "a", "line");
  log.finish();
  EXPECT_THAT(pipe.read(), testing::Not(testing::HasSubstr("line")));
}

TEST(Log, LeavesOutWhatIsBelowItsLevel) {
  const Pipe pipe;
  {
    Log log({.level = LogLevel::Warn, .style = {.timestamps = false}, .fd = pipe.ends[1]});
    EXPECT_FALSE(log.enabled(LogLevel::Info));
    log.write(LogLevel::Info, "a", "hidden");
    log.write(LogLevel::Warn, "a", "shown");
    log.set_level(LogLevel::Trace);
    log.write(LogLevel::Trace, "a", "shown too");
    log.set_style({LogFormat::Text, false});
  }
  EXPECT_EQ(pipe.read(), "warn  shown\ntrace shown too\n");
}

TEST(Log, CountsWhatAStuckReaderMisses) {
  const Pipe pipe;
  pipe.fill();
  constexpr std::uint64_t kLines = 1000;
  Log log({.style = {.timestamps = false}, .fd = pipe.ends[1], .queue_lines = 4, .patience = base::milliseconds(1)});
  // None of them is written, and the broker's shard is not held up by it.
  for (std::uint64_t i = 0; i < kLines; ++i) log.write(LogLevel::Info, "a", "line");
  // At most four lines wait in the queue and one in the writer's hands.
  EXPECT_GE(log.lost(), kLines - 5);
}

TEST(Log, SaysHowManyLinesAreMissingOnceItCanWriteAgain) {
  const Pipe pipe;
  pipe.fill();
  std::string text;
  {
    Log log({.style = {.timestamps = false}, .fd = pipe.ends[1], .queue_lines = 2, .patience = base::milliseconds(1)});
    for (int i = 0; i < 100; ++i) log.write(LogLevel::Info, "a", "line");
    EXPECT_GE(log.lost(), 97U);
    text = pipe.read();
  }
  text += pipe.read();
  EXPECT_THAT(text, testing::ContainsRegex("warn  [0-9]+ lines of this log lost: whoever reads it did not keep up."));
}

TEST(Log, SurvivesAReaderThatIsGone) {
  Pipe pipe;
  ::close(pipe.ends[0]);
  pipe.ends[0] = -1;
  Log log({.fd = pipe.ends[1]});
  log.write(LogLevel::Info, "a", "nobody reads this");
  EXPECT_TRUE(log.enabled(LogLevel::Info));
}

}  // namespace
}  // namespace vigil::log
