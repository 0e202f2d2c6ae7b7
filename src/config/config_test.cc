#include "config/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "config/table.h"

namespace vigil::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> texts(const std::vector<ConfigError>& errors) {
  std::vector<std::string> out;
  for (const ConfigError& error : errors) out.push_back(error.text());
  return out;
}

// The messages that a source gives; none where it is valid.
std::vector<std::string> errors_of(const base::Result<Config, std::vector<ConfigError>>& result) {
  return result ? std::vector<std::string>() : texts(result.error());
}
std::vector<std::string> file_errors(std::string_view toml) { return errors_of(parse_config(toml, "v.toml")); }

base::Result<Config, std::vector<ConfigError>> from_environment(Environment environment) {
  return load_config({.file = {}, .default_file = "", .environment = std::move(environment), .overrides = {}});
}
std::vector<std::string> variable_errors(std::string name, std::string value) {
  return errors_of(from_environment({{std::move(name), std::move(value)}}));
}

std::vector<std::string> opened(const net::ListenerSettings& listener) {
  std::vector<std::string> out;
  for (const auto& [endpoint, if_available] : listener.endpoints()) {
    out.push_back(endpoint.text() + (if_available ? " if available" : ""));
  }
  return out;
}

// A file that lives as long as the test.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view text)
      : path_(std::filesystem::temp_directory_path() / fmt::format("vigilmq_config_test.{}.toml", ::getpid())) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A value that the key takes and that is not its default, as TOML and as the text of a variable.
template <class Root>
std::string another_toml(const ConfigKey<Root>& key) {
  const ConfigValue value = key.get(Root{});
  switch (key.info.type) {
    case KeyType::Bool: return std::get<bool>(value) ? "false" : "true";
    case KeyType::Enum:
      return std::get<std::int64_t>(value) == 1 ? R"("reject")" : fmt::format("\"{}\"", key.info.choices[1]);
    case KeyType::Name: return "\"another\"";
    case KeyType::Path: return "\"/var/tmp/another\"";
    case KeyType::Addresses: return R"(["127.0.0.1:2883", "[::1]:2884"])";
    case KeyType::Mode: return "\"0600\"";
    default: {
      const auto number = std::get<std::int64_t>(value);
      return fmt::format("{}", number < key.info.max ? number + 1 : number - 1);
    }
  }
}
std::string as_variable(std::string toml) {
  std::erase_if(toml, [](char c) { return c == '"' || c == ' '; });
  if (toml.starts_with('[') && toml.contains(',')) toml = toml.substr(1, toml.size() - 2);
  return toml;
}
// Keys that would break another rule alone.
std::string with_room(std::string_view path) {
  return path == "limits.max_packet_size" ? "max_output_bytes = \"2MiB\"\n" : "";
}

TEST(ConfigTable, IsSound) {
  std::vector<std::string_view> seen;
  for (const auto& key : config_keys()) {
    EXPECT_THAT(seen, testing::Not(testing::Contains(key.info.path)));
    seen.push_back(key.info.path);
    EXPECT_TRUE(std::ranges::any_of(config_sections(), [&](const auto& s) { return s.name == key.info.section(); }))
        << key.info.path;
    EXPECT_TRUE(key.info.doc.ends_with('.')) << key.info.path;
    EXPECT_EQ(key.info.type == KeyType::Enum, !key.info.choices.empty()) << key.info.path;
    if (key.info.type == KeyType::Duration) {
      EXPECT_TRUE(key.info.path.ends_with("_s") || key.info.path.ends_with("_ms")) << key.info.path;
    }
  }
}

TEST(ConfigTable, HasDefaultsThatItWouldAccept) {
  const auto check = [](const auto& key, const auto& root) {
    ConfigValue value = key.get(root);
    if (key.info.type == KeyType::Enum)
      value = std::string(key.info.choices[static_cast<std::size_t>(std::get<std::int64_t>(value))]);
    if (key.info.type == KeyType::Mode) value = fmt::format("{:04o}", std::get<std::int64_t>(value));
    EXPECT_TRUE(accept(key.info, value).has_value()) << key.info.path;
  };
  for (const auto& key : config_keys()) check(key, Config{});
  for (const auto& key : listener_keys()) check(key, net::ListenerSettings{});
  EXPECT_THAT(texts(validate(Config{})), IsEmpty());
}

TEST(Config, TakesEveryKeyFromAFile) {
  for (const auto& key : config_keys()) {
    const std::string section = key.info.section().empty() ? "" : fmt::format("[{}]\n", key.info.section());
    const std::string toml =
        fmt::format("{}{}{} = {}\n", section, with_room(key.info.path), key.info.name(), another_toml(key));
    const auto config = parse_config(toml, "v.toml");
    ASSERT_TRUE(config.has_value()) << toml << errors_of(config)[0];
    EXPECT_NE(key.get(*config), key.get(Config{})) << toml;
    EXPECT_THAT(effective_toml(*config),
                HasSubstr(fmt::format("{} = {}\n", key.info.name(), to_toml(key.info, key.get(*config)))));
  }
  for (const auto& key : listener_keys()) {
    const std::string toml = fmt::format("[[listener]]\n{} = {}\n", key.info.name(), another_toml(key));
    const auto config = parse_config(toml, "v.toml");
    ASSERT_TRUE(config.has_value()) << toml << errors_of(config)[0];
    EXPECT_NE(key.get(config->listeners.at(0)), key.get(net::ListenerSettings{})) << toml;
  }
}

