#include "store/snapshot.h"

#include <fcntl.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include <fmt/format.h>

namespace vigil::store {
namespace {

using base::Err;
using std::filesystem::path;

// A broker that writes as fast as it can changes its MANIFEST some tens of times a second, and a try takes about a
// millisecond.
constexpr int kTries = 500;
constexpr std::chrono::milliseconds kPause{4};
// Root reads what another user may have put there.
constexpr int kToRead = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

std::error_code last_error() { return {errno, std::generic_category()}; }

// "000123.log": 123.
std::optional<std::uint64_t> number_of(const path& file, std::string_view extension) {
  if (file.extension() != extension) return std::nullopt;
  const std::string stem = file.stem().string();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
  if (error != std::errc() || end != stem.data() + stem.size()) return std::nullopt;
  return number;
}

// The number of the newest log.
base::Result<std::uint64_t, std::string> newest_log(const path& directory) {
  std::error_code error;
  std::uint64_t newest = 0;
  for (auto it = std::filesystem::directory_iterator(directory, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    newest = std::max(newest, number_of(it->path(), ".log").value_or(0));
  }
  if (error) return Err(cannot_read(directory, error));
  return newest;
}

// What CURRENT says; an error where there is none.
base::Result<std::string, std::string> read_current(const path& directory) {
  const File file(directory / "CURRENT", kToRead);
  if (!file.is_open()) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return Err(
          fmt::format("There is no store in {}. Name the directory that holds a file CURRENT.", directory.string()));
    }
    return Err(cannot_read(errno == EACCES ? directory : directory / "CURRENT", last_error()));
  }
  const auto content = read_beginning(file, 4'096);
  if (!content) return Err(cannot_read(directory / "CURRENT", content.error()));
  return *content;
}

}  // namespace

base::Result<void, std::string> expect_store(const path& directory) {
  TRY_VOID(read_current(directory));
  return {};
}

Snapshot::View::~View() {
  std::error_code ignored;
  if (!path.empty()) std::filesystem::remove_all(path, ignored);
}

base::Result<Snapshot, std::string> Snapshot::take(const path& directory) {
  Snapshot snapshot(directory);
  for (int tries = 1;; ++tries) {
    TRY(const Try done, snapshot.open_files());
    if (done == Try::Taken) break;
    if (tries == kTries) {
      return Err(fmt::format(
          "The store in {} could not be read: its files changed each time, or {} is missing. Try again when the broker "
          "has less to do; if no broker runs, the store is not complete.",
          directory.string(), snapshot.manifest_.name));
    }
    std::this_thread::sleep_for(kPause);
  }
  TRY_VOID(snapshot.make_view());
  return snapshot;
}

base::Result<Snapshot::Try, std::string> Snapshot::open_files() {
  files_.clear();
  TRY(current_, read_current(directory_));
  manifest_.name = current_.substr(0, current_.find('\n'));
  if (!manifest_.name.starts_with("MANIFEST-") || manifest_.name.contains('/')) {
    return Err(fmt::format(
        "The store in {} is damaged: its file CURRENT does not name a MANIFEST. Bring back a copy from before.",
        directory_.string()));
  }
  manifest_.file = File(directory_ / manifest_.name, kToRead);
  if (!manifest_.file.is_open()) {
    if (errno == ENOENT) return Try::NotNow;
    return Err(cannot_read(directory_ / manifest_.name, last_error()));
  }
  const std::int64_t length = manifest_.file.size();
  manifest_.size = static_cast<std::uint64_t>(length);

  // The names are read twice. The first look says up to which log: each log before that one was there before the second
  // look began, so the second cannot miss one in between, as a single look beside a busy broker could.
  TRY(const std::uint64_t newest, newest_log(directory_));
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(directory_, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const auto log = number_of(it->path(), ".log");
    const bool wanted = log ? *log <= newest : number_of(it->path(), ".sst").has_value();
    if (!wanted) continue;
    Open open{.name = it->path().filename().string(), .file = File(it->path(), kToRead)};
    if (!open.file.is_open()) {
      if (errno == ENOENT) continue;  // superfluous, or 3 notices
      return Err(cannot_read(it->path(), last_error()));
    }
    open.size = static_cast<std::uint64_t>(std::max<std::int64_t>(open.file.size(), 0));
    files_.push_back(std::move(open));
  }
  if (error) return Err(cannot_read(directory_, error));

  TRY(const std::string current_now, read_current(directory_));
  return current_now == current_ && manifest_.file.size() == length ? Try::Taken : Try::NotNow;
}

base::Result<void, std::string> Snapshot::make_view() {
  std::error_code error;
  const path parent = std::filesystem::temp_directory_path(error);
  std::string pattern = (parent / "vigilmq-store-XXXXXX").string();
  if (error || ::mkdtemp(pattern.data()) == nullptr) {
    return Err(fmt::format("Cannot make a directory for temporary files, {}: {}. TMPDIR names another place for it.",
                           pattern, (error ? error : last_error()).message()));
  }
  view_.path = pattern;
  const auto manifest = read_beginning(manifest_.file, manifest_.size);
  if (!manifest) return Err(cannot_read(directory_ / manifest_.name, manifest.error()));
  TRY_VOID(write_file(view_.path / manifest_.name, *manifest));
  TRY_VOID(write_file(view_.path / "CURRENT", current_));
  for (const Open& open : files_) {
    std::filesystem::create_symlink(fmt::format("/proc/self/fd/{}", open.file.fd()), view_.path / open.name, error);
    if (error) return Err(fmt::format("Cannot write to {}: {}.", view_.path.string(), error.message()));
  }
  return {};
}

std::string Snapshot::translated(std::string text) const {
  const std::string from = view_.path.string();
  const std::string to = directory_.string();
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

base::Result<Snapshot::Copied, std::string> Snapshot::copy_to(const path& to,
                                                              const std::vector<std::string>& tables) const {
  Copied copied;
  const auto copy = [&](const Open& one) -> base::Result<void, std::string> {
    TRY_VOID(copy_file(one.file, one.size, to / one.name));
    ++copied.files;
    copied.bytes += one.size;
    return {};
  };
  for (const Open& one : files_) {
    const bool is_table = one.name.ends_with(".sst");
    if (!is_table || std::find(tables.begin(), tables.end(), one.name) != tables.end()) TRY_VOID(copy(one));
  }
  TRY_VOID(copy(manifest_));
  TRY_VOID(sync_path(to));
  const path unfinished = to / "CURRENT.dbtmp";
  TRY_VOID(write_file(unfinished, current_));
  std::error_code error;
  std::filesystem::rename(unfinished, to / "CURRENT", error);
  if (error) return Err(fmt::format("Cannot write {}: {}.", (to / "CURRENT").string(), error.message()));
  TRY_VOID(sync_path(to));
  ++copied.files;
  copied.bytes += current_.size();
  return copied;
}

}  // namespace vigil::store
