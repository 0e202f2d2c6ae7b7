// MQTT control packets as values. 3.1, 3.1.1 and 5.0 share them: what a version does not have is left at its default.
//
// Views (std::string_view, Bytes) point into the bytes that were decoded, or into what the caller encodes from, and
// live as long as these. Equality compares what they show.
//
// `control_characters` is set by the decoder: a name in the packet (client identifier, user name, topic, filter) holds
// control characters. That is legal, but 1.5.4 advises against it; find_control_characters() (control_characters.h)
// says in which one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include <boost/container/small_vector.hpp>

#include "base/bytes.h"
#include "mqtt/properties.h"
#include "mqtt/reason_code.h"
#include "mqtt/topic.h"
#include "mqtt/types.h"

namespace vigil::mqtt {

struct Will {
  std::string_view topic = {};
  base::Bytes payload = {};
  QoS qos = QoS::AtMostOnce;
  bool retain = false;
  Properties properties = {};
  bool operator==(const Will&) const;
};

struct Connect {
  Version version = Version::V311;
  bool clean_start = true;  // "Clean Session" before 5.0
  std::uint16_t keep_alive_s = 0;
  std::string_view client_id = {};
  std::optional<Will> will = {};
  std::optional<std::string_view> user_name = {};
  std::optional<base::Bytes> password = {};
  // Bit 7 of the protocol level: mosquitto and its kin mark a bridge so. Kept, otherwise without meaning here.
  bool bridge = false;
  bool control_characters = false;
  Properties properties = {};
  bool operator==(const Connect&) const;
};

struct ConnAck {
  bool session_present = false;
  ReasonCode reason = ReasonCode::Success;  // mapped to a return code for 3.x
  Properties properties = {};
  bool operator==(const ConnAck&) const = default;
};

struct Publish {
  bool dup = false;
  QoS qos = QoS::AtMostOnce;
  bool retain = false;
  bool control_characters = false;
  std::string_view topic = {};
  PacketId packet_id = 0;  // 0 at QoS 0
  Properties properties = {};
  base::Bytes payload = {};
  // The property bytes as they came, without their length; empty before 5.0. For passing on unaltered.
  base::Bytes raw_properties = {};
  // Without raw_properties and control_characters: they repeat what others say.
  bool operator==(const Publish&) const;
};

// PUBACK, PUBREC, PUBREL and PUBCOMP.
struct Ack {
  PacketType type = PacketType::PubAck;
  PacketId packet_id = 0;
  ReasonCode reason = ReasonCode::Success;
  Properties properties = {};
  bool operator==(const Ack&) const = default;
};

enum class RetainHandling : std::uint8_t { SendAtSubscribe = 0, SendIfNew = 1, DoNotSend = 2 };

struct SubscriptionOptions {
  QoS qos = QoS::AtMostOnce;
  bool no_local = false;
  bool retain_as_published = false;
  RetainHandling retain_handling = RetainHandling::SendAtSubscribe;
  bool operator==(const SubscriptionOptions&) const = default;
};

struct Subscribe {
  struct Entry {
    std::string_view filter = {};
    SubscriptionOptions options = {};
    TopicFilter parsed = {};  // what `filter` means: set by the decoder
    bool operator==(const Entry& other) const { return filter == other.filter && options == other.options; }
  };
  PacketId packet_id = 0;
  Properties properties = {};
  boost::container::small_vector<Entry, 4> entries = {};
  bool control_characters = false;
  bool operator==(const Subscribe&) const = default;
};

struct SubAck {
  PacketId packet_id = 0;
  Properties properties = {};
  boost::container::small_vector<ReasonCode, 4> reasons = {};  // 3.x: failures become 0x80
  bool operator==(const SubAck&) const = default;
};

struct Unsubscribe {
  struct Entry {
    std::string_view filter = {};
    TopicFilter parsed = {};  // what `filter` means: set by the decoder
    bool operator==(const Entry& other) const { return filter == other.filter; }
  };
  PacketId packet_id = 0;
  Properties properties = {};
  boost::container::small_vector<Entry, 4> entries = {};
  bool control_characters = false;
  bool operator==(const Unsubscribe&) const = default;
};

struct UnsubAck {
  PacketId packet_id = 0;
  Properties properties = {};
  boost::container::small_vector<ReasonCode, 4> reasons = {};  // not sent in 3.x
  bool operator==(const UnsubAck&) const = default;
};

struct PingReq {
  bool operator==(const PingReq&) const = default;
};
struct PingResp {
  bool operator==(const PingResp&) const = default;
};

struct Disconnect {
  ReasonCode reason = ReasonCode::Success;
  Properties properties = {};
  bool operator==(const Disconnect&) const = default;
};

struct Auth {
  ReasonCode reason = ReasonCode::Success;
  Properties properties = {};
  bool operator==(const Auth&) const = default;
};

using Packet = std::variant<Connect, ConnAck, Publish, Ack, Subscribe, SubAck, Unsubscribe, UnsubAck, PingReq, PingResp,
                            Disconnect, Auth>;

}  // namespace vigil::mqtt
