// The life of the broker's process: start, signals, reload, drain, stop.
//
//   start ──► run: SIGHUP reloads, systemd's watchdog is fed ──► SIGTERM or SIGINT: drain ──► exit
//
// Lives on the main thread, which does nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "log/log.h"
#include "net/listening.h"
#include "server/notify.h"
#include "server/shard_set.h"
#include "store/rocksdb_store.h"

namespace vigil::server {

// Blocks the signals that the supervisor waits for, in this thread and those that it starts from now on, and ignores
// SIGPIPE. To be called first of all, before any other thread exists: what comes before the supervisor is there waits
// for it.
void block_signals();
// Undoes that, for commands that are over soon: they end as other programs do.
void unblock_signals();

class Supervisor {
 public:
  struct Setup {
    config::Config config;
    config::ConfigSources sources;  // where SIGHUP looks again
    std::string version;
    Notifier notifier;
  };
  Supervisor(Setup setup, log::Log& log);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Opens the listening sockets and starts the shards. The error is a plain sentence: what is wrong, what helps.
  base::Result<void, std::string> start();
  // Waits for signals until one of them ends the broker; then drain() has been called. The process's exit code.
  int run();

  // Reads the configuration again and applies what can be; the log says what cannot.
  void reload();
  // Stops: publishes wills, delivers what clients have yet to read, tells everybody, closes. A second signal shortens
  // that. True if all was done within drain_timeout_s; false if time ran out: the process then ends at once and must
  // not destroy this object.
  bool drain();

  std::span<const net::Listening> listening() const { return shards_->listening(); }

 private:
  base::Result<void, std::string> open_store();
  base::Result<void, std::string> recover();
  void say_they_go_on(std::string_view key, bool available, std::size_t subscriptions);
  bool close_store();
  broker::ClockReading read_clocks() const;
  void begin_time(const broker::KeptTime& kept);
  void look_at_clocks();
  void say_hello(const std::string& fd_warning) const;
  bool wait_settled();
  bool wait_a_moment(const base::Instant& until);
  void ignore(int signal) const;
  void feed_watchdog();

  Setup setup_;
  log::Log& log_;
  std::string node_id_;
  std::uint32_t max_connections_ = 0;
  unsigned shard_count_ = 1;
  bool reload_wanted_ = false;      // SIGHUP came before the start was over
  std::optional<int> stop_wanted_;  // the first SIGTERM or SIGINT that came while something was waited for
  std::optional<broker::StoreTime> time_;
  std::uint64_t boot_name_ = 0;
  base::Instant look_next_ = base::Instant::never();  // at the clocks
  base::Instant keep_time_next_;                      // in the store, if the clock is not set before
  std::unique_ptr<store::RocksdbStore> store_;        // null: nothing is kept on disk. Outlives the shards
  std::uint64_t start_ms_ = 1;                        // above every time that an earlier run has used
  std::unique_ptr<ShardSet> shards_;
  base::Duration watchdog_ = base::Duration::zero();  // zero: none
  base::Instant watchdog_next_ = base::Instant::never();
  bool watchdog_asked_ = false;
  base::Instant deliver_until_;
  base::Instant drain_end_;
};

}  // namespace vigil::server
