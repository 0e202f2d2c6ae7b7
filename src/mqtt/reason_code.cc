#include "mqtt/reason_code.h"

#include <array>

namespace vigil::mqtt {
namespace {

constexpr std::uint32_t of(PacketType type) { return 1U << static_cast<unsigned>(type); }

constexpr std::uint32_t kConnAck = of(PacketType::ConnAck);
constexpr std::uint32_t kPubAck = of(PacketType::PubAck);
constexpr std::uint32_t kPubRec = of(PacketType::PubRec);
constexpr std::uint32_t kPubRel = of(PacketType::PubRel);
constexpr std::uint32_t kPubComp = of(PacketType::PubComp);
constexpr std::uint32_t kSubAck = of(PacketType::SubAck);
constexpr std::uint32_t kUnsubAck = of(PacketType::UnsubAck);
constexpr std::uint32_t kDisconnect = of(PacketType::Disconnect);
constexpr std::uint32_t kAuth = of(PacketType::Auth);
constexpr std::uint32_t kPub = kPubAck | kPubRec;
constexpr std::uint32_t kNone = 0;

struct Row {
  ReasonCode code;
  std::string_view name;
  // Which packets may carry it when that side sends them. CONNACK, SUBACK and UNSUBACK come from servers alone.
  std::uint32_t from_client;
  std::uint32_t from_server;
};

using enum ReasonCode;

// Table 2-6, with the "sent by" columns of 3.4.2.1, 3.5.2.1, 3.14.2.1 and 3.15.2.1.
constexpr std::array kTable = {
    Row{Success, "Success", kPub | kPubRel | kPubComp | kDisconnect,
        kConnAck | kPub | kPubRel | kPubComp | kSubAck | kUnsubAck | kDisconnect | kAuth},
    Row{GrantedQoS1, "Granted QoS 1", kNone, kSubAck},
    Row{GrantedQoS2, "Granted QoS 2", kNone, kSubAck},
    Row{DisconnectWithWill, "Disconnect with Will Message", kDisconnect, kNone},
    Row{NoMatchingSubscribers, "No matching subscribers", kNone, kPub},
    Row{NoSubscriptionExisted, "No subscription existed", kNone, kUnsubAck},
    Row{ContinueAuthentication, "Continue authentication", kAuth, kAuth},
    Row{ReAuthenticate, "Re-authenticate", kAuth, kNone},
    Row{UnspecifiedError, "Unspecified error", kPub | kDisconnect, kConnAck | kPub | kSubAck | kUnsubAck | kDisconnect},
    Row{MalformedPacket, "Malformed Packet", kDisconnect, kConnAck | kDisconnect},
    Row{ProtocolError, "Protocol Error", kDisconnect, kConnAck | kDisconnect},
    Row{ImplementationSpecificError, "Implementation specific error", kPub | kDisconnect,
        kConnAck | kPub | kSubAck | kUnsubAck | kDisconnect},
    Row{UnsupportedProtocolVersion, "Unsupported Protocol Version", kNone, kConnAck},
    Row{ClientIdentifierNotValid, "Client Identifier not valid", kNone, kConnAck},
    Row{BadUserNameOrPassword, "Bad User Name or Password", kNone, kConnAck},
    Row{NotAuthorized, "Not authorized", kPub, kConnAck | kPub | kSubAck | kUnsubAck | kDisconnect},
    Row{ServerUnavailable, "Server unavailable", kNone, kConnAck},
    Row{ServerBusy, "Server busy", kNone, kConnAck | kDisconnect},
    Row{Banned, "Banned", kNone, kConnAck},
    Row{ServerShuttingDown, "Server shutting down", kNone, kDisconnect},
    Row{BadAuthenticationMethod, "Bad authentication method", kDisconnect, kConnAck | kDisconnect},
    Row{KeepAliveTimeout, "Keep Alive timeout", kNone, kDisconnect},
    Row{SessionTakenOver, "Session taken over", kNone, kDisconnect},
    Row{TopicFilterInvalid, "Topic Filter invalid", kNone, kSubAck | kUnsubAck | kDisconnect},
    Row{TopicNameInvalid, "Topic Name invalid", kPub | kDisconnect, kConnAck | kPub | kDisconnect},
    Row{PacketIdentifierInUse, "Packet Identifier in use", kPub, kPub | kSubAck | kUnsubAck},
    Row{PacketIdentifierNotFound, "Packet Identifier not found", kPubRel | kPubComp, kPubRel | kPubComp},
    Row{ReceiveMaximumExceeded, "Receive Maximum exceeded", kDisconnect, kDisconnect},
    Row{TopicAliasInvalid, "Topic Alias invalid", kDisconnect, kDisconnect},
    Row{PacketTooLarge, "Packet too large", kDisconnect, kConnAck | kDisconnect},
    Row{MessageRateTooHigh, "Message rate too high", kDisconnect, kDisconnect},
    Row{QuotaExceeded, "Quota exceeded", kPub | kDisconnect, kConnAck | kPub | kSubAck | kDisconnect},
    Row{AdministrativeAction, "Administrative action", kDisconnect, kDisconnect},
    Row{PayloadFormatInvalid, "Payload format invalid", kPub | kDisconnect, kConnAck | kPub | kDisconnect},
    Row{RetainNotSupported, "Retain not supported", kNone, kConnAck | kDisconnect},
    Row{QoSNotSupported, "QoS not supported", kNone, kConnAck | kDisconnect},
    Row{UseAnotherServer, "Use another server", kNone, kConnAck | kDisconnect},
    Row{ServerMoved, "Server moved", kNone, kConnAck | kDisconnect},
    Row{SharedSubscriptionsNotSupported, "Shared Subscriptions not supported", kNone, kSubAck | kDisconnect},
    Row{ConnectionRateExceeded, "Connection rate exceeded", kNone, kConnAck | kDisconnect},
    Row{MaximumConnectTime, "Maximum connect time", kNone, kDisconnect},
    Row{SubscriptionIdentifiersNotSupported, "Subscription Identifiers not supported", kNone, kSubAck | kDisconnect},
    Row{WildcardSubscriptionsNotSupported, "Wildcard Subscriptions not supported", kNone, kSubAck | kDisconnect},
};

constexpr std::uint8_t kNoRow = 0xFF;

// From a code to its row, or kNoRow.
constexpr auto kIndex = [] {
  std::array<std::uint8_t, 256> index{};
  index.fill(kNoRow);
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    index[static_cast<std::size_t>(kTable[i].code)] = static_cast<std::uint8_t>(i);
  }
  return index;
}();

const Row* find(std::uint8_t code) { return kIndex[code] == kNoRow ? nullptr : &kTable[kIndex[code]]; }

}  // namespace

