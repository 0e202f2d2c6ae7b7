#include "log/log.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/escape.h"

namespace vigil::log {
namespace {

using Json = nlohmann::ordered_json;

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::Trace: return "trace";
    case LogLevel::Debug: return "debug";
    case LogLevel::Info: return "info";
    case LogLevel::Warn: return "warn";
    case LogLevel::Error: return "error";
  }
  return "error";
}

std::string time_text(std::int64_t unix_ms) {
  const std::time_t second = unix_ms / 1000;
  std::tm utc{};
  gmtime_r(&second, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, unix_ms % 1000);
}

Json json_value(const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) return *text;
  if (const auto* number = std::get_if<std::int64_t>(&field.value)) return *number;
  return std::get<bool>(field.value);
}

std::int64_t unix_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}
std::int64_t steady_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Writes to a descriptor that others share, so that it cannot be made non-blocking: a pipe or terminal that poll()
// calls writable takes PIPE_BUF bytes without waiting. Lives on the log's thread; the public members before log() on
// any.
class PatientSink final : public spdlog::sinks::sink {
 public:
  PatientSink(int fd, LogStyle first_style, std::int64_t patience_ms)
      : style(first_style), fd_(fd), patience_ms_(patience_ms) {}

  std::atomic<LogStyle> style;
  std::atomic<std::uint64_t> lost = 0;
  // From this moment (steady clock, ms) on nobody waits for the reader.
  std::atomic<std::int64_t> deadline_ms = INT64_MAX;

  void log(const spdlog::details::log_msg& msg) override {
    report(overruns ? overruns() : 0);
    if (!write_all({msg.payload.data(), msg.payload.size()})) ++lost;
  }
  // Comes after the lines that were put in before it.
  void flush() override {
    report(overruns ? overruns() : 0);
    {
      const std::scoped_lock lock(flushed_mutex_);
      flushed_ = true;
    }
    flushed_changed_.notify_all();
  }
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Says how many lines are missing, if that is news and there is room.
  void report(std::uint64_t overrun) {
    const std::uint64_t missing = lost + overrun;
    if (missing == reported_ || (stalled_ && !writable(0))) return;
    const std::uint64_t count = missing - reported_;
    const LogField field("lines", count);
    if (write_all(log_line(style, unix_now_ms(), LogLevel::Warn, "log_lines_lost",
                           fmt::format("{} of this log lost: whoever reads it did not keep up.",
                                       count == 1 ? "1 line" : fmt::format("{} lines", count)),
                           {&field, 1}) +
                  "\n")) {
      reported_ = missing;
    }
  }

  // Until the first flush() is done, at most for `patience_ms`.
  void wait_flushed(std::int64_t patience_ms) {
    std::unique_lock lock(flushed_mutex_);
    flushed_changed_.wait_for(lock, std::chrono::milliseconds(patience_ms), [this] { return flushed_; });
  }

  // Lines that the queue dropped. Set before the first line.
  std::function<std::uint64_t()> overruns;

 private:
  bool writable(std::int64_t timeout_ms) const {
    pollfd waiting{fd_, POLLOUT, 0};
    return poll(&waiting, 1, static_cast<int>(timeout_ms)) == 1 && (waiting.revents & (POLLOUT | POLLERR)) == POLLOUT;
  }
  bool write_all(std::string_view line) {
    // The end of a line that was cut short, before anything else follows it.
    if (torn_ && write_part("\n") == 0) return false;
    torn_ = false;
    while (!line.empty()) {
      const std::size_t written = write_part(line.substr(0, PIPE_BUF));
      if (written == 0) return false;
      line.remove_prefix(written);
      torn_ = !line.empty();
    }
    return true;
  }
  // Bytes written; 0 where the reader gave no room in time, or is gone.
  std::size_t write_part(std::string_view part) {
    const std::int64_t left = std::max<std::int64_t>(0, deadline_ms - steady_now_ms());
    if (!writable(stalled_ ? 0 : std::min(patience_ms_, left))) {
      stalled_ = true;
      return 0;
    }
    const ssize_t written = ::write(fd_, part.data(), part.size());
    stalled_ = written <= 0;
    return written > 0 ? static_cast<std::size_t>(written) : 0;
  }

  const int fd_;
  const std::int64_t patience_ms_;
  bool stalled_ = false;
  bool torn_ = false;
  std::uint64_t reported_ = 0;
  std::mutex flushed_mutex_;
  std::condition_variable flushed_changed_;
  bool flushed_ = false;
};

// Signals belong to the broker's threads; and a reader that closed its end is an error of write(), not the end of the
// process.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

std::string log_line(LogStyle style, std::int64_t unix_ms, LogLevel level, std::string_view event,
                     std::string_view message, std::span<const LogField> fields) {
  if (style.format == LogFormat::Text) {
    std::string line = style.timestamps ? time_text(unix_ms) + " " : "";
    line += fmt::format("{:<5} ", level_name(level));
    base::append_escaped(line, message);
    return line;
  }
  Json line = {{"time", time_text(unix_ms)}, {"level", level_name(level)}, {"event", event}, {"message", message}};
  for (const LogField& field : fields) line[std::string(field.name)] = json_value(field);
  return line.dump(-1, ' ', true, Json::error_handler_t::replace);
}

struct Log::Writer {
  explicit Writer(const Options& options)
      : level(options.level),
        patience_ms(std::chrono::duration_cast<base::milliseconds>(options.patience).count()),
        sink(std::make_shared<PatientSink>(options.fd, options.style, patience_ms)),
        pool(std::make_shared<spdlog::details::thread_pool>(std::max<std::size_t>(1, options.queue_lines), 1,
                                                            block_signals)),
        logger(std::make_shared<spdlog::async_logger>("vigilmq", sink, pool,
                                                      spdlog::async_overflow_policy::overrun_oldest)) {
    sink->overruns = [queue = pool.get()] { return queue->overrun_counter(); };
    logger->set_level(spdlog::level::trace);
  }

  std::atomic<LogLevel> level;
  const std::int64_t patience_ms;
  std::shared_ptr<PatientSink> sink;
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
};

Log::Log(Options options) : writer_(std::make_unique<Writer>(options)) {}

Log::~Log() {
  writer_->sink->deadline_ms = steady_now_ms() + writer_->patience_ms;
  writer_->logger.reset();
  // The pool's thread writes what is queued, then ends.
  const std::uint64_t overrun = writer_->pool->overrun_counter();
  writer_->pool.reset();
  writer_->sink->report(overrun);
}

void Log::finish() {
  // The thread gives up at its deadline; what it does then takes no time worth mentioning, if it gets to run.
  constexpr std::int64_t kMomentMs = 1000;
  writer_->sink->deadline_ms = steady_now_ms() + writer_->patience_ms;
  writer_->logger->flush();
  writer_->sink->wait_flushed(writer_->patience_ms + kMomentMs);
}

bool Log::enabled(LogLevel level) const { return level >= writer_->level.load(std::memory_order_relaxed); }

void Log::write(LogLevel level, std::string_view event, std::string_view message, std::span<const LogField> fields) {
  if (!enabled(level)) return;
  std::string line = log_line(writer_->sink->style, unix_now_ms(), level, event, message, fields);
  line += '\n';
  writer_->logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

void Log::set_level(LogLevel level) { writer_->level.store(level, std::memory_order_relaxed); }
void Log::set_style(LogStyle style) { writer_->sink->style = style; }
std::uint64_t Log::lost() const { return writer_->sink->lost + writer_->pool->overrun_counter(); }

}  // namespace vigil::log
