// Reason codes of MQTT 5.0 (2.4) and the return codes of 3.1.1's CONNACK.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "mqtt/types.h"

namespace vigil::mqtt {

enum class ReasonCode : std::uint8_t {
  Success = 0x00,  // also: normal disconnection, granted QoS 0
  GrantedQoS1 = 0x01,
  GrantedQoS2 = 0x02,
  DisconnectWithWill = 0x04,
  NoMatchingSubscribers = 0x10,
  NoSubscriptionExisted = 0x11,
  ContinueAuthentication = 0x18,
  ReAuthenticate = 0x19,
  UnspecifiedError = 0x80,
  MalformedPacket = 0x81,
  ProtocolError = 0x82,
  ImplementationSpecificError = 0x83,
  UnsupportedProtocolVersion = 0x84,
  ClientIdentifierNotValid = 0x85,
  BadUserNameOrPassword = 0x86,
  NotAuthorized = 0x87,
  ServerUnavailable = 0x88,
  ServerBusy = 0x89,
  Banned = 0x8A,
  ServerShuttingDown = 0x8B,
  BadAuthenticationMethod = 0x8C,
  KeepAliveTimeout = 0x8D,
  SessionTakenOver = 0x8E,
  TopicFilterInvalid = 0x8F,
  TopicNameInvalid = 0x90,
  PacketIdentifierInUse = 0x91,
  PacketIdentifierNotFound = 0x92,
  ReceiveMaximumExceeded = 0x93,
  TopicAliasInvalid = 0x94,
  PacketTooLarge = 0x95,
  MessageRateTooHigh = 0x96,
  QuotaExceeded = 0x97,
  AdministrativeAction = 0x98,
  PayloadFormatInvalid = 0x99,
  RetainNotSupported = 0x9A,
  QoSNotSupported = 0x9B,
  UseAnotherServer = 0x9C,
  ServerMoved = 0x9D,
  SharedSubscriptionsNotSupported = 0x9E,
  ConnectionRateExceeded = 0x9F,
  MaximumConnectTime = 0xA0,
  SubscriptionIdentifiersNotSupported = 0xA1,
  WildcardSubscriptionsNotSupported = 0xA2,
};

constexpr bool is_failure(ReasonCode code) { return static_cast<std::uint8_t>(code) >= 0x80; }

// The name in the standard's table, in English: "Keep Alive timeout". "unknown reason code" for a value that is in
// none.
std::string_view reason_name(ReasonCode code);

// True if a packet of this type, sent by that side, may carry the code (the "Packets" column of table 2-6 and 3.14.2.1
// etc.).
bool reason_allowed(PacketType type, Sender sender, std::uint8_t code);

// CONNACK's return code for 3.1 and 3.1.1 (table 3.1): the nearest of 0..5. Codes that have no counterpart give
// nullopt: the connection is then closed without a CONNACK.
std::optional<std::uint8_t> connack_return_code_v3(ReasonCode code);

// The other way, for who reads a CONNACK; nullopt for a code that 3.1.1 reserves.
std::optional<ReasonCode> reason_of_return_code_v3(std::uint8_t code);

}  // namespace vigil::mqtt
