// Properties of MQTT 5.0 (2.2.2): one table (property_table in properties.cc) drives encoding, decoding and validation.
//
// A value: views into the packet's bytes. Nothing is copied or allocated for a packet with no user property and at most
// one subscription identifier.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
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
  // Not "= default": the arrays stay uninitialised also where a packet is value-initialised, and are copied only where
  // they hold something.
  Properties() {}  // NOLINT(modernize-use-equals-default)
  Properties(const Properties& other)
      : subscription_ids(other.subscription_ids), user(other.user), present_(other.present_) {
    copy_values(other);
  }
  Properties(Properties&& other) noexcept
      : subscription_ids(std::move(other.subscription_ids)), user(std::move(other.user)), present_(other.present_) {
    copy_values(other);
  }
  Properties& operator=(const Properties& other) {
    if (this == &other) return *this;
    subscription_ids = other.subscription_ids;
    user = other.user;
    present_ = other.present_;
    copy_values(other);
    return *this;
  }
  Properties& operator=(Properties&& other) noexcept {
    if (this == &other) return *this;
    subscription_ids = std::move(other.subscription_ids);
    user = std::move(other.user);
    present_ = other.present_;
    copy_values(other);
    return *this;
  }
  ~Properties() = default;

  bool empty() const { return present_ == 0 && subscription_ids.empty() && user.empty(); }
  // Only for numbers, texts and binary data; the two that may repeat are in the lists below.
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
    return has(p) ? std::optional(texts_[index(p) - kNumberProperties].view()) : std::nullopt;
  }
  std::string_view text_or(Property p, std::string_view otherwise = {}) const {
    return has(p) ? texts_[index(p) - kNumberProperties].view() : otherwise;
  }
  void set_text(Property p, std::string_view value) {
    present_ |= bit(p);
    texts_[index(p) - kNumberProperties] = {value.data(), value.size()};
  }
  void clear(Property p) { present_ &= ~bit(p); }

  // Calls f(Property) for each number and text that is there, in the order of the table.
  template <class F>
  void for_each_present(F&& f) const {
    for (std::uint32_t rest = present_; rest != 0; rest &= rest - 1) f(static_cast<Property>(std::countr_zero(rest)));
  }

  bool operator==(const Properties& other) const;

  // In the order of the packet.
  boost::container::small_vector<std::uint32_t, 1> subscription_ids;
  boost::container::small_vector<UserProperty, 1> user;

 private:
  static constexpr std::size_t index(Property p) { return static_cast<std::size_t>(p); }
  static constexpr std::uint32_t bit(Property p) { return 1U << index(p); }

  // A std::string_view that is not cleared before it is set.
  struct Text {
    const char* data;
    std::size_t size;
    std::string_view view() const { return {data, size}; }
  };

  void copy_values(const Properties& other) {
    if ((present_ & ((1U << kNumberProperties) - 1)) != 0) std::memcpy(&numbers_, &other.numbers_, sizeof numbers_);
    if ((present_ >> kNumberProperties) != 0) std::memcpy(&texts_, &other.texts_, sizeof texts_);
  }

  std::uint32_t present_ = 0;
  // Left uninitialised where present_ says that nothing is there.
  std::array<std::uint32_t, kNumberProperties> numbers_;
  std::array<Text, kTextProperties> texts_;
};

enum class PropertyType : std::uint8_t {
  Byte,
  TwoByteInteger,
  FourByteInteger,
  VariableByteInteger,
  Text,
  Binary,
  TextPair
};

// What a value must be beyond its type.
enum class PropertyRule : std::uint8_t {
  Any,
  ZeroOrOne,
  NotZero,
  TopicAlias,  // not 0 either, with a reason code of its own
  TopicName,   // not empty, no wildcard
};

// Where a property may stand. One bit for a packet type (1 << type), and one for the will's part of CONNECT.
using PropertyPlaces = std::uint32_t;
inline constexpr PropertyPlaces kInWill = 1U << 0U;
constexpr PropertyPlaces in_packet(PacketType type) { return 1U << static_cast<unsigned>(type); }

// A row of table 2-4.
struct PropertyRow {
  Property property;
  std::uint8_t id;  // on the wire
  PropertyType type;
  PropertyRule rule;
  PropertyPlaces places;
  std::string_view name;
};

// All properties, in the order of enum Property.
std::span<const PropertyRow> property_table();

// Bytes that the properties take on the wire, without their length.
std::size_t properties_size(const Properties& properties);
// Writes that many bytes and returns the end.
std::uint8_t* write_properties(std::uint8_t* to, const Properties& properties);

// Name as in the standard: "Session Expiry Interval".
std::string_view property_name(Property p);

}  // namespace vigil::mqtt