TEST(Config, TakesEveryKeyFromTheEnvironment) {
  for (const auto& key : config_keys()) {
    const std::string value = as_variable(another_toml(key));
    Environment environment = {{environment_name(key.info.path), value}};
    if (!with_room(key.info.path).empty()) environment.emplace_back("VIGILMQ_LIMITS__MAX_OUTPUT_BYTES", "2MiB");
    const auto config = from_environment(environment);
    ASSERT_TRUE(config.has_value()) << key.info.path << errors_of(config)[0];
    EXPECT_NE(key.get(*config), key.get(Config{})) << key.info.path;
  }
  for (const auto& key : listener_keys()) {
    const std::string name = environment_name(fmt::format("listener.0.{}", key.info.path));
    const auto config = from_environment({{name, as_variable(another_toml(key))}});
    ASSERT_TRUE(config.has_value()) << name << errors_of(config)[0];
    EXPECT_NE(key.get(config->listeners.at(0)), key.get(net::ListenerSettings{})) << name;
  }
}

TEST(Config, HasTheDefaultsThatTheProjectPromises) {
  const Config config = *parse_config("", "v.toml");
  EXPECT_EQ(config.keep_alive.tick, base::milliseconds(1000));
  EXPECT_EQ(config.keep_alive.max_s, 0U);
  EXPECT_EQ(config.keep_alive.over_max_v3, broker::OverMaxV3::Allow);
  EXPECT_EQ(config.limits.connect_timeout, base::seconds(10));
  EXPECT_EQ(config.limits.min_receive_rate, 1024U);
  EXPECT_FALSE(config.allow_anonymous_remote);
  ASSERT_EQ(config.listeners.size(), 1U);
  EXPECT_THAT(opened(config.listeners[0]), ElementsAre("127.0.0.1:1883", "[::1]:1883 if available"));
  EXPECT_EQ(config.listeners[0].socket_mode, 0660U) << "not everybody on this machine";
}

TEST(Config, ReadsValuesIntoTheirUnits) {
  const Config config = *parse_config(R"(
drain_timeout_s = 7
[keep_alive]
monitoring_delay_ms = 10
over_max_v3 = "reject"
[session]
max_queued_bytes = "3 MiB"
[[listener]]
bind = "127.0.0.1:7"
tcp_keepalive_idle_s = 5
)",
                                      "v.toml");
  EXPECT_EQ(config.drain_timeout, base::seconds(7));
  EXPECT_EQ(config.keep_alive.tick, base::milliseconds(10));
  EXPECT_EQ(config.keep_alive.over_max_v3, broker::OverMaxV3::Reject);
  EXPECT_EQ(config.limits.max_queued_bytes, 3U << 20U);
  EXPECT_THAT(opened(config.listeners[0]), ElementsAre("127.0.0.1:7"));
  EXPECT_EQ(config.listeners[0].tcp.keepalive_idle, base::seconds(5));
}

TEST(Config, LetsTheLaterSourceWin) {
  const TemporaryFile file("[keep_alive]\nmonitoring_delay_ms = 1\nmax_s = 1\n[log]\nlevel = \"warn\"\n");
  ConfigSources sources{.file = file.path(), .default_file = "", .environment = {}, .overrides = {}};
  const auto loaded = [&] { return *load_config(sources); };
  EXPECT_EQ(loaded().keep_alive.tick, base::milliseconds(1));
  sources.environment = {{"VIGILMQ_KEEP_ALIVE__MONITORING_DELAY_MS", "2"}, {"VIGILMQ_KEEP_ALIVE__MAX_S", "2"}};
  EXPECT_EQ(loaded().keep_alive.tick, base::milliseconds(2));
  sources.overrides = {{"--tick", "keep_alive.monitoring_delay_ms", "3"}, {"--max", "keep_alive.max_s", "3"}};
  EXPECT_EQ(loaded().keep_alive.tick, base::milliseconds(3));
  sources.environment.emplace_back("MQTT_KEEP_ALIVE_MONITORING_DELAY_MS", "4");
  EXPECT_EQ(loaded().keep_alive.tick, base::milliseconds(4));
  EXPECT_EQ(loaded().keep_alive.max_s, 3U);
  EXPECT_EQ(loaded().log_level, log::LogLevel::Warn);
}

TEST(Config, ReadsTheDefaultFileOnlyWhereItExists) {
  const TemporaryFile file("shards = 3\n");
  ConfigSources sources{.file = {}, .default_file = file.path(), .environment = {}, .overrides = {}};
  EXPECT_EQ(load_config(sources)->shards, 3U);
  sources.default_file = "/nowhere/vigilmq.toml";
  EXPECT_EQ(load_config(sources)->shards, 0U);
}

