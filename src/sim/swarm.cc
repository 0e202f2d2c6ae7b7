#include "sim/swarm.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <memory>
#include <vector>

#include <fmt/format.h>

#include "sim/sim_client.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

using base::milliseconds;
using base::Random;
using mqtt::QoS;

// How wild the world is; zero leaves a kind of trouble out.
struct Temper {
  base::Duration length{0};
  unsigned clients = 4;
  unsigned rivals = 0;  // clients that share their id with another
  unsigned drops = 0;   // percent of actions
  unsigned silences = 0;
  unsigned stalls = 0;
  unsigned slow_readers = 0;
  unsigned publishes = 40;
  unsigned most_keep_alive_s = 10;
  base::Duration most_pause{0};  // between two actions of a client
  bool shares = false;
  // With a store.
  bool durable = false;
  unsigned crashes = 0;
  bool store_stalls = false;
  bool wall_steps = false;
};

WorldOptions world_options(Random& random, std::uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  options.shards = 1 + static_cast<unsigned>(random.below(4));
  constexpr std::array<int, 4> kTicks = {1, 10, 100, 1000};
  options.keep_alive.tick = milliseconds(kTicks[random.below(4)]);
  if (random.chance(15)) {
    options.keep_alive.max_s = static_cast<std::uint32_t>(random.between(2, 8));
    options.keep_alive.over_max_v3 = static_cast<broker::OverMaxV3>(random.below(3));
  }
  broker::Limits& limits = options.limits;
  limits.v3_session_expiry_s = static_cast<std::uint32_t>(random.between(5, 4000));
  limits.sys_clients_enabled = random.chance(50);
  if (random.chance(40)) limits.max_inflight = static_cast<std::uint16_t>(random.between(1, 10));
  if (random.chance(40)) limits.receive_maximum = static_cast<std::uint16_t>(random.between(1, 10));
  if (random.chance(20)) limits.max_queued_messages = static_cast<std::uint32_t>(random.between(5, 50));
  if (random.chance(30)) limits.max_output_bytes = static_cast<std::uint32_t>(random.between(100, 4000));
  if (random.chance(30)) limits.topic_alias_out_maximum = static_cast<std::uint16_t>(random.between(0, 3));
  if (random.chance(20)) limits.max_session_expiry_s = static_cast<std::uint32_t>(random.between(3, 30));
  if (random.chance(30)) limits.write_stall_timeout = base::seconds(random.between(3, 10));
  limits.presence_history = static_cast<std::uint32_t>(random.between(1, 16));
  return options;
}

Temper temper(Random& random) {
  Temper t;
  t.length = base::seconds(random.between(10, 90));
  t.clients = static_cast<unsigned>(random.between(2, 9));
  t.rivals = random.chance(40) ? static_cast<unsigned>(random.between(1, 3)) : 0;
  t.drops = random.chance(70) ? static_cast<unsigned>(random.between(1, 15)) : 0;
  t.silences = random.chance(50) ? static_cast<unsigned>(random.between(1, 8)) : 0;
  t.stalls = random.chance(50) ? static_cast<unsigned>(random.between(1, 3)) : 0;
  t.slow_readers = random.chance(40) ? static_cast<unsigned>(random.between(1, 6)) : 0;
  t.publishes = static_cast<unsigned>(random.between(10, 60));
  t.most_keep_alive_s = static_cast<unsigned>(random.between(1, 12));
  t.most_pause = milliseconds(random.between(50, 3000));
  t.shares = random.chance(50);
  return t;
}

