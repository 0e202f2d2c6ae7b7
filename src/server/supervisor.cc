#include "server/supervisor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "io/clock.h"
#include "mqtt/topic.h"
#include "server/cpu_count.h"
#include "server/fd_limit.h"

namespace vigil::server {
namespace {

using log::LogLevel;

// While it stops, the supervisor looks so often how far the shards are.
constexpr base::Duration kLook = base::milliseconds(2);
// The part of the drain timeout that is kept for saying goodbye and closing, and what that is given at least.
constexpr int kGoodbyePart = 4;
constexpr base::Duration kLeastTime = base::seconds(2);
// What a second signal leaves.
constexpr base::Duration kHurry = base::milliseconds(500);
constexpr int kNone = -1;
// How often the supervisor looks whether the wall clock was set, and, where it was not, tells the store what time it
// is.
constexpr base::Duration kLookAtClocksEvery = base::seconds(1);
constexpr base::Duration kKeepTimeEvery = base::seconds(60);

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&set, number);
  return set;
}

// The next signal, or kNone at `until`.
int next_signal(base::Instant until) {
  const sigset_t set = our_signals();
  for (;;) {
    const base::Duration left =
        until.is_never() ? base::seconds(3600) : std::max(until - io::monotonic_now(), base::Duration::zero());
    const timespec timeout{.tv_sec = left.count() / 1'000'000'000, .tv_nsec = left.count() % 1'000'000'000};
    const int number = sigtimedwait(&set, nullptr, &timeout);
    if (number > 0) return number;
    if (errno == EAGAIN && !until.is_never()) return kNone;
  }
}

// The kernel's name of this machine.
std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "vigilmq";
  return name.data();
}

// Subscriptions of stored sessions that could not be made if their kind is switched off now.
struct OldSubscriptions {
  std::size_t wildcard = 0;
  std::size_t shared = 0;

  void count(const broker::RecoveredSession& session) {
    for (const broker::PutSubscription& subscription : session.subscriptions) {
      const auto filter = mqtt::TopicFilter::parse(subscription.text);
      if (!filter) continue;
      wildcard += mqtt::has_wildcard(filter->filter) ? 1 : 0;
      shared += filter->shared() ? 1 : 0;
    }
  }
};

// What systemd expects at least every so often; zero outside of it.
base::Duration watchdog_interval() {
  const auto number = [](const char* name) {
    std::uint64_t value = 0;
    if (const char* text = std::getenv(name); text != nullptr) {
      const std::string_view digits(text);
      std::from_chars(digits.data(), digits.data() + digits.size(), value);
    }
    return value;
  };
  const std::uint64_t pid = number("WATCHDOG_PID");
  if (pid != 0 && pid != static_cast<std::uint64_t>(getpid())) return base::Duration::zero();
  return std::chrono::microseconds(std::min<std::uint64_t>(number("WATCHDOG_USEC"), 86'400'000'000));
}

std::uint64_t monotonic_us() { return static_cast<std::uint64_t>(io::monotonic_now().ns() / 1000); }

}  // namespace

void block_signals() {
  const sigset_t set = our_signals();
  CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
}

void unblock_signals() {
  const sigset_t set = our_signals();
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, nullptr) == 0);
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
}

Supervisor::Supervisor(Setup setup, log::Log& log)
    : setup_(std::move(setup)),
      log_(log),
      node_id_(setup_.config.node_id.empty() ? host_name() : setup_.config.node_id) {}

Supervisor::~Supervisor() {
  if (shards_) {
    shards_->command(Command::Exit);
    shards_->join();
  }
  // Its thread answers to the shards.
  store_.reset();
}