// As a composition of containers writes a variable that nobody has set: ${SHARDS:-}.
TEST(Config, TakesAnEmptyVariableForNone) {
  const TemporaryFile file("shards = 3\n[keep_alive]\nmonitoring_delay_ms = 7\n");
  const auto config = load_config({.file = file.path(),
                                   .default_file = "",
                                   .environment = {{"VIGILMQ_SHARDS", ""},
                                                   {"VIGILMQ_LISTENER__0__BIND", ""},
                                                   {"VIGILMQ_NO_SUCH_KEY", ""},
                                                   {"MQTT_KEEP_ALIVE_MONITORING_DELAY_MS", ""}},
                                   .overrides = {}});
  ASSERT_TRUE(config.has_value()) << errors_of(config)[0];
  EXPECT_EQ(config->shards, 3U);
  EXPECT_EQ(config->keep_alive.tick, base::milliseconds(7));
  EXPECT_EQ(config->listeners, Config{}.listeners);
}

TEST(ConfigOrigin, NamesTheSourcesThatCount) {
  const TemporaryFile file("");
  ConfigSources sources{.file = {}, .default_file = "/nowhere/v.toml", .environment = {}, .overrides = {}};
  EXPECT_EQ(origin_of(sources).text(), "no configuration file: the defaults");
  sources.environment = {{"PATH", "/bin"},
                         {"VIGILMQ_SHARDS", "1"},
                         {"VIGILMQ_NODE_ID", ""},
                         {"VIGILMQ_SERVICE_HOST", "10.0.0.1"},
                         {"MQTT_KEEP_ALIVE_MONITORING_DELAY_MS", "5"}};
  sources.overrides = {{"--listen", "listener.0.bind", "127.0.0.1:1"}};
  EXPECT_EQ(origin_of(sources).text(),
            "no configuration file: the defaults, with MQTT_KEEP_ALIVE_MONITORING_DELAY_MS, VIGILMQ_SHARDS, --listen");
  sources.default_file = file.path();
  EXPECT_EQ(origin_of(sources).file, file.path());
  sources.file = "/named/v.toml";
  sources.environment.clear();
  sources.overrides.clear();
  EXPECT_EQ(origin_of(sources).text(), "configuration file /named/v.toml");
}

TEST(Config, AppliesVariablesAndOptionsToTheListenersOfTheFile) {
  const TemporaryFile file(
      "[[listener]]\nname = \"a\"\nbacklog = 5\n[[listener]]\nname = \"b\"\nbind = \"127.0.0.1:2\"\n");
  const auto config = load_config({.file = file.path(),
                                   .default_file = "",
                                   .environment = {{"VIGILMQ_LISTENER__0__BIND", "127.0.0.1:3, [::1]:3"},
                                                   {"VIGILMQ_LISTENER__2__BIND", "127.0.0.1:4"}},
                                   .overrides = {{"--listen", "listener.1.bind", "127.0.0.1:5"}}});
  ASSERT_TRUE(config.has_value()) << errors_of(config)[0];
  ASSERT_EQ(config->listeners.size(), 3U);
  EXPECT_EQ(config->listeners[0].backlog, 5U);
  EXPECT_THAT(opened(config->listeners[0]), ElementsAre("127.0.0.1:3", "[::1]:3"));
  EXPECT_THAT(opened(config->listeners[1]), ElementsAre("127.0.0.1:5"));
  EXPECT_EQ(config->listeners[2].name, "listener-2");
  EXPECT_THAT(opened(config->listeners[2]), ElementsAre("127.0.0.1:4"));
}

TEST(Config, CountsListenersOfTheEnvironmentByNumber) {
  Environment environment;
  for (int i = 11; i > 0; --i) {
    environment.emplace_back(fmt::format("VIGILMQ_LISTENER__{}__BIND", i), fmt::format("127.0.0.1:{}", 3000 + i));
  }
  const auto config = from_environment(environment);
  ASSERT_TRUE(config.has_value()) << errors_of(config)[0];
  ASSERT_EQ(config->listeners.size(), 12U);
  EXPECT_THAT(opened(config->listeners[10]), ElementsAre("127.0.0.1:3010"));
}

