// Topic aliases of one connection, a table a direction (3.3.2.3.4). They die with the connection [MQTT-3.3.2-7].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

namespace vigil::broker {

// Set by the client.
class InboundAliases {
 public:
  // `alias` is 1..maximum, checked by the caller [MQTT-3.3.2-8].
  void set(std::uint16_t alias, std::string_view topic) {
    if (topics_.size() < alias) topics_.resize(alias);
    topics_[alias - 1] = topic;
  }
  // Empty if the alias was never set.
  std::string_view topic(std::uint16_t alias) const {
    return alias <= topics_.size() ? std::string_view(topics_[alias - 1]) : std::string_view();
  }

 private:
  std::vector<std::string> topics_;
};

// Set by us: the first topics get the aliases that the client allows, and keep them.
class OutboundAliases {
 public:
  struct Use {
    std::uint16_t alias;
    bool known;  // the client has the topic already: it need not be sent
  };
  // nullopt: no alias left for this topic.
  std::optional<Use> find(std::string_view topic, std::uint16_t maximum) const {
    const auto it = aliases_.find(topic);
    if (it != aliases_.end()) return Use{it->second, true};
    if (aliases_.size() >= maximum) return std::nullopt;
    return Use{static_cast<std::uint16_t>(aliases_.size() + 1), false};
  }
  // The frame that sets the alias is on its way.
  void set(std::string_view topic, std::uint16_t alias) { aliases_.emplace(std::string(topic), alias); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  boost::unordered_flat_map<std::string, std::uint16_t, Hash, std::equal_to<>> aliases_;
};

}  // namespace vigil::broker
