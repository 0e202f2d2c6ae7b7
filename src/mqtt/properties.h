// Properties of MQTT 5.0 (2.2.2): one table (property_table in properties.cc) drives encoding, decoding and validation.
//
// A value: views into the packet's bytes. Nothing is copied or allocated for a packet with no user property and at most one subscription
// identifier.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include <boost/container/small_vector.hpp>

#include "mqtt/types.h"

namespace vigil::mqtt {

// Dense numbers, in the order of the table; the wire's identifier is in the table.
enum class Property : std::uint8_t {
  // numbers
  PayloadFormatIndicator,
  MessageExpiryInterval,
  SessionExpiryInterval,
  ServerKeepAlive,
  RequestProblemInformation,
  WillDelayInterval,
  RequestResponseInformation,
  ReceiveMaximum,
  TopicAliasMaximum,
  TopicAlias,
  MaximumQoS,
  RetainAvailable,
  MaximumPacketSize,
  WildcardSubscriptionAvailable,
  SubscriptionIdentifierAvailable,
  SharedSubscriptionAvailable,
  // texts and binary data
  ContentType,
  ResponseTopic,
  CorrelationData,
  AssignedClientIdentifier,
  AuthenticationMethod,
  AuthenticationData,
  ResponseInformation,
  ServerReference,
  ReasonString,
  // may occur more than once
  SubscriptionIdentifier,
  UserProperty,
};
inline constexpr std::size_t kNumberProperties = 16;
inline constexpr std::size_t kTextProperties = 9;

struct UserProperty {
  std::string_view name;
  std::string_view value;
  bool operator==(const UserProperty&) const = default;
};

class Properties {
 public:
  bool empty() const { return present_ == 0 && subscription_ids.empty() && user.empty(); }
  bool has(Property p) const { return (present_ & bit(p)) != 0; }

  // Only for the numbers (PayloadFormatIndicator .. SharedSubscriptionAvailable).
  std::optional<std::uint32_t> number(Property p) const {
    return has(p) ? std::optional(numbers_[index(p)]) : std::nullopt;
  }
  std::uint32_t number_or(Property p, std::uint32_t otherwise) const { return has(p) ? numbers_[index(p)] : otherwise; }
  void set_number(Property p, std::uint32_t value) {
    present_ |= bit(p);
    numbers_[index(p)] = value;
  }

  // Only for texts and binary data (ContentType .. ReasonString).
  std::optional<std::string_view> text(Property p) const {
    return has(p) ? std::optional(texts_[index(p) - kNumberProperties]) : std::nullopt;
  }
  std::string_view text_or(Property p, std::string_view otherwise = {}) const {
    return has(p) ? texts_[index(p) - kNumberProperties] : otherwise;
  }
  void set_text(Property p, std::string_view value) {
    present_ |= bit(p);
    texts_[index(p) - kNumberProperties] = value;
  }
  void clear(Property p) { present_ &= ~bit(p); }

  bool operator==(const Properties& other) const;

  // In the order of the packet.
  boost::container::small_vector<std::uint32_t, 1> subscription_ids;
  boost::container::small_vector<UserProperty, 1> user;

 private:
  static constexpr std::size_t index(Property p) { return static_cast<std::size_t>(p); }
  static constexpr std::uint32_t bit(Property p) { return 1U << index(p); }

  std::uint32_t present_ = 0;
  // Left uninitialised where present_ says that nothing is there.
  std::array<std::uint32_t, kNumberProperties> numbers_;
  std::array<std::string_view, kTextProperties> texts_;
};

// Name as in the standard: "Session Expiry Interval".
std::string_view property_name(Property p);

}  // namespace vigil::mqtt