base::Result<void, std::string> Supervisor::start() {
  shard_count_ = setup_.config.shards > 0 ? setup_.config.shards : std::min(usable_cpus(), broker::kMaxShards);
  const FdBudget files = raise_fd_limit(shard_count_, setup_.config.limits.max_connections);
  if (files.connections == 0) return base::Err(files.warning);
  max_connections_ = files.connections;

  TRY_VOID(open_store());
  constexpr std::uint64_t kNsPerMs = 1'000'000;
  const NodeSetup node{.node_id = node_id_,
                       .version = setup_.version,
                       .incarnation = start_ms_,
                       .max_connections = max_connections_,
                       .first_position = start_ms_ * kNsPerMs,
                       .store = store_.get(),
                       .boot_began_ms = time_->boot_began_ms(),
                       .wall = time_->kept().wall};
  TRY(shards_, ShardSet::create(setup_.config, node, shard_count_, log_));
  TRY_VOID(shards_->start());
  // Recovering decides when wills are due. A start that fails for a port that is taken must not have begun to.
  TRY(std::vector<net::Listening> listening, net::open_listeners(setup_.config.listeners));
  TRY_VOID(recover());
  TRY_VOID(net::start_listening(listening, setup_.config.listeners));
  shards_->listen(std::move(listening));
  say_hello(files.warning);

  look_next_ = io::monotonic_now();
  keep_time_next_ = look_next_ + kKeepTimeEvery;
  watchdog_ = watchdog_interval();
  if (watchdog_ > base::Duration::zero()) watchdog_next_ = io::monotonic_now();
  setup_.notifier.ready("Serving MQTT clients");
  return {};
}

base::Result<void, std::string> Supervisor::open_store() {
  boot_name_ = io::boot_name();
  const config::StoreConfig& config = setup_.config.store;
  if (config.sync == config::StoreSync::Memory) {
    log_.write(LogLevel::Warn, "store_off",
               "store.sync is \"memory\": sessions, messages that wait, retained messages and wills are kept in memory "
               "only, and are lost when the broker ends.");
    begin_time({});
    start_ms_ = static_cast<std::uint64_t>(std::max<std::int64_t>(1, time_->kept().reached_ms));
    return {};
  }
  std::filesystem::path directory = config.directory;
  if (directory.empty()) directory = config::default_store_directory(setup_.sources.environment, geteuid() == 0);
  if (directory.empty()) {
    return base::Err(
        std::string("There is no directory for the broker's data: HOME is not set. Set store.directory, or "
                    "store.sync = \"memory\" to keep nothing."));
  }
  store::Options options;
  options.directory = std::move(directory);
  options.sync = config.sync == config::StoreSync::Power ? store::Sync::Power : store::Sync::Process;
  options.cache_bytes = config.cache_bytes;
  TRY(store_, store::RocksdbStore::open(options));
  TRY(const broker::KeptTime kept, store_->kept_time());
  begin_time(kept);
  TRY(start_ms_, store_->start_ms({io::monotonic_now(), time_->at(read_clocks())}));
  store_->keep_time(time_->kept());
  log_.write(LogLevel::Info, "store_open",
             fmt::format("Data are kept in {} (store.sync = \"{}\").", options.directory.string(),
                         config.sync == config::StoreSync::Power ? "power" : "process"),
             {{"directory", options.directory.string()}});
  return {};
}

// The shards get back what the store holds, before anybody can connect.
base::Result<void, std::string> Supervisor::recover() {
  if (!store_) return {};
  const base::Instant began = io::monotonic_now();
  const broker::Moment now{began, time_->at(read_clocks())};
  std::size_t sessions = 0;
  std::size_t retained = 0;
  std::uint64_t queued = 0;
  const broker::Limits& limits = setup_.config.limits;
  const bool kinds_are_off = !limits.wildcard_available || !limits.shared_available;
  OldSubscriptions old;
  const auto notice = [this](store::NoticeKind kind, const std::string& text) {
    switch (kind) {
      case store::NoticeKind::WritingFails: log_.write(LogLevel::Error, "store_failing", text); break;
      case store::NoticeKind::WritesAgain: log_.write(LogLevel::Info, "store_works_again", text); break;
      case store::NoticeKind::ReadingFails: log_.write(LogLevel::Error, "store_unreadable", text); break;
      case store::NoticeKind::RecordSkipped: log_.write(LogLevel::Error, "store_damaged", text); break;
    }
  };
  TRY_VOID(store_->recover(
      now,
      [&](broker::RecoveredFact&& fact) {
        if (const auto* session = std::get_if<broker::RecoveredSession>(&fact)) {
          ++sessions;
          queued += session->queued;
          if (kinds_are_off) old.count(*session);
        }
        retained += std::holds_alternative<broker::RecoveredRetained>(fact) ? 1 : 0;
        shards_->recover(std::move(fact));
      },
      notice));
  shards_->flush_recovered();
  store_->start([this](broker::ShardId shard,
                       std::vector<broker::StoreReply>&& replies) { shards_->reply(shard, std::move(replies)); },
                notice);
  // Each shard has taken back its own, then each has heard of what the others hold.
  drain_end_ = base::Instant::never();
  for (const Command command : {Command::Answer, Command::Answer, Command::Recovered}) {
    shards_->command(command);
    if (!wait_settled()) return base::Err(std::string("Told to stop before the start was over."));
  }
  const auto took_ms = std::chrono::duration_cast<base::milliseconds>(io::monotonic_now() - began).count();
  log_.write(LogLevel::Info, "recovered",
             fmt::format("Found {} sessions, {} messages that wait for them, and {} retained messages in {} ms.",
                         sessions, queued, retained, took_ms),
             {{"sessions", sessions}, {"queuedMessages", queued}, {"retainedMessages", retained}, {"ms", took_ms}});
  if (!limits.retain_available && retained > 0) {
    log_.write(LogLevel::Warn, "retained_kept_back",
               fmt::format("{} retained messages are kept back: mqtt.retain_available is false. New subscriptions do "
                           "not get them; they are there again when it is true.",
                           retained),
               {{"retainedMessages", retained}});
  }
  say_they_go_on("mqtt.wildcard_available", limits.wildcard_available, old.wildcard);
  say_they_go_on("mqtt.shared_available", limits.shared_available, old.shared);
  return {};
}