TEST(ConfigErrors, NamePlaceKeyFindingAndExpectation) {
  EXPECT_THAT(file_errors("[keep_alive]\n\n  max_s = 70000\n"),
              ElementsAre("v.toml:3:11: keep_alive.max_s: found 70000, expected an integer from 0 to 65535"));
  EXPECT_THAT(file_errors("[log]\ntimestamps = \"yes\""),
              ElementsAre("v.toml:2:14: log.timestamps: found \"yes\", expected true or false"));
  EXPECT_THAT(file_errors("[log]\nlevel = \"loud\""),
              ElementsAre("v.toml:2:9: log.level: found \"loud\", expected one of \"trace\", \"debug\", \"info\", "
                          "\"warn\", \"error\""));
  EXPECT_THAT(
      file_errors("[limits]\nconnect_timeout_s = 0"),
      ElementsAre("v.toml:2:21: limits.connect_timeout_s: found 0, expected seconds as an integer from 1 to 3600"));
  EXPECT_THAT(file_errors("[keep_alive]\nmonitoring_delay_ms = 0"),
              ElementsAre("v.toml:2:23: keep_alive.monitoring_delay_ms: found 0, expected milliseconds as an integer "
                          "from 1 to 3600000"));
  EXPECT_THAT(
      file_errors("[session]\nmax_queued_bytes = \"64MB\""),
      ElementsAre("v.toml:2:20: session.max_queued_bytes: found \"64MB\", expected a size from 1KiB to 1024GiB, "
                  "as bytes or like \"64KiB\", \"64MiB\", \"1GiB\""));
  EXPECT_THAT(
      file_errors("node_id = \"a b\""),
      ElementsAre("v.toml:1:11: node_id: found \"a b\", expected a name of 0 to 64 letters, digits, '.', '-' and '_'"));
  EXPECT_THAT(
      file_errors("[[listener]]\nbind = [\"localhost\"]"),
      ElementsAre("v.toml:2:8: listener.0.bind: found [\"localhost\"] (the port is missing), expected host:port "
                  "like \"127.0.0.1:1883\", \"[::1]:1883\", \"localhost:1883\", \"*:1883\", a path like "
                  "\"unix:/run/vigilmq/mqtt.sock\", or a list of them"));
  EXPECT_THAT(
      file_errors("[[listener]]\nsocket_mode = \"0888\""),
      ElementsAre("v.toml:2:15: listener.0.socket_mode: found \"0888\", expected permissions in octal, in quotes, "
                  "from \"0000\" to \"0777\", like \"0660\""));
  // 432 is 0660, and 660 something else.
  for (const char* number : {"432", "660", "\"1777\"", "\"66\"", "\"-660\"", "\"00660\""}) {
    EXPECT_THAT(file_errors(fmt::format("[[listener]]\nsocket_mode = {}", number)),
                ElementsAre(HasSubstr("expected permissions in octal")))
        << number;
  }
}

TEST(ConfigErrors, NameTypesThatNoKeyTakes) {
  EXPECT_THAT(file_errors("shards = 1.5"),
              ElementsAre("v.toml:1:10: shards: found 1.5, expected an integer from 0 to 64"));
  EXPECT_THAT(file_errors("shards = 2026-01-31"),
              ElementsAre("v.toml:1:10: shards: found a date or time, expected an integer from 0 to 64"));
  EXPECT_THAT(
      file_errors("shards = [1]"),
      ElementsAre("v.toml:1:10: shards: found a list with more than strings in it, expected an integer from 0 to 64"));
  EXPECT_THAT(file_errors("shards = {a = 1}"),
              ElementsAre("v.toml:1:10: shards: found a table, expected an integer from 0 to 64"));
  EXPECT_THAT(file_errors("log = true"), ElementsAre("v.toml:1:7: log: found true, expected a section: [log]"));
  EXPECT_THAT(file_errors("log = 1.5"), ElementsAre("v.toml:1:7: log: found 1.5, expected a section: [log]"));
  EXPECT_THAT(file_errors("[listener]\nname = \"a\""),
              ElementsAre("v.toml:1:1: listener: expected one or more sections [[listener]], in two brackets each"));
  EXPECT_THAT(file_errors("listener = []"),
              ElementsAre("v.toml:1:12: listener: expected one or more sections [[listener]], in two brackets each"));
}

TEST(ConfigErrors, GuessWhatAnUnknownNameMeant) {
  EXPECT_THAT(file_errors("[keep_alive]\nmaxs = 5"),
              ElementsAre("v.toml:2:1: keep_alive.maxs: unknown key, did you mean keep_alive.max_s?"));
  EXPECT_THAT(file_errors("max_packet_size = 5"),
              ElementsAre("v.toml:1:1: max_packet_size: unknown key, did you mean limits.max_packet_size?"));
  EXPECT_THAT(file_errors("[keepalive]\nmax_s = 5"),
              ElementsAre("v.toml:1:2: keepalive: unknown section, did you mean [keep_alive]?"));
  EXPECT_THAT(file_errors("[logging]\n"), ElementsAre("v.toml:1:2: logging: unknown section, did you mean [log]?"));
  EXPECT_THAT(file_errors("[mqtt.session]\n"),
              ElementsAre("v.toml:1:7: mqtt.session: unknown section, did you mean [session]?"));
  EXPECT_THAT(file_errors("[[listeners]]\n"),
              ElementsAre("v.toml:1:3: listeners: unknown section, did you mean [[listener]]?"));
  EXPECT_THAT(
      file_errors("[tls]\n"),
      ElementsAre("v.toml:1:2: tls: unknown section; there are [log], [security], [keep_alive], [limits], [mqtt], "
                  "[access], [session], [retained], [will], [store], [presence], [sys], [flapping], [[listener]]"));
  EXPECT_THAT(file_errors("[[listener]]\nbacklock = 5"),
              ElementsAre("v.toml:2:1: listener.0.backlock: unknown key, did you mean backlog?"));
  EXPECT_THAT(file_errors("zzzzzzzzzz = 5"), ElementsAre("v.toml:1:1: zzzzzzzzzz: unknown key"));
  EXPECT_THAT(file_errors("\"\" = 5"), ElementsAre("v.toml:1:1: unknown key"));
}