std::string_view reason_name(ReasonCode code) {
  const Row* row = find(static_cast<std::uint8_t>(code));
  return row == nullptr ? "unknown reason code" : row->name;
}

bool reason_allowed(PacketType type, Sender sender, std::uint8_t code) {
  const Row* row = find(code);
  return row != nullptr && ((sender == Sender::Client ? row->from_client : row->from_server) & of(type)) != 0;
}

std::optional<std::uint8_t> connack_return_code_v3(ReasonCode code) {
  switch (code) {
    case Success: return 0;
    case UnsupportedProtocolVersion: return 1;
    case ClientIdentifierNotValid: return 2;
    case ServerUnavailable:
    case ServerBusy:
    case ServerShuttingDown:
    case QuotaExceeded:
    case ConnectionRateExceeded:
    case UseAnotherServer:
    case ServerMoved:
    case UnspecifiedError:
    case ImplementationSpecificError: return 3;
    case BadUserNameOrPassword: return 4;
    case NotAuthorized:
    case Banned: return 5;
    default: return std::nullopt;
  }
}

std::optional<ReasonCode> reason_of_return_code_v3(std::uint8_t code) {
  constexpr std::array kCodes = {Success,           UnsupportedProtocolVersion, ClientIdentifierNotValid,
                                 ServerUnavailable, BadUserNameOrPassword,      NotAuthorized};
  return code < kCodes.size() ? std::optional(kCodes[code]) : std::nullopt;
}

}  // namespace vigil::mqtt