// Stored subscriptions of a kind that the key switches off now.
void Supervisor::say_they_go_on(std::string_view key, bool available, std::size_t subscriptions) {
  if (available || subscriptions == 0) return;
  log_.write(LogLevel::Warn, "old_subscriptions",
             fmt::format("{} subscriptions of stored sessions go on although {} is false. Each ends when its client "
                         "subscribes again (and is refused), unsubscribes, or begins a new session.",
                         subscriptions, key),
             {{"key", key}, {"subscriptions", subscriptions}});
}

broker::ClockReading Supervisor::read_clocks() const {
  const io::Clocks clocks = io::read_clocks();
  return {.wall_ms = clocks.wall_ms, .boot_ms = clocks.boot_ms, .boot = boot_name_};
}

// "30 d 2 h", "12 s": the two largest units, of a length that is no less than half a second.
static std::string length_text(std::int64_t ms) {
  const std::int64_t s = (std::abs(ms) + 500) / 1'000;
  constexpr std::array<std::pair<std::int64_t, std::string_view>, 4> kUnits = {
      {{86'400, "d"}, {3'600, "h"}, {60, "min"}, {1, "s"}}};
  for (std::size_t i = 0; i < kUnits.size(); ++i) {
    const auto& [size, name] = kUnits[i];
    if (s < size) continue;
    const std::int64_t rest = i + 1 < kUnits.size() ? s % size / kUnits[i + 1].first : 0;
    const std::string text = fmt::format("{} {}", s / size, name);
    return rest == 0 ? text : fmt::format("{} {} {}", text, rest, kUnits[i + 1].second);
  }
  return fmt::format("{} ms", std::abs(ms));
}

void Supervisor::begin_time(const broker::KeptTime& kept) {
  const broker::ClockReading now = read_clocks();
  time_.emplace(kept, now);
  const auto step_ms = time_->look(now);
  if (!step_ms || kept == broker::KeptTime{}) return;
  log_.write(LogLevel::Warn, "clock_set",
             fmt::format("The wall clock was set {} by {} since the broker ran last. Nothing expires earlier or later "
                         "for it.",
                         *step_ms < 0 ? "back" : "forward", length_text(*step_ms)),
             {{"stepMs", *step_ms}});
}

// Deadlines do not follow the wall clock. What people are told does, and so does the next start after a reboot.
void Supervisor::look_at_clocks() {
  const base::Instant now = io::monotonic_now();
  look_next_ = now + kLookAtClocksEvery;
  const auto step_ms = time_->look(read_clocks());
  if (!step_ms && now < keep_time_next_) return;
  keep_time_next_ = now + kKeepTimeEvery;
  if (store_) store_->keep_time(time_->kept());
  if (!step_ms) return;
  shards_->wall_time(time_->kept().wall);
  log_.write(LogLevel::Warn, "clock_set",
             fmt::format("The wall clock was set {} by {}. Nothing expires earlier or later for it; times in presence "
                         "follow it.",
                         *step_ms < 0 ? "back" : "forward", length_text(*step_ms)),
             {{"stepMs", *step_ms}});
}

