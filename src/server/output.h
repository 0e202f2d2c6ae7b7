// Standard output of a command that prints something and ends: a full disk or a reader that is gone is noticed.
#pragma once

#include <array>
#include <ostream>
#include <streambuf>
#include <string_view>
#include <system_error>

namespace vigil::server {

// Owns no descriptor. While one lives, and afterwards, a reader that is gone is an error (EPIPE) and no SIGPIPE.
class Output : private std::streambuf {
 public:
  explicit Output(int fd);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // Goes bad with the first failure.
  std::ostream& stream() { return stream_; }
  // Writes what is left. The first failure there ever was, or none.
  std::error_code finish();

 private:
  int_type overflow(int_type next) override;
  int sync() override;
  bool write_out();

  int fd_;
  std::error_code failure_;
  std::array<char, std::size_t{16} << 10U> buffer_{};
  std::ostream stream_;
};

// Writes the text, with a line feed behind it if it has none, to standard output. The exit status: 0, or 1 and a
// sentence on standard error.
int print_or_complain(std::string_view text);
// Finishes; the exit status is `status`, or 1 and a sentence on standard error.
int finish_or_complain(Output& output, int status);

}  // namespace vigil::server
