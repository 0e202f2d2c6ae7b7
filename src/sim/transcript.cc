#include "sim/transcript.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "mqtt/describe.h"
#include "sim/framer.h"
#include "sim/packet_text.h"
#include "sim/settings.h"
#include "sim/world.h"

namespace vigil::sim {
namespace {

// `...` in the pattern stands for any text.
bool matches_line(std::string_view pattern, std::string_view text) {
  const auto dots = pattern.find("...");
  if (dots == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, dots))) return false;
  const std::string_view rest = pattern.substr(dots + 3);
  for (std::size_t at = dots; at <= text.size(); ++at) {
    if (matches_line(rest, text.substr(at))) return true;
  }
  // `CONNACK ...` also matches what ends before the blank.
  return rest.empty() && dots > 0 && pattern[dots - 1] == ' ' && text == pattern.substr(0, dots - 1);
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// "NAME < PACKET": the parts; nullopt for any other line.
struct Expectation {
  std::string client;
  std::string text;
};
std::optional<Expectation> parse_expectation(std::string_view line) {
  const auto sign = line.find(" < ");
  if (sign == std::string_view::npos || !is_name(trim(line.substr(0, sign)))) return std::nullopt;
  return Expectation{std::string(trim(line.substr(0, sign))), std::string(trim(line.substr(sign + 3)))};
}

// --- the stage: a prompt world and the clients of the script

class Stage final : public Observer {
 public:
  struct Received {
    std::string client;
    std::string text;
  };

  // What one line of the script asks. An error is a sentence.
  Parsed<void> perform(std::string_view line);
  std::vector<Received> take_received() { return std::exchange(received_, {}); }
  bool ordered() const { return ordered_; }
  const std::vector<std::string>& clients_seen() const { return names_; }

  void on_close(LinkId link, broker::DisconnectReason reason, base::Instant) override {
    reasons_[link] = broker::name(reason);
  }

 private:
  class Client final : public Peer {
   public:
    Client(Stage& stage, std::string name) : stage_(stage), name_(std::move(name)) {}
    void on_bytes(LinkId link, base::Bytes bytes, base::Instant now) override;
    void on_closed(LinkId link, base::Instant now) override;
    Parsed<void> perform(std::string_view text);

   private:
    void open();
    void acknowledge(const mqtt::Packet& packet);
    void show(const mqtt::Packet& packet);
    void say(std::string text) { stage_.received_.push_back({name_, std::move(text)}); }
    Parsed<void> open_with(const Command& command);
    Parsed<void> send_raw(std::string_view hex);

    Stage& stage_;
    std::string name_;
    std::optional<LinkId> link_;
    Framer framer_;
    mqtt::Version version_ = mqtt::Version::V5;
    bool automatic_ = true;
    std::size_t window_ = 1U << 20U;
    unsigned shard_ = 0;
    bool remote_ = false;
    mqtt::PacketId next_id_ = 1;
  };

  Parsed<void> setting(const Command& command, bool& taken);
  Parsed<void> direct(const Command& command);
  Parsed<void> crash(const Command& command);
  Parsed<void> set_wall(std::string_view text);
  Parsed<void> stall_store(const Command& command);
  World& world();

