// The table of all configuration keys, and how a value of a key is checked, set and shown.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"

namespace vigil::config {

// A value as sources write it. A size and a duration are integers (bytes; the unit that ends the key's name).
using ConfigValue = std::variant<bool, std::int64_t, std::string, std::vector<std::string>>;

enum class KeyType : std::uint8_t { Bool, Integer, Size, Duration, Enum, Name, Path, Addresses, Mode };
enum class Reload : std::uint8_t { Live, Restart };

// What is known of a key apart from where its value lives.
struct KeyInfo {
  std::string_view path;  // of a listener's key: without "listener."
  KeyType type = KeyType::Bool;
  std::int64_t min = 0;
  std::int64_t max = 0;
  std::span<const std::string_view> choices;
  Reload reload = Reload::Live;
  bool secret = false;
  std::string_view doc;

  // "keep_alive" of "keep_alive.max_s"; empty for a key at the top of the file.
  std::string_view section() const;
  std::string_view name() const;
};

template <class Root>
struct ConfigKey {
  KeyInfo info;
  ConfigValue (*get)(const Root&);
  void (*set)(Root&, const ConfigValue&);  // the value was accepted before
};

struct ConfigSection {
  std::string_view name;
  std::string_view doc;
};

// In the order in which files and documents show them; the keys of a section stand together.
std::span<const ConfigSection> config_sections();
std::span<const ConfigKey<Config>> config_keys();
std::span<const ConfigKey<net::ListenerSettings>> listener_keys();

// Why the value is not accepted, where more than the expectation can be said: "the port 99999 is above 65535". Or
// empty.
std::string objection(const KeyInfo& key, const ConfigValue& value);
// "an integer from 0 to 65535": what stands behind "expected" in messages and under "allowed" in the document.
std::string expectation(const KeyInfo& key);
// The value in the form that set() takes (a size's text is a number then), or nothing where the key does not take it.
std::optional<ConfigValue> accept(const KeyInfo& key, const ConfigValue& value);
// The value that a variable's or an option's text stands for; not checked yet.
ConfigValue value_from_text(const KeyInfo& key, std::string_view text);
// As TOML: 10, "64MiB", true, "0660", ["127.0.0.1:1883"]; a secret that is set shows as "***".
std::string to_toml(const KeyInfo& key, const ConfigValue& value);
// For messages: the value as it was found, shortened, without control characters; a secret's is not shown.
std::string found_text(const KeyInfo& key, const ConfigValue& value);

// "limits.max_packet_size" is VIGILMQ_LIMITS__MAX_PACKET_SIZE.
std::string environment_name(std::string_view path);

}  // namespace vigil::config