TEST(ConfigErrors, SayWhereTextIsNotToml) {
  EXPECT_THAT(file_errors("shards = 1\nnode_id ="), ElementsAre(testing::StartsWith("v.toml:2:10: not TOML: ")));
  // Here the parser has no words.
  EXPECT_THAT(file_errors("shards = 1\n\n[:]\nnode_id = 5\n"), ElementsAre("v.toml:3:1: not TOML"));
  EXPECT_THAT(file_errors("[:]"), ElementsAre("v.toml:1:1: not TOML"));
  EXPECT_THAT(file_errors("caf\u00e9 = 1"), ElementsAre(testing::StartsWith("v.toml:1:4: not TOML: ")));
  EXPECT_THAT(file_errors("\n" + std::string(9000, '#')),
              ElementsAre("v.toml:2:8193: not TOML: expected lines of at most 8192 bytes"));
  EXPECT_THAT(file_errors(std::string((1U << 20U) + 1, '\n')),
              ElementsAre("v.toml: cannot be read: it is larger than 1048576 bytes"));
}

TEST(ConfigErrors, HintAtForgottenQuotes) {
  EXPECT_THAT(
      file_errors("[log]\nlevel = info # not loud\n"),
      ElementsAre("v.toml:2:12: log.level: found info, expected one of \"trace\", \"debug\", \"info\", \"warn\", "
                  "\"error\"; a text stands in quotes: level = \"info\""));
  EXPECT_THAT(
      file_errors("[[listener]]\n[[listener]]\nbind=127.0.0.1:1883"),
      ElementsAre(testing::AllOf(testing::StartsWith("v.toml:3:"), HasSubstr(": listener.1.bind: found 127.0.0.1:1883"),
                                 testing::EndsWith("a text stands in quotes: bind = \"127.0.0.1:1883\""))));
  EXPECT_THAT(file_errors("[[listener]]\nsocket_mode = 0660"),
              ElementsAre(testing::EndsWith("a text stands in quotes: socket_mode = \"0660\"")));
  EXPECT_THAT(file_errors("limits.max_packet_size = 64KiB"),
              ElementsAre(testing::EndsWith("a text stands in quotes: limits.max_packet_size = \"64KiB\"")));
  EXPECT_THAT(file_errors("log.timestamps = yes"),
              ElementsAre(testing::EndsWith("log.timestamps: found yes, expected true or false")));
  EXPECT_THAT(file_errors("log.level = loud"), ElementsAre(testing::EndsWith("\"error\"")));
  EXPECT_THAT(file_errors("nothing = foo"), ElementsAre(HasSubstr("not TOML")));
}

TEST(ConfigErrors, SayWhyAFileCannotBeRead) {
  const auto named = [](const char* path) {
    return errors_of(load_config({.file = path, .default_file = "", .environment = {}, .overrides = {}}));
  };
  EXPECT_THAT(named("/nowhere/v.toml"), ElementsAre("/nowhere/v.toml: cannot be read: No such file or directory"));
  EXPECT_THAT(named("/tmp"), ElementsAre("/tmp: cannot be read: it is a directory"));
}

TEST(ConfigErrors, NameTheVariable) {
  EXPECT_THAT(
      variable_errors("VIGILMQ_KEEP_ALIVE__MAX_S", "1e3"),
      ElementsAre("environment variable VIGILMQ_KEEP_ALIVE__MAX_S: keep_alive.max_s: found \"1e3\", expected an "
                  "integer from 0 to 65535"));
  EXPECT_THAT(variable_errors("MQTT_KEEP_ALIVE_MONITORING_DELAY_MS", "0"),
              ElementsAre("environment variable MQTT_KEEP_ALIVE_MONITORING_DELAY_MS: keep_alive.monitoring_delay_ms: "
                          "found 0, expected milliseconds as an integer from 1 to 3600000"));
  EXPECT_THAT(variable_errors("VIGILMQ_KEEP_ALIVE_MAX_S", "5"),
              ElementsAre("environment variable VIGILMQ_KEEP_ALIVE_MAX_S: unknown variable, did you mean "
                          "VIGILMQ_KEEP_ALIVE__MAX_S?"));
  EXPECT_THAT(variable_errors("VIGILMQ_shards", "5"),
              ElementsAre("environment variable VIGILMQ_shards: unknown variable"));
  EXPECT_THAT(variable_errors("VIGILMQ_LISTENER__2__BIND", "127.0.0.1:1"),
              ElementsAre("environment variable VIGILMQ_LISTENER__2__BIND: listener.2.bind: found listener number 2, "
                          "expected one from 0 to 1; a new listener takes the next number"));
}

TEST(ConfigErrors, NameTheOption) {
  const auto with = [](std::string key, std::string value) {
    return errors_of(load_config({.file = {},
                                  .default_file = "",
                                  .environment = {},
                                  .overrides = {{"--set", std::move(key), std::move(value)}}}));
  };
  EXPECT_THAT(with("shards", "x"), ElementsAre("--set: shards: found \"x\", expected an integer from 0 to 64"));
  EXPECT_THAT(with("shard", "1"), ElementsAre("--set: shard: unknown key, did you mean shards?"));
}