  WorldOptions options_;
  Settings settings_;
  std::unique_ptr<World> world_;
  std::deque<Client> clients_;
  std::unordered_map<std::string, Client*> by_name_;
  std::vector<std::string> names_;
  std::vector<Received> received_;
  std::unordered_map<LinkId, std::string> reasons_;
  bool ordered_ = false;
  bool show_reasons_ = false;
  bool show_limits_ = false;
};

World& Stage::world() {
  if (!world_) {
    options_.prompt = true;
    options_.limits = settings_.limits;
    options_.keep_alive = settings_.keep_alive;
    world_ = std::make_unique<World>(options_, this);
    world_->run_now();
  }
  return *world_;
}

Parsed<void> Stage::perform(std::string_view line) {
  const auto colon = line.find(':');
  if (colon != std::string_view::npos && is_name(trim(line.substr(0, colon)))) {
    const std::string name(trim(line.substr(0, colon)));
    world();
    Client*& client = by_name_[name];
    if (client == nullptr) {
      client = &clients_.emplace_back(*this, name);
      names_.push_back(name);
    }
    for (const std::string& command : split_commands(line.substr(colon + 1))) {
      if (trim(command).empty()) continue;
      TRY_VOID(client->perform(trim(command)));
      world().run_now();
    }
  } else {
    TRY(const Command command, parse_command(line));
    TRY_VOID(direct(command));
  }
  if (world_ && !world_->fault().empty()) return base::Err("the broker: " + world_->fault());
  return {};
}

Parsed<void> Stage::setting(const Command& command, bool& taken) {
  taken = true;
  auto word = [&]() -> std::string { return command.fields.empty() ? "" : command.fields[0].value; };
  if (command.name == "limit") {
    for (const Field& field : command.fields) TRY_VOID(set(settings_, field.key, field.value));
    if (world_) world_->reconfigure(settings_.limits, settings_.keep_alive);
  } else if (command.name == "tick") {
    TRY_VOID(set(settings_, "tick", word()));
    if (world_) world_->reconfigure(settings_.limits, settings_.keep_alive);
  } else if (command.name == "shards") {
    TRY(const std::uint64_t shards, parse_number(word()));
    if (world_ || shards < 1 || shards > 8) return base::Err(std::string("shards: 1 to 8, before the first client"));
    options_.shards = static_cast<unsigned>(shards);
  } else if (command.name == "auth") {
    if (world_) return base::Err(std::string("auth: before the first client"));
    options_.auth_methods.push_back(word());
  } else if (command.name == "durable") {
    if (world_) return base::Err(std::string("durable: before the first client"));
    options_.durable = true;
  } else if (command.name == "ordered") {
    ordered_ = true;
  } else if (command.name == "show") {
    if (word() == "reasons") {
      show_reasons_ = true;
    } else if (word() == "limits") {
      show_limits_ = true;
    } else {
      return base::Err(std::string("show: reasons or limits"));
    }
  } else {
    taken = false;
  }
  return {};
}

Parsed<void> Stage::crash(const Command& command) {
  if (!options_.durable) return base::Err(std::string("crash: only where the broker is `durable`"));
  base::Duration down(0);
  std::uint64_t shards = 0;
  Dies dies = Dies::Process;
  for (const Field& field : command.fields) {
    if (field.key == "shards") {
      TRY(shards, parse_number(field.value));
      if (shards < 1 || shards > 8) return base::Err(std::string("crash: 1 to 8 shards"));
    } else if (field.value == "machine") {
      dies = Dies::Machine;
    } else {
      TRY(down, parse_duration(field.value));
    }
  }
  if (world().down()) return base::Err(std::string("crash: it is down"));
  world().crash(down, static_cast<unsigned>(shards), dies);
  world().run_now();
  return {};
}

// "+30d", "-1h": how far the wall clock is set, and where to.
Parsed<void> Stage::set_wall(std::string_view text) {
  const bool back = text.starts_with('-');
  if (!back && !text.starts_with('+')) return base::Err(std::string("wall: +LENGTH or -LENGTH"));
  TRY(const base::Duration by, parse_duration(text.substr(1)));
  world().set_wall(back ? -by : by);
  return {};
}

Parsed<void> Stage::stall_store(const Command& command) {
  if (!options_.durable) return base::Err(std::string("store: only where the broker is `durable`"));
  if (command.fields.size() != 2 || command.fields[0].value != "stall") {
    return base::Err(std::string("store stall LENGTH"));
  }
  TRY(const base::Duration length, parse_duration(command.fields[1].value));
  world().stall_store(length);
  return {};
}

Parsed<void> Stage::direct(const Command& command) {
  bool taken = false;
  TRY_VOID(setting(command, taken));
  if (taken) return {};
  auto word = [&](std::size_t i) -> std::string { return i < command.fields.size() ? command.fields[i].value : ""; };
  if (command.name == "advance") {
    TRY(const base::Duration length, parse_duration(word(0)));
    world().run_for(length);
  } else if (command.name == "stall") {
    const bool one = command.fields.size() == 2;
    TRY(const base::Duration length, parse_duration(word(one ? 1 : 0)));
    std::uint64_t only = 0;
    if (one) {
      TRY(only, parse_number(word(0)));
      if (only >= world().shards()) return base::Err(std::string("stall: no such shard"));
    }
    for (unsigned i = 0; i < world().shards(); ++i) {
      if (!one || i == only) world().stall(i, length);
    }
  } else if (command.name == "kick") {
    if (!world().kick(word(0))) return base::Err(fmt::format("kick: '{}' is not connected", word(0)));
    world().run_now();
  } else if (command.name == "shutdown") {
    world().shut_down();
    world().run_now();
  } else if (command.name == "crash") {
    return crash(command);
  } else if (command.name == "store") {
    return stall_store(command);
  } else if (command.name == "wall") {
    return set_wall(word(0));
  } else if (command.name == "forget") {
    received_.clear();
  } else {
    return base::Err(fmt::format("'{}' is no command", command.name));
  }
  return {};
}

void Stage::Client::open() {
  framer_ = {};
  LinkProfile profile;
  profile.window = window_;
  profile.loopback = !remote_;
  link_ = stage_.world_->connect(*this, profile, shard_);
}

Parsed<void> Stage::Client::open_with(const Command& command) {
  TRY(version_, version_of(command, mqtt::Version::V5));
  if (const std::string* shard = command.find("shard")) {
    TRY(const std::uint64_t number, parse_number(*shard));
    if (number >= stage_.world_->shards()) return base::Err(std::string("there is no such shard"));
    shard_ = static_cast<unsigned>(number);
  }
  open();
  return {};
}

Parsed<void> Stage::Client::send_raw(std::string_view hex) {
  mqtt::Buffer bytes;
  std::string digits;
  for (const char c : hex) {
    if (c != ' ') digits += c;
  }
  if (digits.size() % 2 != 0) return base::Err(std::string("send: an odd number of hexadecimal digits"));
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    TRY(const std::uint64_t byte, parse_number("0x" + digits.substr(i, 2)));
    bytes.push_back(static_cast<std::uint8_t>(byte));
  }
  if (!link_) open();
  stage_.world_->send(*link_, bytes);
  return {};
}