// From a source of its own: a seed without a store stays what it was.
void add_store(Random& random, Temper& temper, WorldOptions& options) {
  temper.durable = options.durable = random.chance(50);
  if (!options.durable) return;
  constexpr std::array<int, 5> kDelays = {0, 200, 2'000, 20'000, 200'000};
  options.store_delay = std::chrono::microseconds(kDelays[random.below(kDelays.size())]);
  options.limits.will_restart_grace_s = static_cast<std::uint32_t>(random.between(1, 12));
  temper.store_stalls = random.chance(30);
  if (random.chance(70)) temper.crashes = static_cast<unsigned>(random.between(1, 3));
  options.narrow = random.chance(30);
  if (random.chance(30)) options.load_failures = 40;
}

// From a source of its own, too.
void add_forgetting(Random& random, WorldOptions& options) {
  if (random.chance(30)) options.limits.presence_keep = base::seconds(random.between(1, 10));
  if (random.chance(20)) options.limits.presence_max_records = static_cast<std::uint32_t>(random.between(1, 8));
  if (random.chance(20)) options.limits.presence_max_bytes = static_cast<std::uint64_t>(random.between(1, 8)) * 1'024;
}

class Swarm {
 public:
  Swarm(std::uint64_t seed, bool verbose)
      : random_(seed ^ 0x5157'4152'4d00ULL),
        store_random_(seed ^ 0x5354'4f52'4500ULL),
        wall_random_(seed ^ 0x5741'4c4c'0000ULL),
        forget_random_(seed ^ 0x464f'5247'4554ULL),
        oracle_(verbose),
        temper_(temper(random_)),
        world_(with_store(world_options(random_, seed)), &oracle_),
        verbose_(verbose) {
    oracle_.watch(world_);
  }
  SwarmResult run();

 private:
  WorldOptions with_store(WorldOptions options) {
    add_store(store_random_, temper_, options);
    add_forgetting(forget_random_, options);
    return options;
  }
  LinkProfile profile();
  ConnectWish wish();
  void act(SimClient& client);
  void act_connected(SimClient& client);
  void plan(SimClient& client);
  void trouble();
  void store_trouble();
  void wall_trouble();
  void crash();
  void watch();
  void settle();
  void compare_retained();
  bool run_for(base::Duration length);
  std::string topic();
  std::string filter();
  QoS qos() { return static_cast<QoS>(random_.below(3)); }
  unsigned any_shard() { return static_cast<unsigned>(random_.below(world_.shards())); }

  Random random_;
  Random store_random_;
  Random wall_random_;
  Random forget_random_;
  Oracle oracle_;
  Temper temper_;
  World world_;
  bool verbose_;
  std::deque<SimClient> clients_;
  std::unique_ptr<SimClient> watcher_;
  std::deque<SimClient> readers_;
  base::Instant watch_until_;
  bool calm_ = false;
};

LinkProfile Swarm::profile() {
  LinkProfile p;
  p.min_delay = std::chrono::microseconds(random_.between(0, 2000));
  p.max_delay = p.min_delay + std::chrono::microseconds(random_.between(0, random_.chance(20) ? 300'000 : 5000));
  p.window = random_.chance(30) ? static_cast<std::size_t>(random_.between(10, 500)) : 65'536;
  p.split_percent = random_.chance(50) ? static_cast<unsigned>(random_.between(0, 60)) : 0;
  return p;
}

ConnectWish Swarm::wish() {
  ConnectWish w;
  w.version = random_.chance(60) ? mqtt::Version::V5 : random_.chance(70) ? mqtt::Version::V311 : mqtt::Version::V31;
  // 3.1 cannot say whether the session was there: a client that keeps one is of a later version.
  w.clean_start = w.version == mqtt::Version::V31 || random_.chance(35);
  w.keep_alive_s =
      random_.chance(15) ? std::uint16_t{0} : static_cast<std::uint16_t>(random_.between(1, temper_.most_keep_alive_s));
  if (random_.chance(70)) w.expiry_s = static_cast<std::uint32_t>(random_.between(1, random_.chance(50) ? 8 : 5000));
  if (random_.chance(5)) w.expiry_s = mqtt::kNoSessionExpiry;
  if (random_.chance(30)) w.receive_maximum = static_cast<std::uint32_t>(random_.between(1, 5));
  if (random_.chance(10)) w.maximum_packet_size = static_cast<std::uint32_t>(random_.between(60, 300));
  if (random_.chance(40)) w.topic_alias_maximum = static_cast<std::uint32_t>(random_.between(1, 4));
  w.will = random_.chance(50);
  w.will_delay_s = random_.chance(60) ? static_cast<std::uint32_t>(random_.between(1, 10)) : 0;
  w.will_qos = qos();
  w.will_retain = random_.chance(20);
  // (A will of QoS 0 that is published as the broker dies is gone, unless it is retained.)
  if (temper_.crashes > 0 && w.will_qos == QoS::AtMostOnce && !w.will_retain) w.will_qos = QoS::AtLeastOnce;
  return w;
}

std::string Swarm::topic() {
  const bool shared = temper_.shares && random_.chance(30);
  return fmt::format("{}/{}", shared ? "s" : "t", random_.below(4));
}

std::string Swarm::filter() {
  if (temper_.shares && random_.chance(35)) {
    constexpr std::array kShared = {"$share/g/s/#", "$share/h/s/1", "$share/g/s/+"};
    return kShared[random_.below(kShared.size())];
  }
  constexpr std::array kPlain = {"t/#", "t/+", "t/0", "t/1", "t/2", "t/3"};
  return kPlain[random_.below(kPlain.size())];
}

void Swarm::plan(SimClient& client) {
  const auto pause = base::Duration(random_.between(0, temper_.most_pause.count()));
  world_.after(pause, [this, &client] {
    if (calm_) return;
    act(client);
    plan(client);
  });
}

void Swarm::act(SimClient& client) {
  if (!client.linked()) {
    if (random_.chance(40)) client.connect(wish(), profile(), any_shard());
    return;
  }
  if (!client.connected()) {
    // Some lose patience.
    if (random_.chance(3)) client.drop(random_.chance(50) ? StreamEnd::Closed : StreamEnd::Reset);
    return;
  }
  act_connected(client);
}

void Swarm::act_connected(SimClient& client) {
  if (random_.chance(temper_.publishes)) {
    const std::size_t padding = random_.chance(10) ? random_.below(2000) : 0;
    const std::uint32_t expiry = random_.chance(5) ? static_cast<std::uint32_t>(random_.between(1, 5)) : 0;
    client.publish(topic(), qos(), random_.chance(10), padding, expiry);
    return;
  }
  if (random_.chance(temper_.drops)) {
    if (random_.chance(30)) client.send_torn_packet();
    if (random_.chance(20)) client.silence();  // silent first, so that the drop is never heard of
    client.drop(random_.chance(60) ? StreamEnd::Closed : StreamEnd::Reset);
    return;
  }
  if (random_.chance(temper_.silences)) {
    client.silence();
    return;
  }
  if (random_.chance(temper_.slow_readers)) {
    if (random_.chance(50)) {
      client.set_reading(random_.chance(40));
    } else {
      client.set_lazy(random_.chance(40));
    }
    return;
  }
  const std::uint64_t dice = random_.below(100);
  if (dice < 30) {
    mqtt::SubscriptionOptions options;
    options.qos = qos();
    const std::string chosen = filter();
    options.no_local = !chosen.starts_with("$share") && random_.chance(20);
    options.retain_handling = static_cast<mqtt::RetainHandling>(random_.below(3));
    client.subscribe(chosen, options);
  } else if (dice < 38) {
    client.unsubscribe(filter());
  } else if (dice < 45) {
    const bool with_will = random_.chance(30);
    std::optional<std::uint32_t> expiry;
    if (random_.chance(30)) expiry = static_cast<std::uint32_t>(random_.between(0, 20));
    client.disconnect(with_will ? mqtt::ReasonCode::DisconnectWithWill : mqtt::ReasonCode::Success, expiry);
  } else if (dice < 48) {
    client.connect(wish(), profile(), any_shard());  // from elsewhere, while the old connection still stands
  } else if (dice < 50) {
    client.send_garbage();
  } else if (dice < 52) {
    client.drip();
  } else if (dice < 54) {
    client.set_pinging(false);
  } else if (dice < 60) {
    client.set_pinging(true);
  } else if (dice < 61) {
    world_.kick(client.id());
  } else {
    client.ping();
  }
}

void Swarm::trouble() {
  world_.after(base::Duration(random_.between(base::Duration(milliseconds(200)).count(),
                                              base::Duration(base::seconds(20)).count())),
               [this] {
                 if (calm_) return;
                 if (temper_.stalls > 0) {
                   const unsigned shard = any_shard();
                   const auto length = milliseconds(random_.chance(40) ? 3000 : random_.between(1, 4000));
                   world_.stall(shard, length);
                   if (verbose_)
                     std::printf("%12.6f shard %u stalls for %lld ms\n", static_cast<double>(world_.now().ns()) / 1e9,
                                 shard, static_cast<long long>(length.count()));
                 }
                 trouble();
               });
}

void Swarm::store_trouble() {
  if (temper_.store_stalls) {
    const auto pause = milliseconds(store_random_.between(500, 20'000));
    world_.after(pause, [this] {
      if (calm_) return;
      const auto length = milliseconds(store_random_.between(100, 5'000));
      world_.stall_store(length);
      if (verbose_)
        std::printf("%12.6f the store stalls for %lld ms\n", static_cast<double>(world_.now().ns()) / 1e9,
                    static_cast<long long>(length.count()));
      store_trouble();
    });
  }
}

// The wall clock is set, forward and back, by milliseconds or by years: nobody may notice.
void Swarm::wall_trouble() {
  if (!temper_.wall_steps) return;
  world_.after(milliseconds(wall_random_.between(200, 20'000)), [this] {
    if (calm_) return;
    constexpr std::array<std::int64_t, 4> kMostMs = {600, 10'000, 86'400'000, 86'400'000LL * 1'000};
    const std::int64_t most = kMostMs[wall_random_.below(kMostMs.size())];
    const auto by = milliseconds(wall_random_.between(-most, most));
    world_.set_wall(by);
    if (verbose_)
      std::printf("%12.6f the wall clock is set by %lld ms\n", static_cast<double>(world_.now().ns()) / 1e9,
                  static_cast<long long>(by.count()));
    wall_trouble();
  });
}

// Some time within the run, to the nanosecond.
void Swarm::crash() {
  world_.after(base::Duration(store_random_.between(0, temper_.length.count())), [this] {
    if (calm_) return;
    const auto down = store_random_.chance(50) ? milliseconds(store_random_.between(0, 20))
                                               : milliseconds(store_random_.between(20, 4'000));
    world_.crash(down, store_random_.chance(30) ? static_cast<unsigned>(store_random_.between(1, 4)) : 0);
    watch_until_ = world_.now() + down + base::seconds(2);
    world_.after(down, [this] { watch(); });
  });
}

// The watcher never stays away: what it is owed comes as soon as it can.
void Swarm::watch() {
  if (!watcher_->linked()) {
    ConnectWish wish;
    if (temper_.durable) {
      wish.clean_start = world_.now() < base::Instant::from_ns(1'050'000'000);
      wish.expiry_s = 100'000;
    }
    LinkProfile good;
    good.window = 1U << 24U;
    good.max_delay = milliseconds(1);
    watcher_->connect(wish, good, any_shard());
  }
  // (After a crash it may not have heard yet that its connection has ended.)
  if (!watcher_->connected() && temper_.crashes > 0) watch_until_ = std::max(watch_until_, world_.now());
  if (world_.now() <= watch_until_) world_.after(milliseconds(20), [this] { watch(); });
}

bool Swarm::run_for(base::Duration length) {
  // In steps, so that a violation ends the run where it happened.
  const base::Instant end = world_.now() + length;
  while (world_.now() < end && oracle_.ok() && world_.fault().empty()) {
    world_.run_until(std::min(end, world_.now() + milliseconds(500)));
  }
  return oracle_.ok() && world_.fault().empty();
}

// Peace: one client an id comes back, keeps its session and takes what is owed to it. Then all leave for good.
void Swarm::settle() {
  calm_ = true;
  for (SimClient& client : clients_) {
    client.set_reading(true);
    client.set_pinging(true);
    client.drop(StreamEnd::Closed);
  }
  world_.mend_loads();
  if (!run_for(base::seconds(5))) return;
  ConnectWish quiet;
  quiet.clean_start = false;
  quiet.expiry_s = 100'000;
  LinkProfile good;
  good.max_delay = milliseconds(2);
  std::vector<SimClient*> returned;
  for (std::size_t i = 0; i < temper_.clients; ++i) {
    clients_[i].connect(quiet, good, any_shard());
    returned.push_back(&clients_[i]);
  }
  if (!run_for(base::seconds(20))) return;
  // A last word that everybody who has subscribed must hear.
  for (SimClient* client : returned) client->publish("t/1", QoS::AtLeastOnce, false, 0, 0);
  if (!run_for(base::seconds(20))) return;
  oracle_.settled(world_.now());
  if (!oracle_.ok()) return;
  for (SimClient* client : returned) client->disconnect(mqtt::ReasonCode::Success, 0);
  if (!run_for(base::seconds(15))) return;
  watcher_->disconnect(mqtt::ReasonCode::Success, 0);
  if (!run_for(base::seconds(15))) return;
  oracle_.empty(world_.now());
  if (oracle_.ok()) compare_retained();
}

// Some on each shard look at what is retained; then, where there is a store, again after a crash.
void Swarm::compare_retained() {
  std::vector<LinkId> links;
  for (int process = 0; process < (temper_.durable ? 2 : 1); ++process) {
    if (process > 0) {
      world_.crash(milliseconds(10));
      if (!run_for(milliseconds(100))) return;
    }
    for (int i = 0; i < 6; ++i) {
      SimClient& reader = readers_.emplace_back(world_, fmt::format("reader{}", i), 1);
      LinkProfile good;
      good.window = 1U << 24U;
      reader.connect({}, good, 0);
      links.push_back(*reader.link());
    }
    if (!run_for(base::seconds(2))) return;
    for (int i = 0; i < 6; ++i) {
      SimClient& reader = readers_[readers_.size() - 6 + static_cast<std::size_t>(i)];
      for (const char* filter : {"t/#", "s/#", "w/#"}) reader.subscribe(filter, {.qos = QoS::AtMostOnce});
    }
    if (!run_for(base::seconds(2))) return;
  }
  oracle_.same_retained(links);
}

SwarmResult Swarm::run() {
  watcher_ = std::make_unique<SimClient>(world_, std::string(kWatcher), 1);
  watch();
  if (run_for(temper_.durable ? milliseconds(1000) : milliseconds(100))) {
    watcher_->subscribe("w/#", {.qos = QoS::AtLeastOnce});
    run_for(temper_.durable ? milliseconds(1000) : milliseconds(400));
    for (unsigned i = 0; i < temper_.clients; ++i) clients_.emplace_back(world_, fmt::format("c{}", i), random_.next());
    for (unsigned i = 0; i < temper_.rivals; ++i) {
      clients_.emplace_back(world_, fmt::format("c{}", i % temper_.clients), random_.next())
          .become_rival(fmt::format("r{}", i), static_cast<mqtt::PacketId>(10'000 * (i + 1)));
    }
    for (SimClient& client : clients_) plan(client);
    trouble();
    store_trouble();
    temper_.wall_steps = wall_random_.chance(40);
    wall_trouble();
    for (unsigned i = 0; i < temper_.crashes; ++i) crash();
    if (run_for(temper_.length)) settle();
  }
  SwarmResult result;
  result.violation = !oracle_.ok() ? oracle_.violation() : world_.fault();
  result.ok = result.violation.empty();
  result.trace = world_.trace();
  result.events = world_.events();
  result.virtual_s = static_cast<double>(world_.now().ns()) / 1e9;
  result.counts = oracle_.counts();
  if (verbose_) std::printf("%s\n", result.ok ? "passed" : result.violation.c_str());
  return result;
}

}  // namespace

SwarmResult run_swarm(std::uint64_t seed, bool verbose) { return Swarm(seed, verbose).run(); }

}  // namespace vigil::sim
