#include "core_cost.h"

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>

#include <fmt/format.h>

#include "load/wire.h"

namespace vigil::bench {
namespace {

constexpr std::size_t kPipelined = 10;  // messages in one read
constexpr std::size_t kClientsATurn = 50;
constexpr std::size_t kWarmUp = 2;  // rounds
constexpr std::size_t kPayload = 64;

using load::append_ack;
using load::PacketType;
using load::Version;

std::string connect_packet(std::string_view client_id, bool will) {
  load::ConnectFields fields{.client_id = std::string(client_id), .keep_alive_s = 600};
  if (will) fields.will = load::Will{.topic = fmt::format("will/{}", client_id), .payload = "gone"};
  return load::encode_connect(fields);
}

std::string unsubscribe_packet(std::string_view filter) {
  std::string packet{'\xa2', static_cast<char>(4 + filter.size()), 0, 2, 0, static_cast<char>(filter.size())};
  return packet.append(filter);
}

}  // namespace

Rig::Rig(unsigned shards) : now_(base::Instant::from_ns(1'000'000'000)) {
  for (unsigned i = 0; i < shards; ++i) {
    broker::ShardSetup setup;
    setup.id = static_cast<broker::ShardId>(i);
    setup.shards = shards;
    setup.limits.sys_enabled = false;
    setup.limits.max_inflight = UINT16_MAX;
    cores_.push_back(std::make_unique<broker::ShardCore>(std::move(setup), now_));
  }
  effects_.mail.resize(shards);
  effects_.late_mail.resize(shards);
}

Rig::Client Rig::open(std::string_view client_id) {
  const unsigned shard = broker::ShardCore::home_of(client_id, static_cast<unsigned>(cores_.size()));
  broker::PeerInfo peer{.address = "192.0.2.1:1", .listener = "bench", .loopback = true, .allow_anonymous = true};
  return {shard, cores_[shard]->opened(std::move(peer), now_)};
}

void Rig::settle() {
  now_ += base::Duration(100'000);
  for (bool more = true; more;) {
    more = false;
    for (unsigned i = 0; i < cores_.size(); ++i) more |= apply(i);
  }
}

bool Rig::apply(unsigned shard) {
  broker::ShardCore& core = *cores_[shard];
  core.end_turn();
  if (core.effects().empty()) return false;
  effects_.swap(core.effects());
  for (auto* mail : {&effects_.mail, &effects_.late_mail}) {
    effects_.for_each_addressee([&](unsigned to) {
      for (broker::Mail& one : (*mail)[to]) cores_[to]->mail(std::move(one), now_);
    });
  }
  std::array<base::Bytes, 128> pieces;
  for (const broker::ConnectionId id : effects_.sends) {
    while (const broker::Outbox* outbox = core.outbox(id)) {
      if (outbox->empty()) break;
      std::size_t size = 0;
      const std::size_t count = outbox->gather(pieces);
      for (std::size_t i = 0; i < count; ++i) size += pieces[i].size();
      core.wrote(id, size, broker::SocketRoom::Left, now_);
      bytes_out_ += size;
    }
  }
  for (const broker::TakeOver& takeover : effects_.takeovers) core.take_over(takeover, now_);
  effects_.clear();
  return true;
}

std::size_t Rig::connections() const {
  std::size_t sum = 0;
  for (const auto& core : cores_) sum += core->connections();
  return sum;
}

namespace {

// Publishers send kPipelined messages each a round, so many of them in a turn, and what they bring about is
// acknowledged.
class Traffic final : public Work {
 public:
  struct Shape {
    unsigned shards = 1;
    std::size_t publishers = 1;
    std::size_t subscribers = 1;
    bool pairs = false;  // publisher i is for subscriber i
    unsigned qos = 0;
    std::string_view filter;  // of all subscribers, unless pairs
  };

  Traffic(const Shape& shape, std::size_t rounds) : shape_(shape), rig_(shape.shards) {
    for (std::size_t i = 0; i < shape.subscribers; ++i) {
      const std::string filter = shape.pairs ? topic(i) : std::string(shape.filter);
      subscribers_.push_back(begin(fmt::format("subscriber-{}", i)));
      rig_.receive(subscribers_.back(), load::encode_subscribe(Version::V311, 1, std::span(&filter, 1), shape.qos));
    }
    const std::string payload(kPayload, 'x');
    for (std::size_t i = 0; i < shape.publishers; ++i) {
      publishers_.push_back(begin(fmt::format("publisher-{}", i)));
      std::string& batch = batches_.emplace_back();
      for (std::size_t k = 1; k <= kPipelined; ++k) {
        const auto id = static_cast<std::uint16_t>(k);
        load::append_publish(batch, {.topic = topic(i), .payload = payload, .qos = shape.qos, .packet_id = id});
        if (shape.qos == 2 && i == 0) append_ack(pubrel_, PacketType::Pubrel, id);
      }
    }
    rig_.settle();
    if (shape.qos > 0) write_acks(rounds + kWarmUp);
    for (std::size_t i = 0; i < kWarmUp; ++i) round();
    at_begin_ = rig_.bytes_out();
    rounds_ = 0;
  }

  void round() override {
    ++rounds_;
    for (std::size_t i = 0; i < publishers_.size(); i += kClientsATurn) {
      const std::size_t end = std::min(i + kClientsATurn, publishers_.size());
      for (std::size_t k = i; k < end; ++k) rig_.receive(publishers_[k], batches_[k]);
      rig_.settle();
      if (shape_.qos == 0) continue;
      if (shape_.qos == 2) {
        for (std::size_t k = i; k < end; ++k) rig_.receive(publishers_[k], pubrel_);
        rig_.settle();
      }
      const std::size_t first = shape_.pairs ? i : 0;
      const std::size_t last = shape_.pairs ? end : subscribers_.size();
      for (auto* acks : {&acks_, &pubcomps_}) {
        if (acks->empty()) continue;
        for (std::size_t k = first; k < last; ++k) rig_.receive(subscribers_[k], (*acks)[next_ack_ + k - first]);
        rig_.settle();
      }
      next_ack_ += last - first;
    }
  }

  std::size_t each() const override {
    const std::size_t messages = publishers_.size() * kPipelined;
    return shape_.pairs || shared() ? messages : messages * subscribers_.size();
  }

  void check() const override {
    const std::uint64_t publishers_get = shape_.qos == 0 ? 0 : shape_.qos * 4 * publishers_.size() * kPipelined;
    std::uint64_t expected = 0;
    for (std::size_t i = 0; i < publishers_.size(); ++i) {
      expected += batches_[i].size() * (each() / (publishers_.size() * kPipelined));
    }
    if (shape_.qos == 2) expected += 4 * each();
    if (rig_.bytes_out() - at_begin_ != (expected + publishers_get) * rounds_) {
      throw std::runtime_error(fmt::format("{} bytes went out in {} rounds, and not {}", rig_.bytes_out() - at_begin_,
                                           rounds_, (expected + publishers_get) * rounds_));
    }
  }

 private:
  static std::string topic(std::size_t i) { return fmt::format("bench/{:04}", i); }
  bool shared() const { return shape_.filter.starts_with("$share/"); }

  Rig::Client begin(const std::string& client_id) {
    const Rig::Client client = rig_.open(client_id);
    rig_.receive(client, connect_packet(client_id, false));
    return client;
  }

  // In the order in which they will be needed. Each subscriber's messages are numbered from 1 on.
  void write_acks(std::size_t rounds) {
    std::vector<std::uint16_t> last(subscribers_.size());
    const auto write = [&](std::size_t subscriber, std::size_t count) {
      std::string& acks = acks_.emplace_back();
      std::string* pubcomps = shape_.qos == 2 ? &pubcomps_.emplace_back() : nullptr;
      for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t& id = last[subscriber];
        id = static_cast<std::uint16_t>(id == UINT16_MAX ? 1 : id + 1);
        append_ack(acks, shape_.qos == 1 ? PacketType::Puback : PacketType::Pubrec, id);
        if (pubcomps != nullptr) append_ack(*pubcomps, PacketType::Pubcomp, id);
      }
    };
    for (std::size_t r = 0; r < rounds; ++r) {
      for (std::size_t i = 0; i < publishers_.size(); i += kClientsATurn) {
        const std::size_t end = std::min(i + kClientsATurn, publishers_.size());
        if (shape_.pairs) {
          for (std::size_t k = i; k < end; ++k) write(k, kPipelined);
          continue;
        }
        const std::size_t messages = (end - i) * kPipelined;
        for (std::size_t s = 0; s < subscribers_.size(); ++s)
          write(s, shared() ? messages / subscribers_.size() : messages);
      }
    }
  }

  Shape shape_;
  Rig rig_;
  std::vector<Rig::Client> publishers_;
  std::vector<Rig::Client> subscribers_;
  std::vector<std::string> batches_;
  std::string pubrel_;
  std::vector<std::string> acks_;
  std::vector<std::string> pubcomps_;
  std::size_t next_ack_ = 0;
  std::size_t rounds_ = 0;
  std::uint64_t at_begin_ = 0;
};

// Clients that do one thing each, so many in a turn.
class Clients final : public Work {
 public:
  enum class Deed { Ping, Connect, TakeOver, Subscribe };

  Clients(Deed deed, unsigned shards) : deed_(deed), rig_(shards) {
    for (std::size_t i = 0; i < kClients; ++i) {
      ids_.push_back(fmt::format("client-{}", i));
      connects_.push_back(connect_packet(ids_.back(), deed == Deed::Connect || deed == Deed::TakeOver));
      const std::string filter = fmt::format("bench/{:04}/+", i);
      subscribes_.push_back(load::encode_subscribe(Version::V311, 1, std::span(&filter, 1), 0));
      unsubscribes_.push_back(unsubscribe_packet(filter));
      clients_.push_back(rig_.open(ids_.back()));
      if (deed != Deed::Connect) rig_.receive(clients_.back(), connects_.back());
    }
    rig_.settle();
    for (std::size_t i = 0; i < kWarmUp; ++i) round();
    at_begin_ = rig_.bytes_out();
    rounds_ = 0;
  }

  void round() override {
    ++rounds_;
    for (std::size_t i = 0; i < kClients; i += kClientsATurn) {
      const std::size_t end = std::min(i + kClientsATurn, kClients);
      for (std::size_t k = i; k < end; ++k) {
        if (deed_ == Deed::Ping || deed_ == Deed::Subscribe) {
          rig_.receive(clients_[k], deed_ == Deed::Ping ? load::kPingreq : std::string_view(subscribes_[k]));
          continue;
        }
        clients_[k] = rig_.open(ids_[k]);
        rig_.receive(clients_[k], connects_[k]);
      }
      rig_.settle();
      if (deed_ != Deed::Connect && deed_ != Deed::Subscribe) continue;
      for (std::size_t k = i; k < end; ++k) {
        rig_.receive(clients_[k], deed_ == Deed::Connect ? load::kDisconnect : std::string_view(unsubscribes_[k]));
      }
      rig_.settle();
    }
  }

  std::size_t each() const override { return kClients; }

  void check() const override {
    // PINGRESP has two bytes, CONNACK four, SUBACK and UNSUBACK nine together.
    const std::uint64_t each_gets = deed_ == Deed::Ping ? 2 : deed_ == Deed::Subscribe ? 9 : 4;
    const std::uint64_t expected = each_gets * kClients * rounds_;
    if (rig_.bytes_out() - at_begin_ != expected) throw std::runtime_error("not everybody was answered");
    if (deed_ == Deed::TakeOver && rig_.connections() != kClients)
      throw std::runtime_error("not one each is connected");
  }

 private:
  static constexpr std::size_t kClients = 1'000;

  Deed deed_;
  Rig rig_;
  std::vector<std::string> ids_;
  std::vector<std::string> connects_;
  std::vector<std::string> subscribes_;
  std::vector<std::string> unsubscribes_;
  std::vector<Rig::Client> clients_;
  std::size_t rounds_ = 0;
  std::uint64_t at_begin_ = 0;
};

struct Named {
  Scenario scenario;
  unsigned shards = 1;
  std::unique_ptr<Work> (*prepare)(unsigned shards, std::size_t rounds);
};

template <unsigned qos>
std::unique_ptr<Work> pairs(unsigned shards, std::size_t rounds) {
  return std::make_unique<Traffic>(
      Traffic::Shape{.shards = shards, .publishers = 500, .subscribers = 500, .pairs = true, .qos = qos, .filter = {}},
      rounds);
}
template <unsigned qos>
std::unique_ptr<Work> fan_out(unsigned shards, std::size_t rounds) {
  return std::make_unique<Traffic>(
      Traffic::Shape{.shards = shards, .publishers = 1, .subscribers = 1'000, .qos = qos, .filter = "bench/#"}, rounds);
}
template <unsigned qos>
std::unique_ptr<Work> fan_in(unsigned shards, std::size_t rounds) {
  return std::make_unique<Traffic>(
      Traffic::Shape{.shards = shards, .publishers = 1'000, .subscribers = 1, .qos = qos, .filter = "bench/+"}, rounds);
}
std::unique_ptr<Work> shared(unsigned shards, std::size_t rounds) {
  return std::make_unique<Traffic>(
      Traffic::Shape{.shards = shards, .publishers = 1'000, .subscribers = 4, .qos = 1, .filter = "$share/g/bench/+"},
      rounds);
}
template <Clients::Deed deed>
std::unique_ptr<Work> clients(unsigned shards, std::size_t /*rounds*/) {
  return std::make_unique<Clients>(deed, shards);
}

constexpr std::array kScenarios = {
    Named{{"pairs-qos0", "message"}, 1, pairs<0>},
    Named{{"pairs-qos1", "message"}, 1, pairs<1>},
    Named{{"pairs-qos2", "message"}, 1, pairs<2>},
    Named{{"pairs-qos0-two-shards", "message"}, 2, pairs<0>},
    Named{{"pairs-qos1-two-shards", "message"}, 2, pairs<1>},
    Named{{"fan-out-qos0", "delivery"}, 1, fan_out<0>},
    Named{{"fan-out-qos1", "delivery"}, 1, fan_out<1>},
    Named{{"fan-in-qos0", "message"}, 1, fan_in<0>},
    Named{{"fan-in-qos1", "message"}, 1, fan_in<1>},
    Named{{"fan-in-qos0-two-shards", "message"}, 2, fan_in<0>},
    Named{{"shared-qos1", "message"}, 1, shared},
    Named{{"ping", "ping"}, 1, clients<Clients::Deed::Ping>},
    Named{{"connect-with-will", "connection"}, 1, clients<Clients::Deed::Connect>},
    Named{{"take-over", "take-over"}, 1, clients<Clients::Deed::TakeOver>},
    Named{{"subscribe", "subscription"}, 1, clients<Clients::Deed::Subscribe>},
};

}  // namespace

std::vector<Scenario> scenarios() {
  std::vector<Scenario> all;
  for (const Named& one : kScenarios) all.push_back(one.scenario);
  return all;
}

std::unique_ptr<Work> prepare(std::string_view scenario, std::size_t rounds, unsigned shards) {
  for (const Named& one : kScenarios) {
    if (one.scenario.name == scenario) return one.prepare(shards == 0 ? one.shards : shards, rounds);
  }
  throw std::runtime_error(fmt::format("there is no scenario \"{}\"; --list names them", scenario));
}

}  // namespace vigil::bench