TEST(ConfigErrors, LeaveTheVariablesOfContainerPlatformsAlone) {
  const auto config = from_environment({{"VIGILMQ_SERVICE_HOST", "10.0.0.1"},
                                        {"VIGILMQ_SERVICE_PORT_MQTT", "1883"},
                                        {"VIGILMQ_PORT", "tcp://10.0.0.1:1883"},
                                        {"VIGILMQ_PORT_1883_TCP_ADDR", "10.0.0.1"},
                                        {"VIGILMQ_HEADLESS_SERVICE_HOST", "10.0.0.1"},
                                        {"VIGIL", "x"},
                                        {"PATH", "/bin"}});
  EXPECT_THAT(errors_of(config), IsEmpty());
  EXPECT_THAT(variable_errors("VIGILMQ_PORT", "1884"),
              ElementsAre("environment variable VIGILMQ_PORT: unknown variable"));
}

TEST(ConfigErrors, AreAllCollectedInTheOrderOfTheirSources) {
  const TemporaryFile file("shards = -1\n[log]\nlevel = 1\nfoo = 2\n");
  const auto errors = errors_of(load_config({.file = file.path(),
                                             .default_file = "",
                                             .environment = {{"VIGILMQ_SHARDS", "x"}},
                                             .overrides = {{"--listen", "listener.0.bind", "0.0.0.0:1883"}}}));
  ASSERT_EQ(errors.size(), 5U);
  EXPECT_THAT(errors[0], HasSubstr(".toml:1:10: shards: "));
  EXPECT_THAT(errors[1], HasSubstr(".toml:3:9: log.level: "));
  EXPECT_THAT(errors[2], HasSubstr(".toml:4:1: log.foo: unknown key"));
  EXPECT_THAT(errors[3], HasSubstr("environment variable VIGILMQ_SHARDS: shards: "));
  EXPECT_THAT(errors[4], HasSubstr("--listen: listener.0.bind: other machines can reach 0.0.0.0:1883"));
}

TEST(ConfigErrors, StayOneLineWhateverTheFileHolds) {
  EXPECT_THAT(file_errors("\"a\\nb\" = 1\nnode_id = \"c\\nd\""),
              ElementsAre("v.toml:1:1: a\\x0ab: unknown key",
                          "v.toml:2:11: node_id: found \"c\\u000ad\", expected a name of 0 to 64 letters, digits, '.', "
                          "'-' and '_'"));
  EXPECT_LT(file_errors(std::string(5000, 'k') + " = 1").at(0).size(), 200U);
}

TEST(ConfigSafety, KeepsAnonymousUsersOnThisMachine) {
  EXPECT_THAT(
      file_errors("[[listener]]\nbind = \"0.0.0.0:1883\""),
      ElementsAre(
          "v.toml:2:8: listener.0.bind: other machines can reach 0.0.0.0:1883, and anybody on them could "
          "connect, read and write, because no authentication is configured. Set "
          "security.allow_anonymous_remote = true (or VIGILMQ_SECURITY__ALLOW_ANONYMOUS_REMOTE=true) if that is "
          "what you want, or listen on 127.0.0.1 and [::1] only"));
  EXPECT_THAT(file_errors("security.allow_anonymous_remote = true\n[[listener]]\nbind = \"0.0.0.0:1883\""), IsEmpty());
  EXPECT_THAT(file_errors("[[listener]]\nbind = [\"127.0.0.1:1883\", \"[::1]:1883\"]"), IsEmpty());
}

TEST(ConfigValidate, FindsListenersThatShareANameOrAnAddress) {
  EXPECT_THAT(
      file_errors("[[listener]]\n[[listener]]\nname = \"default\"\nbind = \"127.0.0.1:1883\"\n"),
      ElementsAre("v.toml:3:8: listener.1.name: found \"default\" a second time, expected a name of its own for "
                  "each listener",
                  "v.toml:4:8: listener.1.bind: 127.0.0.1:1883 is taken already, by the listener \"default\""));
  EXPECT_THAT(file_errors("[[listener]]\nbind = \"127.0.0.1:0\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n"), IsEmpty());
}

TEST(ConfigValidate, FindsListenersOfWhichOneHasEveryAddress) {
  const auto errors_of = [](std::string_view first, std::string_view second) {
    return file_errors(
        fmt::format("security.allow_anonymous_remote = true\n[[listener]]\nbind = \"{}\"\n[[listener]]\nname = \"b\"\n"
                    "bind = \"{}\"\n",
                    first, second));
  };
  EXPECT_THAT(errors_of("0.0.0.0:1883", "127.0.0.1:1883"),
              ElementsAre("v.toml:6:8: listener.1.bind: 127.0.0.1:1883 is taken already, by 0.0.0.0:1883 of the "
                          "listener \"default\""));
  EXPECT_THAT(errors_of("[::1]:1883", "*:1883"), SizeIs(1));
  EXPECT_THAT(errors_of("localhost:1883", "[::]:1883"), SizeIs(1));
  EXPECT_THAT(errors_of("unix:/nowhere/a", "unix:/nowhere/./b/../a"), SizeIs(1));
  EXPECT_THAT(errors_of("0.0.0.0:1883", "[::]:1883"), IsEmpty());
  EXPECT_THAT(errors_of("0.0.0.0:1883", "127.0.0.1:1884"), IsEmpty());
  EXPECT_THAT(errors_of("127.0.0.2:1883", "127.0.0.1:1883"), IsEmpty());
  EXPECT_THAT(errors_of("unix:/nowhere/a", "unix:/nowhere/b"), IsEmpty());
}

