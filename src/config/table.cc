#include "config/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <type_traits>

#include "base/check.h"
#include "broker/ids.h"

namespace vigil::config {
namespace {

using broker::KeepAlivePolicy;
using broker::Limits;
using net::BindAddress;
using net::ListenerSettings;
using net::TcpPolicy;
using std::string_view;

constexpr std::int64_t kU32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kU16 = std::numeric_limits<std::uint16_t>::max();
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;
constexpr std::int64_t kDay = 86'400;
// The longest packet that MQTT can carry, its header included [MQTT-1.5.5].
constexpr std::int64_t kMaxPacket = 268'435'460;

constexpr string_view kOverMaxV3[] = {"allow", "enforce", "reject"};
constexpr string_view kV3Denied[] = {"disconnect", "acknowledge"};
constexpr string_view kControlCharacters[] = {"refuse", "allow"};
constexpr string_view kStoreSyncs[] = {"process", "power", "memory"};
constexpr string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error"};
constexpr string_view kLogFormats[] = {"text", "json"};

constexpr ConfigSection kSections[] = {
    {"", ""},
    {"log", "What the broker writes to standard error."},
    {"security", "Who may connect."},
    {"keep_alive",
     "When a silent client counts as gone: one and a half times the keep alive it asked for, never earlier."},
    {"limits", "Bounds that protect the broker and its other clients."},
    {"mqtt", "What the broker offers to clients, and announces to MQTT 5 clients when they connect."},
    {"access", "What clients may do."},
    {"session", "What is kept for a client: its subscriptions and the messages it has yet to get."},
    {"retained", "Messages that a topic keeps for whoever subscribes later."},
    {"will", "Last wills: what is published for clients that go without a goodbye."},
    {"store",
     "What outlives the broker: sessions, messages that wait, retained messages, wills, and what is known of clients."},
    {"presence", "The record of every client: whether it is alive, since when, and why it went."},
    {"sys", "Topics on which the broker reports about itself and its clients."},
    {"flapping", "Two clients that use one client identifier and keep throwing each other out."},
    {"listener",
     "Where clients connect. Repeat [[listener]] for several; variables count them from 0, as in "
     "VIGILMQ_LISTENER__0__BIND."},
};

// The unit in which a duration is written: it ends the key's name.
base::Duration unit_of(string_view path) {
  return path.ends_with("_ms") ? base::Duration(base::milliseconds(1)) : base::Duration(base::seconds(1));
}

template <auto... Members>
auto& field(auto& root) {
  return (root.*....*Members);
}

template <class Root, auto... Members>
using FieldType = std::remove_cvref_t<decltype(field<Members...>(std::declval<Root&>()))>;

// A range, where the type needs one; the choices of an enumeration, in the order of its enumerators.
struct Domain {
  std::int64_t min = 0;
  std::int64_t max = 0;
  KeyType integer = KeyType::Integer;
  std::span<const string_view> choices;
};
constexpr Domain range(std::int64_t min, std::int64_t max) { return {min, max, KeyType::Integer, {}}; }
constexpr Domain bytes(std::int64_t min, std::int64_t max) { return {min, max, KeyType::Size, {}}; }
constexpr Domain mode() { return {0, 0777, KeyType::Mode, {}}; }
constexpr Domain path(std::int64_t max) { return {0, max, KeyType::Path, {}}; }
constexpr Domain one_of(std::span<const string_view> choices) { return {0, 0, KeyType::Integer, choices}; }

template <base::Duration::rep Unit, class Root, auto... Members>
ConfigValue get(const Root& root) {
  using T = FieldType<Root, Members...>;
  const T& value = field<Members...>(root);
  if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (std::is_same_v<T, base::Duration>) {
    return std::int64_t{value.count() / Unit};
  } else if constexpr (std::is_same_v<T, std::vector<BindAddress>>) {
    std::vector<std::string> texts;
    for (const BindAddress& address : value) texts.push_back(address.text());
    return texts;
  } else {
    return static_cast<std::int64_t>(value);
  }
}

template <base::Duration::rep Unit, class Root, auto... Members>
void set(Root& root, const ConfigValue& value) {
  using T = FieldType<Root, Members...>;
  T& to = field<Members...>(root);
  if constexpr (std::is_same_v<T, bool>) {
    to = std::get<bool>(value);
  } else if constexpr (std::is_same_v<T, base::Duration>) {
    to = base::Duration(std::get<std::int64_t>(value) * Unit);
  } else if constexpr (std::is_same_v<T, std::vector<BindAddress>>) {
    to.clear();
    for (const std::string& text : std::get<std::vector<std::string>>(value)) to.push_back(*BindAddress::parse(text));
  } else if constexpr (std::is_same_v<T, std::string>) {
    to = std::get<std::string>(value);
  } else {
    to = static_cast<T>(std::get<std::int64_t>(value));
  }
}

template <class Root, auto... Members>
ConfigKey<Root> key(string_view path, Domain domain, Reload reload, string_view doc) {
  using T = FieldType<Root, Members...>;
  KeyType type = domain.integer;
  if constexpr (std::is_same_v<T, bool>) type = KeyType::Bool;
  if constexpr (std::is_same_v<T, base::Duration>) type = KeyType::Duration;
  if constexpr (std::is_same_v<T, std::vector<BindAddress>>) type = KeyType::Addresses;
  if constexpr (std::is_same_v<T, std::string>) type = domain.integer == KeyType::Path ? KeyType::Path : KeyType::Name;
  if constexpr (std::is_enum_v<T>) type = KeyType::Enum;
  constexpr auto kSecond = base::Duration(base::seconds(1)).count();
  constexpr auto kMillisecond = base::Duration(base::milliseconds(1)).count();
  const bool in_ms = unit_of(path) == base::milliseconds(1);
  return {{path, type, domain.min, domain.max, domain.choices, reload, false, doc},
          in_ms ? &get<kMillisecond, Root, Members...> : &get<kSecond, Root, Members...>,
          in_ms ? &set<kMillisecond, Root, Members...> : &set<kSecond, Root, Members...>};
}

template <auto... Members>
ConfigKey<Config> top(string_view path, Domain domain, Reload reload, string_view doc) {
  return key<Config, Members...>(path, domain, reload, doc);
}
template <auto Member>
ConfigKey<Config> keep(string_view path, Domain domain, Reload reload, string_view doc) {
  return key<Config, &Config::keep_alive, Member>(path, domain, reload, doc);
}
template <auto Member>
ConfigKey<Config> limit(string_view path, Domain domain, Reload reload, string_view doc) {
  return key<Config, &Config::limits, Member>(path, domain, reload, doc);
}
template <auto... Members>
ConfigKey<ListenerSettings> listener(string_view path, Domain domain, string_view doc) {
  return key<ListenerSettings, Members...>(path, domain, Reload::Restart, doc);
}

constexpr Reload kLive = Reload::Live;
// Also where connected clients have been told the value in CONNACK: it must stay true while they are connected.
constexpr Reload kRestart = Reload::Restart;

// clang-format off
const std::vector<ConfigKey<Config>>& table() {
  static const std::vector<ConfigKey<Config>> keys = {
  top<&Config::node_id>("node_id", range(0, 64), kRestart,
      "The name of this broker in logs and reports; empty takes the machine's host name."),
  top<&Config::shards>("shards", range(0, broker::kMaxShards), kRestart,
      "How many threads share the clients among them; 0 is one for each processor core that the process may use (its CPU affinity, and the CPU quota of its control group rounded up)."),
  top<&Config::drain_timeout>("drain_timeout_s", range(0, 3600), kLive,
      "How long a broker that is told to stop (SIGTERM) goes on delivering what clients have yet to read, before it closes their connections."),

  top<&Config::log_level>("log.level", one_of(kLogLevels), kLive,
      "The least important lines that are written: error shows only what needs a person, info also who comes and goes, debug also what clients subscribe to, what they are refused and which messages reach nobody, trace every packet in one line (of payloads only the size)."),
  top<&Config::log_format>("log.format", one_of(kLogFormats), kLive,
      "text writes lines for people, json one JSON object a line for programs."),
  top<&Config::log_timestamps>("log.timestamps", {}, kLive,
      "Whether a line of text begins with the time (UTC); turn it off where the journal adds its own."),

  top<&Config::allow_anonymous_remote>("security.allow_anonymous_remote", {}, kRestart,
      "Lets anybody who can reach the broker connect, read and write without a password; without it the broker listens on this machine only (loopback)."),

  keep<&KeepAlivePolicy::tick>("keep_alive.monitoring_delay_ms", range(1, 3'600'000), kLive,
      "How late the broker may be to notice that a client has gone silent: it closes the connection between 1.5 times the keep alive and this much after; the variable MQTT_KEEP_ALIVE_MONITORING_DELAY_MS sets it too, and wins."),
  keep<&KeepAlivePolicy::max_s>("keep_alive.max_s", range(0, kU16), kLive,
      "The longest keep alive that a client may have: an MQTT 5 client that asks for more, or for none, is told to use this one; 0 sets no bound."),
  keep<&KeepAlivePolicy::over_max_v3>("keep_alive.over_max_v3", one_of(kOverMaxV3), kLive,
      "What happens to an MQTT 3 client, which cannot be told of another keep alive, when it asks for more than keep_alive.max_s: allow lets it have its own, enforce holds it to the bound, reject refuses the connection."),

  limit<&Limits::max_connections>("limits.max_connections", range(0, kU32), kLive,
      "How many clients may be connected at once; 0 takes as many as the machine's limit of open files allows."),
  limit<&Limits::max_connections_per_s>("limits.max_connections_per_s", range(0, 1'000'000), kLive,
      "How many clients may connect in one second, so that a crowd that comes back at once does not starve those who are connected; 0 sets no bound."),
  limit<&Limits::connect_timeout>("limits.connect_timeout_s", range(1, 3600), kLive,
      "A connection that has not introduced itself with a complete CONNECT packet within this time is closed."),
  limit<&Limits::write_stall_timeout>("limits.write_stall_timeout_s", range(1, kDay), kLive,
      "A client that has taken nothing from its connection for so long, while the broker has something to send, is disconnected."),
  limit<&Limits::min_receive_rate>("limits.min_receive_rate", bytes(0, kGiB), kLive,
      "Bytes per second, averaged over the keep alive, at which an unfinished packet must arrive to count as a sign of life; a client that drips more slowly is cut off."),
  limit<&Limits::max_packet_size>("limits.max_packet_size", bytes(64, kMaxPacket), kRestart,
      "The largest packet, in bytes, that the broker takes or sends; larger ones end the connection that sent them. limits.max_output_bytes and session.max_queued_bytes must be as large: raise them with it."),
  limit<&Limits::max_connect_size>("limits.max_connect_size", bytes(64, kMaxPacket), kLive,
      "The largest first packet (CONNECT, with its last will), in bytes: it comes from somebody the broker does not know yet."),
  limit<&Limits::max_output_bytes>("limits.max_output_bytes", bytes(1024, 4 * kGiB), kLive,
      "Bytes that may wait for one slow reader; beyond them messages of QoS 0 are dropped and those of QoS 1 and 2 wait in the session. Must hold the largest packet, limits.max_packet_size."),
  limit<&Limits::max_client_id_bytes>("limits.max_client_id_bytes", range(23, 21'000), kLive,
      "The longest client identifier, in bytes; every broker takes 23 at least."),
  limit<&Limits::max_topic_levels>("limits.max_topic_levels", range(1, 32'768), kLive,
      "The most levels (parts between slashes) that a topic or a topic filter may have."),
  limit<&Limits::max_subscriptions>("limits.max_subscriptions", range(1, kU32), kLive,
      "How many subscriptions all clients together may have."),
  limit<&Limits::max_subscriptions_per_session>("limits.max_subscriptions_per_session", range(1, kU32), kLive,
      "How many subscriptions one client may have."),
  limit<&Limits::max_message_expiry_s>("limits.max_message_expiry_s", range(0, kU32), kLive,
      "The longest time in seconds that a message may wait for its receiver; 0 leaves it to the publisher."),
  limit<&Limits::max_will_delay_s>("limits.max_will_delay_s", range(0, kU32), kLive,
      "The longest delay in seconds that a client may set between its loss and the publication of its last will; 4294967295 sets no bound."),

  limit<&Limits::maximum_qos>("mqtt.maximum_qos", range(0, 2), kRestart,
      "The highest quality of service for published messages: 0 at most once, 1 at least once, 2 exactly once."),
  limit<&Limits::retain_available>("mqtt.retain_available", {}, kRestart,
      "Whether clients may have messages retained for later subscribers. While it is false, messages that were retained before stay in the store, are sent to no new subscription, and are there again when it is true."),
  limit<&Limits::wildcard_available>("mqtt.wildcard_available", {}, kRestart,
      "Whether clients may subscribe with the wildcards + and #. While it is false, such subscriptions of stored sessions go on until their client subscribes again and is refused, unsubscribes, or begins a new session."),
  limit<&Limits::shared_available>("mqtt.shared_available", {}, kRestart,
      "Whether clients may share a subscription ($share/group/filter), so that each message goes to one of them. While it is false, such subscriptions of stored sessions go on as with mqtt.wildcard_available."),
  limit<&Limits::subscription_ids_available>("mqtt.subscription_ids_available", {}, kRestart,
      "Whether MQTT 5 clients may number their subscriptions."),
  limit<&Limits::control_characters>("mqtt.control_characters", one_of(kControlCharacters), kLive,
      "What happens to control characters (U+0001 to U+001F, U+007F to U+009F) in client identifiers, user names, topics and topic filters, which the standard advises against: refuse refuses the connection, or closes it; allow lets them through. In payloads and user properties they are always allowed."),
  limit<&Limits::receive_maximum>("mqtt.receive_maximum", range(1, kU16), kRestart,
      "How many messages of QoS 1 and 2 a client may have under way to the broker before the first is acknowledged."),
  limit<&Limits::max_inflight>("mqtt.max_inflight", range(1, kU16), kLive,
      "How many messages of QoS 1 and 2 the broker has under way to one client at most; the client may ask for fewer."),
  limit<&Limits::topic_alias_maximum>("mqtt.topic_alias_maximum", range(0, kU16), kRestart,
      "How many short numbers (aliases) an MQTT 5 client may use in place of topic names; 0 forbids them."),
  limit<&Limits::topic_alias_out_maximum>("mqtt.topic_alias_out_maximum", range(0, kU16), kLive,
      "How many such aliases the broker uses towards a client that takes them."),

  limit<&Limits::v3_denied>("access.v3_denied", one_of(kV3Denied), kLive,
      "What happens to an MQTT 3 client that publishes a message of QoS 1 or 2 where it may not, or to a topic with too many levels. It cannot be told: disconnect ends its connection, acknowledge answers as if the message were on its way."),

  limit<&Limits::max_sessions>("session.max_sessions", range(1, kU32), kLive,
      "How many sessions, of connected and of absent clients, the broker keeps."),
  limit<&Limits::max_session_expiry_s>("session.max_expiry_s", range(0, kU32), kLive,
      "The longest time in seconds that the session of an absent client is kept; 4294967295 keeps it for ever."),
  limit<&Limits::v3_session_expiry_s>("session.v3_expiry_s", range(0, kU32), kLive,
      "How many seconds the session of an absent MQTT 3 client is kept, which cannot say itself (only with Clean Session 0); 4294967295 keeps it for ever."),
  limit<&Limits::max_queued_messages>("session.max_queued_messages", range(1, kU32), kLive,
      "How many messages of QoS 1 and 2 wait for one client that is absent or slow; those that come then are dropped and counted."),
  limit<&Limits::max_queued_bytes>("session.max_queued_bytes", bytes(1024, 1024 * kGiB), kLive,
      "How many bytes these messages may have together. Must hold the largest packet, limits.max_packet_size."),
  limit<&Limits::queue_qos0_offline>("session.queue_qos0_offline", {}, kLive,
      "Whether messages of QoS 0 are kept for absent clients too."),

  limit<&Limits::max_retained_messages>("retained.max_messages", range(0, kU32), kLive,
      "How many topics may have a retained message; when it is reached, further topics keep none. The broker's own figures below $SYS do not count."),
  limit<&Limits::max_retained_bytes>("retained.max_bytes", bytes(1024, 1024 * kGiB), kLive,
      "How many bytes these messages may have together, with their topics; a message that would go beyond is delivered but not kept."),

  limit<&Limits::will_restart_grace_s>("will.restart_grace_s", range(0, kDay), kLive,
      "After a broker that died has started again, clients that had been connected have so many seconds to resume their sessions before their last wills are published."),

  top<&Config::store, &StoreConfig::sync>("store.sync", one_of(kStoreSyncs), kRestart,
      "What an acknowledgement promises: process, that the message outlives a crash or a kill of the broker; power, also a power cut (each group of messages is forced to the disk first); memory, nothing: all is kept in memory only and ends with the broker."),
  top<&Config::store, &StoreConfig::directory>("store.directory", path(4096), kRestart,
      "The directory for these data, made if it is missing; empty takes what systemd gives (StateDirectory), /var/lib/vigilmq for root, or ~/.local/state/vigilmq. Each running broker needs its own."),
  top<&Config::store, &StoreConfig::cache_bytes>("store.cache", bytes(kMiB, 1024 * kGiB), kRestart,
      "Memory for what has been read from the disk."),
  top<&Config::store, &StoreConfig::max_backlog_bytes>("store.max_backlog", bytes(kMiB, 1024 * kGiB), kLive,
      "While more bytes than this wait for a slow disk, clients that publish are read more slowly; above twice as many, and 16 MiB, they wait, and new connections are refused (0x88). Clients that only listen or ping do not notice."),

  limit<&Limits::presence_history>("presence.history", range(0, 10'000), kLive,
      "How many events (connected, disconnected and why, taken over, will published) are remembered for each client."),
  limit<&Limits::presence_max_records>("presence.max_records", range(1, kU32), kLive,
      "How many clients are remembered, connected or not. Above it, the clients that have been away longest without a session are forgotten."),
  limit<&Limits::presence_max_bytes>("presence.max_bytes", bytes(kMiB, 1024 * kGiB), kLive,
      "How much memory the records of clients may use together. Above it, clients are forgotten as above presence.max_records."),
  limit<&Limits::presence_keep>("presence.keep_s", range(0, kU32), kLive,
      "How long a client is remembered after its connection and its session have ended; 0 remembers it until one of the bounds is reached. A client without an identifier of its own is forgotten after five minutes at the latest."),

  limit<&Limits::sys_enabled>("sys.enabled", {}, kLive,
      "Whether the broker publishes its own figures under $SYS/broker. When it is switched off, those that are retained there are removed."),
  limit<&Limits::sys_clients_enabled>("sys.clients_enabled", {}, kLive,
      "Whether it publishes the state of every client under $SYS/clients, in a topic named after its client identifier."),
  limit<&Limits::sys_interval>("sys.interval_s", range(1, kDay), kLive,
      "How often the figures under $SYS/broker are brought up to date."),

  limit<&Limits::flapping_takeovers>("flapping.takeovers", range(2, 1000), kLive,
      "So many take-overs of one client identifier within flapping.window_s are reported as flapping."),
  limit<&Limits::flapping_window>("flapping.window_s", range(1, kDay), kLive,
      "The time in which take-overs are counted together."),
  limit<&Limits::flapping_hold_off>("flapping.hold_off", {}, kLive,
      "Whether connections of a flapping client identifier are refused for a time, which grows while the clients go on."),
  limit<&Limits::flapping_hold_off_max>("flapping.hold_off_max_s", range(1, kDay), kLive,
      "The longest time for which they are refused."),
  };
  return keys;
}

const std::vector<ConfigKey<ListenerSettings>>& listener_table() {
  static const std::vector<ConfigKey<ListenerSettings>> keys = {
  listener<&ListenerSettings::name>("name", range(1, 64),
      "What logs and messages call this listener."),
  listener<&ListenerSettings::bind>("bind", range(1, 16),
      "The address and port to listen on, or a list of them; * stands for all addresses of the machine (IPv4 and IPv6; [::] for those of IPv6 alone, 0.0.0.0 for those of IPv4), localhost for 127.0.0.1 and [::1], and unix:/path for a Unix socket."),
  listener<&ListenerSettings::max_connections>("max_connections", range(0, kU32),
      "How many clients may be connected through this listener; 0 leaves it to limits.max_connections."),
  listener<&ListenerSettings::backlog>("backlog", range(1, kU16),
      "How many connections the operating system holds until the broker gets to them (net.core.somaxconn bounds it as well)."),
  listener<&ListenerSettings::socket_mode>("socket_mode", mode(),
      "Who may connect to a Unix socket, as permissions of its file in octal: with 0660 the broker's user and the group of the file, with 0666 every user of this machine. A name in the abstract name space (unix:@name) is no file: everybody on this machine may connect to it."),
  listener<&ListenerSettings::socket_group>("socket_group", range(0, 64),
      "The group of a Unix socket's file, as a name or a number; empty leaves the broker's own. The broker must be root or a member of it (SupplementaryGroups= in the systemd unit)."),
  listener<&ListenerSettings::tcp, &TcpPolicy::keepalive_idle>("tcp_keepalive_idle_s", range(0, 32'767),
      "After so much silence the operating system asks the client's machine whether it is still there, whatever MQTT does; 0 turns this off."),
  listener<&ListenerSettings::tcp, &TcpPolicy::keepalive_interval>("tcp_keepalive_interval_s", range(1, 32'767),
      "How long it waits for the answer before it asks again."),
  listener<&ListenerSettings::tcp, &TcpPolicy::keepalive_count>("tcp_keepalive_count", range(1, 127),
      "After so many questions without an answer the connection is dead: with the defaults, two minutes after the client's machine was last heard."),
  listener<&ListenerSettings::tcp, &TcpPolicy::user_timeout>("tcp_user_timeout_s", range(0, kDay),
      "A connection without keep alive whose data nobody acknowledges for so long is dead; with a keep alive of K seconds it is 1.5 x K, 5 s at least and no longer than an idle one takes; 0 leaves it to the operating system (about 15 minutes)."),
  };
  return keys;
}
// clang-format on

struct SizeUnit {
  string_view suffix;
  std::int64_t bytes;
};
constexpr SizeUnit kSizeUnits[] = {{"GiB", kGiB}, {"MiB", kMiB}, {"KiB", 1024}};

std::optional<std::int64_t> parse_integer(string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_size(string_view text) {
  for (const auto& [suffix, bytes_each] : kSizeUnits) {
    if (!text.ends_with(suffix)) continue;
    string_view digits = text.substr(0, text.size() - suffix.size());
    if (digits.ends_with(' ')) digits.remove_suffix(1);
    const auto number = parse_integer(digits);
    std::int64_t product = 0;
    if (!number || __builtin_mul_overflow(*number, bytes_each, &product)) return std::nullopt;
    return product;
  }
  return parse_integer(text);
}

// "0660"
std::optional<std::int64_t> parse_mode(string_view text) {
  if (text.size() < 3 || text.size() > 4) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string size_text(std::int64_t value) {
  for (const auto& [suffix, bytes_each] : kSizeUnits) {
    if (value >= bytes_each && value % bytes_each == 0) return fmt::format("{}{}", value / bytes_each, suffix);
  }
  return fmt::format("{}", value);
}

bool is_name(string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

// What may stand between quotes in a TOML file and in a message.
std::string quoted(string_view text, std::size_t most) {
  std::string out = "\"";
  for (const char c : text.substr(0, most)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + (text.size() > most ? "...\"" : "\"");
}

std::string list_text(const std::vector<std::string>& items, std::size_t most) {
  std::string out = "[";
  for (std::size_t i = 0; i < items.size() && i < most; ++i) {
    if (i > 0) out += ", ";
    out += quoted(items[i], most * 64);
  }
  return out + (items.size() > most ? ", ...]" : "]");
}

}  // namespace

string_view KeyInfo::section() const {
  const auto dot = path.rfind('.');
  return dot == string_view::npos ? string_view() : path.substr(0, dot);
}
string_view KeyInfo::name() const {
  const auto dot = path.rfind('.');
  return dot == string_view::npos ? path : path.substr(dot + 1);
}

std::span<const ConfigSection> config_sections() { return kSections; }
std::span<const ConfigKey<Config>> config_keys() { return table(); }
std::span<const ConfigKey<ListenerSettings>> listener_keys() { return listener_table(); }

std::string expectation(const KeyInfo& key) {
  switch (key.type) {
    case KeyType::Bool: return "true or false";
    case KeyType::Integer: return fmt::format("an integer from {} to {}", key.min, key.max);
    case KeyType::Size:
      return fmt::format("a size from {} to {}, as bytes or like \"64KiB\", \"64MiB\", \"1GiB\"", size_text(key.min),
                         size_text(key.max));
    case KeyType::Duration:
      return fmt::format("{} as an integer from {} to {}", key.path.ends_with("_ms") ? "milliseconds" : "seconds",
                         key.min, key.max);
    case KeyType::Enum: {
      std::string out = "one of ";
      for (const string_view choice : key.choices) {
        if (choice != key.choices.front()) out += ", ";
        out += quoted(choice, SIZE_MAX);
      }
      return out;
    }
    case KeyType::Name: return fmt::format("a name of {} to {} letters, digits, '.', '-' and '_'", key.min, key.max);
    case KeyType::Addresses:
      return R"(host:port like "127.0.0.1:1883", "[::1]:1883", "localhost:1883", "*:1883", a path like "unix:/run/vigilmq/mqtt.sock", or a list of them)";
    case KeyType::Path: return fmt::format("a path of at most {} bytes, in quotes", key.max);
    case KeyType::Mode: return R"(permissions in octal, in quotes, from "0000" to "0777", like "0660")";
  }
  return {};
}

std::string objection(const KeyInfo& key, const ConfigValue& value) {
  if (key.type != KeyType::Addresses) return {};
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  const auto* text = std::get_if<std::string>(&value);
  const std::vector<std::string> items = list != nullptr   ? *list
                                         : text != nullptr ? std::vector{*text}
                                                           : std::vector<std::string>();
  for (const std::string& item : items) {
    if (std::string why = BindAddress::objection(item); !why.empty()) return why;
  }
  return {};
}

std::optional<ConfigValue> accept(const KeyInfo& key, const ConfigValue& value) {
  const auto in_range = [&](std::int64_t number) { return number >= key.min && number <= key.max; };
  const auto* number = std::get_if<std::int64_t>(&value);
  const auto* text = std::get_if<std::string>(&value);
  switch (key.type) {
    case KeyType::Bool: return std::holds_alternative<bool>(value) ? std::optional(value) : std::nullopt;
    case KeyType::Integer:
    case KeyType::Duration: return number != nullptr && in_range(*number) ? std::optional(value) : std::nullopt;
    case KeyType::Size: {
      const auto size = number != nullptr ? std::optional(*number) : text != nullptr ? parse_size(*text) : std::nullopt;
      return size && in_range(*size) ? std::optional<ConfigValue>(*size) : std::nullopt;
    }
    case KeyType::Enum: {
      if (text == nullptr) return std::nullopt;
      const auto found = std::ranges::find(key.choices, *text);
      if (found == key.choices.end()) return std::nullopt;
      return ConfigValue(std::int64_t{found - key.choices.begin()});
    }
    case KeyType::Name:
      return text != nullptr && is_name(*text) && in_range(static_cast<std::int64_t>(text->size()))
                 ? std::optional(value)
                 : std::nullopt;
    case KeyType::Path: {
      const bool legal = text != nullptr && in_range(static_cast<std::int64_t>(text->size())) &&
                         std::ranges::none_of(*text, [](unsigned char c) { return c < ' ' || c == 127; });
      return legal ? std::optional(value) : std::nullopt;
    }
    case KeyType::Addresses: {
      const auto* list = std::get_if<std::vector<std::string>>(&value);
      std::vector<std::string> items = list != nullptr ? *list : std::vector<std::string>();
      if (text != nullptr) items.push_back(*text);
      if (!in_range(static_cast<std::int64_t>(items.size()))) return std::nullopt;
      if (!std::ranges::all_of(items, [](const auto& item) { return BindAddress::parse(item).has_value(); })) {
        return std::nullopt;
      }
      return items;
    }
    case KeyType::Mode: {
      const auto bits = text != nullptr ? parse_mode(*text) : std::nullopt;
      return bits && in_range(*bits) ? std::optional<ConfigValue>(*bits) : std::nullopt;
    }
  }
  return std::nullopt;
}

ConfigValue value_from_text(const KeyInfo& key, string_view text) {
  switch (key.type) {
    case KeyType::Bool:
      if (text == "true" || text == "false") return text == "true";
      break;
    case KeyType::Integer:
    case KeyType::Duration:
    case KeyType::Size:
      if (const auto number = parse_integer(text)) return *number;
      break;
    case KeyType::Addresses: {
      std::vector<std::string> items;
      while (true) {
        const auto comma = text.find(',');
        string_view item = text.substr(0, comma);
        while (item.starts_with(' ')) item.remove_prefix(1);
        while (item.ends_with(' ')) item.remove_suffix(1);
        items.emplace_back(item);
        if (comma == string_view::npos) return items;
        text.remove_prefix(comma + 1);
      }
    }
    case KeyType::Enum:
    case KeyType::Name:
    case KeyType::Path:
    case KeyType::Mode: break;
  }
  return std::string(text);
}

std::string to_toml(const KeyInfo& key, const ConfigValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    if (key.type == KeyType::Enum) return quoted(key.choices[static_cast<std::size_t>(*number)], SIZE_MAX);
    if (key.type == KeyType::Mode) return fmt::format("\"{:04o}\"", *number);
    if (key.type != KeyType::Size) return fmt::format("{}", *number);
    const std::string text = size_text(*number);
    return text.ends_with('B') ? quoted(text, SIZE_MAX) : text;
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    return key.secret && !text->empty() ? "\"***\"" : quoted(*text, SIZE_MAX);
  }
  return list_text(std::get<std::vector<std::string>>(value), SIZE_MAX / 64);
}

std::string found_text(const KeyInfo& key, const ConfigValue& value) {
  if (key.secret) return "a value that is not shown";
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&value)) return quoted(*text, 64);
  return list_text(std::get<std::vector<std::string>>(value), 4);
}

std::string environment_name(string_view path) {
  std::string out = "VIGILMQ_";
  for (const char c : path) {
    if (c == '.') {
      out += "__";
    } else {
      out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
  }
  return out;
}

}  // namespace vigil::config