Parsed<void> Stage::Client::perform(std::string_view text) {
  World& world = *stage_.world_;
  if (text == "send" || text.starts_with("send ")) return send_raw(text.substr(4));
  TRY(Command command, parse_command(text));
  if (command.name == "open") return open_with(command);
  if (command.name == "manual" || command.name == "auto") {
    automatic_ = command.name == "auto";
    return {};
  }
  if (command.name == "window") {
    if (command.fields.empty()) return base::Err(std::string("window: how many bytes?"));
    TRY(window_, parse_number(command.fields[0].value));
    if (link_) world.set_window(*link_, window_);
    return {};
  }
  if (command.name == "CONNECT") {
    if (const std::string* shard = command.find("shard")) {
      TRY(const std::uint64_t number, parse_number(*shard));
      if (number >= world.shards()) return base::Err(std::string("there is no such shard"));
      shard_ = static_cast<unsigned>(number);
      std::erase_if(command.fields, [](const Field& field) { return field.key == "shard"; });
    }
    if (const std::string* remote = command.find("remote")) {
      remote_ = *remote == "1";
      std::erase_if(command.fields, [](const Field& field) { return field.key == "remote"; });
    }
    if (!link_) {
      TRY(version_, version_of(command, mqtt::Version::V5));
      open();
    }
  }
  if (!link_) return base::Err(fmt::format("{} has no connection", name_));
  if (command.name == "drop" || command.name == "reset") {
    world.end(*link_, command.name == "drop" ? StreamEnd::Closed : StreamEnd::Reset);
    world.detach(*link_);
    link_.reset();
  } else if (command.name == "silent") {
    world.silence(*link_);
  } else if (command.name == "leave") {
    // Forgets a connection that went silent, without a word on the wire.
    world.detach(*link_);
    link_.reset();
  } else if (command.name == "stop") {
    world.set_reading(*link_, false);
  } else if (command.name == "read") {
    world.set_reading(*link_, true);
  } else if (names_packet(command.name)) {
    PacketDefaults defaults{version_, name_, next_id_};
    const bool takes_id = command.name == "SUBSCRIBE" || command.name == "UNSUBSCRIBE" || command.name == "PUBLISH";
    const std::string* qos = command.find("qos");
    const bool qos0 = command.name == "PUBLISH" && (qos == nullptr || *qos == "0");
    if (takes_id && !qos0 && command.find("id") == nullptr) ++next_id_;
    TRY(const mqtt::Buffer bytes, encode_command(command, defaults));
    world.send(*link_, bytes);
  } else {
    return base::Err(fmt::format("a client cannot '{}'", command.name));
  }
  return {};
}