TEST(ConfigValidate, SaysHowManyShardsThereMayBe) {
  EXPECT_THAT(file_errors("shards = 64"), IsEmpty());
  EXPECT_THAT(file_errors("shards = 65"),
              ElementsAre("v.toml:1:10: shards: found 65, expected an integer from 0 to 64"));
}

TEST(ConfigValidate, SaysWhereAListenerStandsThatKeepsATakenDefault) {
  EXPECT_THAT(file_errors("[[listener]]\n[[listener]]\n"),
              ElementsAre("v.toml:2:1: listener.1.bind: 127.0.0.1:1883 is taken already, by the listener \"default\"",
                          "v.toml:2:1: listener.1.bind: [::1]:1883 is taken already, by the listener \"default\""));
}

TEST(ConfigValidate, LeavesRoomForTheLargestPacket) {
  EXPECT_THAT(
      file_errors("[limits]\nmax_packet_size = \"100MiB\"\nmax_output_bytes = \"2MiB\""),
      ElementsAre("v.toml:3:20: limits.max_output_bytes: found 2097152, expected at least limits.max_packet_size, "
                  "which is 104857600: the largest packet must fit",
                  "v.toml:2:19: session.max_queued_bytes: found 67108864, expected at least "
                  "limits.max_packet_size, which is 104857600: the largest packet must fit"));
}

TEST(ConfigReload, TellsWhatAppliesNowFromWhatNeedsARestart) {
  const Config old = *parse_config("", "old.toml");
  const Config fresh = *parse_config(
      "shards = 7\nlog.level = \"debug\"\nkeep_alive.max_s = 9\nmqtt.maximum_qos = 1\n"
      "[[listener]]\nbacklog = 9\n",
      "fresh.toml");
  const ConfigReload result = reload(old, fresh);
  EXPECT_THAT(result.applied, ElementsAre("log.level", "keep_alive.max_s"));
  EXPECT_THAT(result.needs_restart, ElementsAre("shards", "mqtt.maximum_qos", "listener.0.backlog"));
  EXPECT_EQ(result.config.log_level, log::LogLevel::Debug);
  EXPECT_EQ(result.config.keep_alive.max_s, 9U);
  EXPECT_EQ(result.config.shards, 0U);
  EXPECT_EQ(result.config.limits.maximum_qos, 2);
  EXPECT_EQ(result.config.listeners, old.listeners);
}

TEST(ConfigReload, ReportsEveryKeyAsTheTableSays) {
  for (const auto& key : config_keys()) {
    const std::string section = key.info.section().empty() ? "" : fmt::format("[{}]\n", key.info.section());
    const Config old = *parse_config(section + with_room(key.info.path), "old.toml");
    const Config fresh = *parse_config(
        fmt::format("{}{}{} = {}\n", section, with_room(key.info.path), key.info.name(), another_toml(key)),
        "fresh.toml");
    const ConfigReload result = reload(old, fresh);
    const bool live = key.info.reload == Reload::Live;
    EXPECT_THAT(live ? result.applied : result.needs_restart, ElementsAre(key.info.path));
    EXPECT_THAT(live ? result.needs_restart : result.applied, IsEmpty());
    EXPECT_EQ(key.get(result.config), key.get(live ? fresh : old)) << key.info.path;
  }
}

TEST(ConfigReload, KeepsALiveValueThatNeedsOneThatIsNotInForceYet) {
  const Config old = *parse_config("[limits]\nmax_packet_size = \"1MiB\"\nmax_output_bytes = \"1MiB\"\n", "old.toml");
  const Config fresh = *parse_config(
      "[limits]\nmax_packet_size = \"64KiB\"\nmax_output_bytes = \"64KiB\"\nmax_topic_levels = 9\n"
      "[session]\nmax_queued_bytes = \"512KiB\"\n",
      "fresh.toml");
  const ConfigReload result = reload(old, fresh);
  EXPECT_THAT(texts(validate(result.config)), IsEmpty());
  EXPECT_THAT(result.applied, ElementsAre("limits.max_topic_levels"));
  EXPECT_THAT(result.needs_restart,
              ElementsAre("limits.max_packet_size", "limits.max_output_bytes", "session.max_queued_bytes"));
  EXPECT_EQ(result.config.limits.max_output_bytes, 1U << 20U);
  EXPECT_EQ(result.config.limits.max_queued_bytes, old.limits.max_queued_bytes);
}

