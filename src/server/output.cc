#include "server/output.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace vigil::server {

Output::Output(int fd) : fd_(fd), stream_(this) {
  std::signal(SIGPIPE, SIG_IGN);
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

std::error_code Output::finish() {
  stream_.flush();
  return failure_;
}

Output::int_type Output::overflow(int_type next) {
  if (!write_out()) return traits_type::eof();
  if (!traits_type::eq_int_type(next, traits_type::eof())) return sputc(traits_type::to_char_type(next));
  return traits_type::not_eof(next);
}

int Output::sync() { return write_out() ? 0 : -1; }

bool Output::write_out() {
  const char* from = pbase();
  while (!failure_ && from < pptr()) {
    const ssize_t written = ::write(fd_, from, static_cast<std::size_t>(pptr() - from));
    if (written >= 0) {
      from += written;
    } else if (errno != EINTR) {
      failure_ = {errno, std::generic_category()};
    }
  }
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  return !failure_;
}

int print_or_complain(std::string_view text) {
  Output output(STDOUT_FILENO);
  output.stream() << text;
  if (!text.ends_with('\n')) output.stream() << '\n';
  return finish_or_complain(output, EXIT_SUCCESS);
}

int finish_or_complain(Output& output, int status) {
  const std::error_code failure = output.finish();
  if (!failure) return status;
  fmt::print(stderr, "vigilmq: cannot write to standard output: {}. What was written is not complete.\n",
             failure.message());
  return EXIT_FAILURE;
}

}  // namespace vigil::server