void Stage::Client::on_bytes(LinkId link, base::Bytes bytes, base::Instant) {
  if (link_ != link) return;
  framer_.add(bytes);
  while (const auto frame = framer_.next()) {
    const auto packet = mqtt::decode(frame->header, frame->body(), version_, mqtt::Sender::Server);
    if (!packet) {
      say(fmt::format("MALFORMED {} {}: {}", mqtt::packet_name(frame->header.type), packet.error().field,
                      packet.error().detail));
      continue;
    }
    show(*packet);
    if (automatic_) acknowledge(*packet);
    if (link_ != link) return;
  }
  if (framer_.broken()) say(fmt::format("MALFORMED {}: {}", framer_.broken()->field, framer_.broken()->detail));
}

// Properties of a CONNACK that only announce the limits the script set, or the defaults, are noise.
void Stage::Client::show(const mqtt::Packet& packet) {
  const auto* connack = std::get_if<mqtt::ConnAck>(&packet);
  if (connack == nullptr || stage_.show_limits_) {
    std::string text = mqtt::describe(packet);
    // A transcript may look at all of a text that describe() cuts short.
    constexpr std::size_t kShownWhole = 4096;
    const auto* publish = std::get_if<mqtt::Publish>(&packet);
    if (publish != nullptr && text.ends_with("...") && publish->payload.size() <= kShownWhole) {
      const std::string_view payload = base::as_text(publish->payload);
      const bool readable = std::ranges::all_of(payload, [](char c) { return c >= 0x20 && c < 0x7F; });
      const auto at = text.rfind(" payload=");
      if (readable && at != std::string::npos) text = text.substr(0, at) + " payload=" + std::string(payload);
    }
    say(std::move(text));
    return;
  }
  mqtt::ConnAck shown = *connack;
  const broker::Limits& limits = stage_.settings_.limits;
  auto hide = [&](mqtt::Property p, std::uint32_t value) {
    if (shown.properties.number(p) == value) shown.properties.clear(p);
  };
  hide(mqtt::Property::ReceiveMaximum, limits.receive_maximum);
  hide(mqtt::Property::MaximumPacketSize, limits.max_packet_size);
  hide(mqtt::Property::TopicAliasMaximum, limits.topic_alias_maximum);
  say(mqtt::describe(shown));
}

void Stage::Client::acknowledge(const mqtt::Packet& packet) {
  using mqtt::PacketType;
  mqtt::Ack answer;
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
    if (publish->qos == mqtt::QoS::AtMostOnce) return;
    answer.type = publish->qos == mqtt::QoS::AtLeastOnce ? PacketType::PubAck : PacketType::PubRec;
    answer.packet_id = publish->packet_id;
  } else if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
    if (ack->type == PacketType::PubRec && !mqtt::is_failure(ack->reason)) {
      answer.type = PacketType::PubRel;
    } else if (ack->type == PacketType::PubRel) {
      answer.type = PacketType::PubComp;
    } else {
      return;
    }
    answer.packet_id = ack->packet_id;
  } else {
    return;
  }
  mqtt::Buffer bytes;
  mqtt::encode(bytes, version_, mqtt::Packet(answer));
  stage_.world_->send(*link_, bytes);
}

void Stage::Client::on_closed(LinkId link, base::Instant) {
  if (link_ != link) return;
  link_.reset();
  const auto reason = stage_.reasons_.find(link);
  const bool known = stage_.show_reasons_ && reason != stage_.reasons_.end();
  say(known ? "closed " + reason->second : "closed");
}

// --- comparing

struct Line {
  std::size_t number = 0;
  std::string client;
  std::string text;
};

std::string side_by_side(const std::vector<std::string>& expected, const std::vector<std::string>& actual) {
  std::size_t width = 8;
  for (const std::string& line : expected) width = std::max(width, line.size());
  width = std::min<std::size_t>(width, 100);
  std::string out = fmt::format("    {:<{}} | actual\n", "expected", width);
  for (std::size_t i = 0; i < std::max(expected.size(), actual.size()); ++i) {
    const std::string left = i < expected.size() ? expected[i] : "";
    const std::string right = i < actual.size() ? actual[i] : "";
    out += fmt::format("  {} {:<{}} | {}\n", matches_line(left, right) ? ' ' : '!', left, width, right);
  }
  return out;
}