TEST(ConfigReload, AsksForARestartForMoreListeners) {
  const Config fresh = *parse_config("[[listener]]\n[[listener]]\nbind = \"127.0.0.1:2\"\n", "fresh.toml");
  EXPECT_THAT(reload(Config{}, fresh).needs_restart, ElementsAre("listener"));
}

TEST(EffectiveToml, ReadsBackAsTheSame) {
  for (const char* toml : {"",
                           "node_id = \"n.1\"\n[session]\nmax_queued_bytes = 1048577\n[[listener]]\n[[listener]]\n"
                           "bind = [\"127.0.0.1:2\", \"[::1]:2\"]\n"}) {
    const std::string printed = effective_toml(*parse_config(toml, "v.toml"));
    const auto again = parse_config(printed, "printed.toml");
    ASSERT_TRUE(again.has_value()) << errors_of(again)[0];
    EXPECT_EQ(effective_toml(*again), printed);
  }
  EXPECT_THAT(effective_toml(Config{}),
              HasSubstr("\n[keep_alive]\nmonitoring_delay_ms = 1000\nmax_s = 0\nover_max_v3 = \"allow\"\n"));
  EXPECT_THAT(effective_toml(Config{}), HasSubstr("bind = [\"localhost:1883\"]\n"));
}

TEST(ConfigTable, ShowsNoSecret) {
  const KeyInfo key{
      .path = "x.password", .type = KeyType::Name, .min = 0, .max = 3, .choices = {}, .secret = true, .doc = ""};
  EXPECT_EQ(to_toml(key, ConfigValue("hunter2")), "\"***\"");
  EXPECT_EQ(to_toml(key, ConfigValue("")), "\"\"");
  EXPECT_EQ(found_text(key, ConfigValue("hunter2")), "a value that is not shown");
}

// conf/vigilmq.toml and docs/configuration.md say what the table says. VIGIL_UPDATE=1 writes them anew
// (script/generate-docs).
void expect_file(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(VIGIL_SOURCE_DIR) / name;
  if (std::getenv("VIGIL_UPDATE") != nullptr) {
    std::ofstream(path, std::ios::binary) << text;
  }
  EXPECT_EQ(contents(path), text) << name << " is out of date: run script/generate-docs";
}

TEST(GeneratedFiles, AreUpToDate) {
  expect_file("conf/vigilmq.toml", default_config_file());
  expect_file("docs/configuration.md", config_docs());
}

// `limits.max_connections` in what people read is a key that exists.
TEST(Documents, NameOnlyKeysThatExist) {
  std::size_t seen = 0;
  for (const char* name :
       {"README.md", "docs/operating.md", "docs/limits.md", "docs/architecture.md", "docs/presence.md"}) {
    const std::string text = contents(std::filesystem::path(VIGIL_SOURCE_DIR) / name);
    for (const auto& section : config_sections()) {
      if (section.name.empty() || section.name == "listener") continue;
      const std::string start = fmt::format("`{}.", section.name);
      for (auto at = text.find(start); at != std::string::npos; at = text.find(start, at + 1)) {
        const std::string path = text.substr(at + 1, text.find_first_of("` =", at + 1) - at - 1);
        EXPECT_TRUE(std::ranges::any_of(config_keys(), [&](const auto& key) { return key.info.path == path; }))
            << name << " speaks of " << path;
        ++seen;
      }
    }
  }
  EXPECT_GT(seen, 20U);
}

TEST(GeneratedFiles, HoldEveryKeyAndItsDefault) {
  const std::string file = contents(std::filesystem::path(VIGIL_SOURCE_DIR) / "conf/vigilmq.toml");
  const std::string docs = contents(std::filesystem::path(VIGIL_SOURCE_DIR) / "docs/configuration.md");
  const auto check = [&](const auto& key, const auto& defaults) {
    const std::string value = to_toml(key.info, key.get(defaults));
    EXPECT_THAT(file, HasSubstr(fmt::format("\n#{} = {}\n", key.info.name(), value)));
    EXPECT_THAT(docs, HasSubstr(fmt::format("\n| `{}` | `{}` |", key.info.path, value)));
  };
  for (const auto& key : config_keys()) check(key, Config{});
  for (const auto& key : listener_keys()) check(key, net::ListenerSettings{});
}

TEST(GeneratedFiles, AreTheDefaultsWithAndWithoutTheirMarks) {
  const std::string file = default_config_file();
  std::string uncommented;
  for (std::size_t i = 0; i < file.size(); ++i) {
    const bool mark = file[i] == '#' && (i == 0 || file[i - 1] == '\n') && file[i + 1] != ' ' && file[i + 1] != '\n';
    if (!mark) uncommented += file[i];
  }
  EXPECT_NE(uncommented, file);
  for (const std::string& toml : {file, uncommented}) {
    const auto config = parse_config(toml, "v.toml");
    ASSERT_TRUE(config.has_value()) << errors_of(config)[0];
    EXPECT_EQ(effective_toml(*config), effective_toml(Config{}));
  }
}

}  // namespace
}  // namespace vigil::config