// All that was handed over is written. False if the disk does not take it.
bool Supervisor::close_store() {
  if (!store_) return true;
  keep_time_next_ = {};
  look_at_clocks();
  const base::Duration patience = std::max(drain_end_ - io::monotonic_now(), kLeastTime);
  const bool written = store_->stop(patience);
  if (!written) {
    log_.write(LogLevel::Error, "store_not_written",
               "The last changes could not be written: the disk did not take them in time. Nothing of that had been "
               "acknowledged.");
  }
  return written;
}

// What an address does not say of itself.
static std::string remark(const net::Listening& listening, const net::ListenerSettings& listener) {
  const io::Endpoint& endpoint = listening.endpoint;
  if (std::holds_alternative<io::AllInterfaces>(endpoint.value())) return " (all addresses, IPv4 and IPv6)";
  if (!endpoint.is_unix() || endpoint.host().starts_with('@')) return {};
  return fmt::format(" (mode {:04o}{}{})", listener.socket_mode, listener.socket_group.empty() ? "" : ", group ",
                     listener.socket_group);
}

void Supervisor::say_hello(const std::string& fd_warning) const {
  const config::Config& config = setup_.config;
  const auto tick_ms = std::chrono::duration_cast<base::milliseconds>(config.keep_alive.tick).count();
  const config::ConfigOrigin origin = config::origin_of(setup_.sources);
  log_.write(LogLevel::Info, "started",
             fmt::format("VigilMQ {} on node {}: {} shards, keep alive judged every {} ms, at most {} connections; {}.",
                         setup_.version, node_id_, shard_count_, tick_ms, max_connections_, origin.text()),
             {{"version", setup_.version},
              {"nodeId", node_id_},
              {"shards", shard_count_},
              {"tickMs", tick_ms},
              {"maxConnections", max_connections_},
              {"configFile", origin.file ? origin.file->string() : std::string()}});
  if (!fd_warning.empty()) log_.write(LogLevel::Warn, "few_files", fd_warning);
  for (const net::Listening& listening : shards_->listening()) {
    const std::string address = listening.endpoint.text();
    const net::ListenerSettings& listener = config.listeners[listening.listener];
    log_.write(LogLevel::Info, "listening", fmt::format("listening on {}{}", address, remark(listening, listener)),
               {{"listener", listener.name}, {"address", address}});
  }
  std::vector<std::string> open;
  for (const net::Listening& listening : shards_->listening()) {
    if (!listening.endpoint.is_loopback()) open.push_back(listening.endpoint.text());
  }
  if (config.allow_anonymous_remote && !open.empty()) {
    log_.write(LogLevel::Warn, "anonymous_remote",
               fmt::format("Anybody who can reach {} may connect without a password, read and write every topic, and "
                           "take over any client id (security.allow_anonymous_remote). Let only trusted machines reach "
                           "it (firewall, private network), or listen on 127.0.0.1 and [::1] only.",
                           fmt::join(open, ", ")));
  }
}

int Supervisor::run() {
  if (reload_wanted_ && !stop_wanted_) reload();
  for (;;) {
    const int number = stop_wanted_ ? *stop_wanted_ : next_signal(std::min(watchdog_next_, look_next_));
    if (number == kNone) {
      const base::Instant now = io::monotonic_now();
      if (look_next_ <= now) look_at_clocks();
      if (watchdog_next_ <= now) feed_watchdog();
    } else if (number == SIGHUP) {
      reload();
    } else if (number == SIGUSR1 || number == SIGUSR2) {
      ignore(number);
    } else {
      log_.write(LogLevel::Info, "stopping",
                 fmt::format("Stopping ({}): clients are told, within {} s.", number == SIGINT ? "SIGINT" : "SIGTERM",
                             std::chrono::duration_cast<base::seconds>(setup_.config.drain_timeout).count()));
      return drain() ? EXIT_SUCCESS : EXIT_FAILURE;
    }
  }
}

void Supervisor::ignore(int signal) const {
  log_.write(LogLevel::Info, "signal_ignored",
             fmt::format("{} is ignored: it has no meaning here. SIGHUP reads the configuration again, SIGTERM stops.",
                         signal == SIGUSR1 ? "SIGUSR1" : "SIGUSR2"));
}

// systemd is told that all is well only when every shard has shown since the last time that its loop turns.
void Supervisor::feed_watchdog() {
  if (!watchdog_asked_ || shards_->settled()) {
    setup_.notifier.send("WATCHDOG=1\n");
    shards_->command(Command::Alive);
    watchdog_asked_ = true;
  }
  watchdog_next_ = io::monotonic_now() + watchdog_ / 4;
}

