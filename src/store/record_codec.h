// The records of the store as bytes, by docs/formats.md: keys sort as the store reads them, values begin with their
// version.
//
// Decoders trust nothing: every length is checked against what is there, and a record that is not right as a whole is
// refused with a plain sentence. What is decoded refers to the input where it says view.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "broker/change.h"

namespace vigil::store {

template <class T>
using Decoded = base::Result<T, std::string>;

// Of the store as a whole. Rises when a broker that does not know the new form must not open it.
inline constexpr std::uint32_t kFormat = 3;

// --- keys

template <std::size_t kSize>
using Key = std::array<std::uint8_t, kSize>;

// Big-endian sequence, then the shard: as positions are ordered.
using PositionBytes = Key<9>;
using SubscriptionBytes = Key<13>;  // the session's key, then the number
using UnreleasedBytes = Key<11>;    // the session's key, then the packet identifier
using EntryBytes = Key<17>;         // the session's key, then the number

struct EntryKey {
  broker::SessionKey session;
  std::uint64_t number = 0;
  bool operator==(const EntryKey&) const = default;
};

PositionBytes position_key(const broker::Position& position);
SubscriptionBytes subscription_key(const broker::SessionKey& session, std::uint32_t number);
UnreleasedBytes unreleased_key(const broker::SessionKey& session, mqtt::PacketId packet_id);
EntryBytes entry_key(const EntryKey& key);

// Nothing if the size is not right.
std::optional<broker::Position> read_position_key(base::Bytes key);
std::optional<broker::PutSubscription> read_subscription_key(base::Bytes key);  // its key only
std::optional<broker::PutUnreleased> read_unreleased_key(base::Bytes key);
std::optional<EntryKey> read_entry_key(base::Bytes key);

// --- sessions and subscriptions

void encode_session(const broker::PutSession& session, std::vector<std::uint8_t>& out);  // without its key
Decoded<broker::PutSession> decode_session(const broker::SessionKey& key, base::Bytes record);

void encode_subscription(const broker::PutSubscription& subscription, std::vector<std::uint8_t>& out);
Decoded<broker::PutSubscription> decode_subscription(base::Bytes key, base::Bytes record);

// --- messages

// A message on disk. A view of the record or of the message it was made from.
struct MessageView {
  std::string_view topic;
  base::Bytes properties;
  base::Bytes payload;
  mqtt::QoS qos = mqtt::QoS::AtMostOnce;
  bool retain = false;
  std::int64_t expires_ms = broker::kNeverMs;
  broker::Position position;
  std::uint64_t publisher = 0;  // Publisher::client of a retained message, for No Local; 0 where it no longer matters
};

MessageView view(const broker::Message& message, const broker::Moment& now);
broker::MessagePtr to_message(const MessageView& message, const broker::Moment& now);
void encode_message(const MessageView& message, std::vector<std::uint8_t>& out);
Decoded<MessageView> decode_message(base::Bytes record);

// The store time of a moment, and back, as `now` ties them together.
std::int64_t to_unix_ms(base::Instant at, const broker::Moment& now);
base::Instant to_instant(std::int64_t unix_ms, const broker::Moment& now);

// --- entries of queues

// What a queue's summary, a sweep and a purge need to know: the fixed-size beginning of an entry.
struct EntryHead {
  bool released = false;  // only the number is left
  bool shared = false;    // the message is a record of its own
  mqtt::QoS qos = mqtt::QoS::AtMostOnce;
  bool retain = false;
  bool retained_at_subscribe = false;
  std::uint32_t content_bytes = 0;  // of the message: topic, properties and payload
  std::int64_t expires_ms = broker::kNeverMs;

  // As Message::size() counts.
  std::uint64_t size() const { return released ? 0 : sizeof(broker::Message) + content_bytes; }
  bool operator==(const EntryHead&) const = default;
};

struct Entry {
  EntryHead head;
  std::uint32_t share = 0;
  broker::SubscriptionIds subscription_ids;
  broker::Position position;  // of the message
  MessageView message;        // unless shared or released

  broker::Terms terms() const;
};

enum class Placing : std::uint8_t { Inline, Shared };

void encode_entry(const broker::Terms& terms, const MessageView& message, Placing placing,
                  std::vector<std::uint8_t>& out);
// Of a message that is stored elsewhere.
void encode_shared_entry(const broker::Terms& terms, const broker::Position& message, std::uint32_t content_bytes,
                         std::int64_t expires_ms, std::vector<std::uint8_t>& out);
void encode_released(std::vector<std::uint8_t>& out);
Decoded<EntryHead> decode_entry_head(base::Bytes record);
Decoded<Entry> decode_entry(base::Bytes record);

// --- what concerns the store as a whole

void encode_number(std::uint64_t number, std::vector<std::uint8_t>& out);
std::optional<std::uint64_t> decode_number(base::Bytes record);

}  // namespace vigil::store
