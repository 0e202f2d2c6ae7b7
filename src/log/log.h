// The broker's log: lines for people or for programs, to standard error.
//
// A shard never waits for whoever reads the log. write() puts the finished line into a bounded queue and returns; a
// thread of the log's own writes it out, a whole line at a time. When the reader stops reading (a full pipe), the
// thread waits for it for a second, then drops lines until there is room again; when lines come faster than they can be
// written, the oldest waiting ones go. Either way lost() counts them, and the log itself says how many are missing once
// it can write again.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/clock.h"
#include "base/log_level.h"

namespace vigil::log {

using base::LogLevel;
enum class LogFormat : std::uint8_t { Text, Json };

// A fact for programs: shown in JSON only, the message says the same to people. `value` is borrowed for the call.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, bool> value;

  LogField(std::string_view field_name, std::string_view text) : name(field_name), value(text) {}
  LogField(std::string_view field_name, const char* text) : name(field_name), value(std::string_view(text)) {}
  template <std::integral T>
  LogField(std::string_view field_name, T number) : name(field_name) {
    if constexpr (std::same_as<T, bool>) {
      value = number;
    } else {
      value = static_cast<std::int64_t>(number);
    }
  }
};

struct LogStyle {
  LogFormat format = LogFormat::Text;
  bool timestamps = true;  // of text; JSON always has the time
};

// One line without its end. Text: "2026-01-31T12:00:00.123Z info  New client connected from 127.0.0.1:5000 as dev1 (p5,
// c1, k60)." JSON: {"time":...,"level":...,"event":...,"message":..., fields}. Control characters and broken UTF-8,
// which clients may have chosen, are escaped, so that a line is always one line and one event. `unix_ms`: wall clock,
// milliseconds since 1970.
std::string log_line(LogStyle style, std::int64_t unix_ms, LogLevel level, std::string_view event,
                     std::string_view message, std::span<const LogField> fields);

class Log {
 public:
  struct Options {
    LogLevel level = LogLevel::Info;
    LogStyle style = {};
    int fd = 2;                                  // borrowed; standard error
    std::size_t queue_lines = 8192;              // at least 1
    base::Duration patience = base::seconds(1);  // with a reader that does not read
  };
  explicit Log(Options options);
  // Writes what waits, as far as the reader takes it within `patience`.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // All of these from any thread.
  bool enabled(LogLevel level) const;
  // `event` is one word for programs, as "client_connected"; message a sentence or line for people.
  void write(LogLevel level, std::string_view event, std::string_view message, std::span<const LogField> fields = {});
  void write(LogLevel level, std::string_view event, std::string_view message, std::initializer_list<LogField> fields) {
    write(level, event, message, std::span<const LogField>(fields.begin(), fields.size()));
  }
  // For a process that is about to end without destroying the log, because other threads may still write to it. Writes
  // what was put in before, as far as the reader takes it within `patience`; from now on nobody waits for it longer.
  void finish();
  void set_level(LogLevel level);
  void set_style(LogStyle style);
  // Lines that were not written because the reader did not keep up.
  std::uint64_t lost() const;

 private:
  struct Writer;
  std::unique_ptr<Writer> writer_;
};

}  // namespace vigil::log