void Supervisor::reload() {
  setup_.notifier.reloading(monotonic_us());
  const auto fresh = config::load_config(setup_.sources);
  if (!fresh) {
    for (const config::ConfigError& error : fresh.error()) log_.write(LogLevel::Error, "reload_failed", error.text());
    log_.write(LogLevel::Error, "reload_failed", "The configuration has errors; the old one stays in force.");
  } else {
    config::ConfigReload result = config::reload(setup_.config, *fresh);
    setup_.config = std::move(result.config);
    const FdBudget files = raise_fd_limit(shard_count_, setup_.config.limits.max_connections);
    max_connections_ = files.connections;
    log_.set_level(setup_.config.log_level);
    log_.set_style({.format = setup_.config.log_format, .timestamps = setup_.config.log_timestamps});
    shards_->reconfigure(setup_.config, max_connections_);
    log_.write(LogLevel::Info, "reloaded",
               fmt::format("Configuration read again ({}): {}.", config::origin_of(setup_.sources).text(),
                           result.applied.empty() ? std::string("nothing new to apply")
                                                  : fmt::format("now in force: {}", fmt::join(result.applied, ", "))));
    if (!result.needs_restart.empty()) {
      log_.write(LogLevel::Warn, "reload_needs_restart",
                 fmt::format("Changed, but in force only after a restart: {}.", fmt::join(result.needs_restart, ", ")));
    }
    if (!files.warning.empty()) log_.write(LogLevel::Warn, "few_files", files.warning);
  }
  setup_.notifier.ready("Serving MQTT clients");
}

// False if there is no time left.
bool Supervisor::wait_a_moment(const base::Instant& until) {
  const base::Instant now = io::monotonic_now();
  const int number = next_signal(std::min(now + kLook, until));
  if (number == SIGTERM || number == SIGINT) {
    // During the start it is remembered: run() then stops at once. During the stop the broker is asked for the second
    // time: nobody is waited for any more, and goodbyes still go where they go at once.
    if (!stop_wanted_) stop_wanted_ = number;
    deliver_until_ = now;
    drain_end_ = std::min(drain_end_, now + kHurry);
  } else if (number == SIGHUP) {
    reload_wanted_ = true;
  } else if (number == SIGUSR1 || number == SIGUSR2) {
    ignore(number);
  }
  return io::monotonic_now() < until;
}

bool Supervisor::wait_settled() {
  while (!shards_->settled()) {
    if (!wait_a_moment(drain_end_)) return false;
  }
  return true;
}

bool Supervisor::drain() {
  setup_.notifier.stopping("Telling clients");
  const base::Duration timeout = setup_.config.drain_timeout;
  deliver_until_ = io::monotonic_now() + (timeout - timeout / kGoodbyePart);
  drain_end_ = io::monotonic_now() + std::max(timeout, kLeastTime);

  // Nobody is to come in any more.
  for (const net::Listening& one : shards_->listening()) {
    if (one.file) one.file->remove();
  }
  // Wills first, while those who wait for them are still there: each shard publishes its own, then each works off the
  // mail that this was to it, and what it answers.
  for (const Command command : {Command::StopAccepting, Command::BeginShutdown, Command::Answer, Command::Answer}) {
    shards_->command(command);
    if (!wait_settled()) return false;
  }
  do {
    shards_->command(Command::CountUnsent);
    if (!wait_settled()) return false;
  } while (shards_->unsent() > 0 && wait_a_moment(deliver_until_));

  shards_->command(Command::CloseConnections);
  if (!wait_settled()) return false;
  while (shards_->open_connections() > 0) {
    if (!wait_a_moment(drain_end_)) return false;
  }
  // Those who were still sending read the last words; the shards bound how long that may be.
  const base::Instant linger_until = io::monotonic_now() + (drain_end_ - io::monotonic_now()) / 2;
  while (shards_->lingering() > 0 && wait_a_moment(linger_until)) {
  }
  shards_->command(Command::Exit);
  if (!wait_settled()) return false;
  shards_->join();
  const bool written = close_store();
  // The store's thread may be in the disk's hands, and cannot be waited for.
  if (!written) return false;
  shards_.reset();
  store_.reset();
  log_.write(LogLevel::Info, "stopped", "Stopped: all clients were told.");
  return true;
}

}  // namespace vigil::server