// Grouped by client, each in its own order, unless the script looks at the order of all.
std::vector<Line> grouped(std::vector<Line> lines, const std::vector<std::string>& names, bool ordered) {
  if (ordered) return lines;
  auto rank = [&](const Line& line) { return std::ranges::find(names, line.client) - names.begin(); };
  std::ranges::stable_sort(lines, [&](const Line& a, const Line& b) { return rank(a) < rank(b); });
  return lines;
}

std::vector<std::string> texts(const std::vector<Line>& lines) {
  std::vector<std::string> out;
  out.reserve(lines.size() + 1);
  for (const Line& line : lines) out.push_back(line.client + " < " + line.text);
  if (out.empty()) out.emplace_back("(nothing)");
  return out;
}

bool same(const std::vector<std::string>& expected, const std::vector<std::string>& actual) {
  return std::ranges::equal(expected, actual, [](const auto& e, const auto& a) { return matches_line(e, a); });
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

class Run {
 public:
  Run(std::string_view name, std::string_view text) : name_(name), lines_(split_lines(text)) {}
  TranscriptResult run();

 private:
  void block(std::size_t at);
  void finish();
  std::vector<std::string> actual();
  void report(std::size_t line, const std::string& what) { report_ += fmt::format("{}:{}: {}\n", name_, line, what); }

  std::string name_;
  std::vector<std::string> lines_;
  std::size_t next_ = 0;
  std::size_t blocks_ = 0;
  Stage stage_;
  std::string report_;
  std::string rewritten_;
};

std::vector<std::string> Run::actual() {
  std::vector<Line> lines;
  for (Stage::Received& item : stage_.take_received())
    lines.push_back({0, std::move(item.client), std::move(item.text)});
  return texts(grouped(std::move(lines), stage_.clients_seen(), stage_.ordered()));
}

// `at` is the index of the line after `---`.
void Run::block(std::size_t at) {
  ++blocks_;
  std::vector<Line> expected;
  std::vector<std::string> written;
  bool nothing = false;
  for (next_ = at; next_ < lines_.size(); ++next_) {
    const std::string_view line = trim(lines_[next_]);
    if (line == "(nothing)") {
      nothing = true;
    } else if (auto expectation = parse_expectation(line)) {
      expected.push_back({next_ + 1, std::move(expectation->client), std::move(expectation->text)});
    } else {
      break;
    }
    written.push_back(lines_[next_]);
  }
  const std::vector<std::string> came = actual();
  if (written.empty()) {
    report(at, "no expectation follows `---` (write `(nothing)` where nothing is to come)");
  } else if (nothing && !expected.empty()) {
    report(at, "`(nothing)` stands beside other expectations");
  }
  const std::vector<std::string> wanted = texts(grouped(std::move(expected), stage_.clients_seen(), stage_.ordered()));
  const bool matched = !written.empty() && same(wanted, came);
  if (!matched) {
    if (!written.empty()) report(at + 1, "not what was received:\n" + side_by_side(wanted, came));
    written = came;
  }
  for (const std::string& line : written) rewritten_ += line + "\n";
}

void Run::finish() {
  const std::vector<std::string> left = actual();
  if (left != std::vector<std::string>{"(nothing)"}) {
    report(lines_.size(), "received after the last block:\n" + side_by_side({"(nothing)"}, left));
    rewritten_ += "---\n";
    for (const std::string& line : left) rewritten_ += line + "\n";
  }
  if (blocks_ == 0) report(lines_.size(), "the file expects nothing: it could not fail");
}

TranscriptResult Run::run() {
  while (next_ < lines_.size()) {
    const std::string& raw = lines_[next_];
    const std::string_view line = trim(raw);
    ++next_;
    rewritten_ += raw + "\n";
    if (line.empty() || line.starts_with('#')) continue;
    if (line == "---") {
      block(next_);
      continue;
    }
    if (parse_expectation(line)) {
      report(next_, "an expectation outside of a block");
      continue;
    }
    if (const auto done = stage_.perform(line); !done) {
      report(next_, done.error());
      return {false, report_, rewritten_};
    }
  }
  finish();
  return {report_.empty(), report_, rewritten_};
}

}  // namespace

TranscriptResult run_transcript(std::string_view name, std::string_view text) { return Run(name, text).run(); }

}  // namespace vigil::sim
