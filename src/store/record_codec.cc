#include "store/record_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/record.h"

namespace vigil::store {
namespace {

using base::Bytes;
using base::Err;
using base::RecordReader;
using base::RecordWriter;
using broker::Position;
using broker::PutSession;
using broker::PutSubscription;

constexpr std::uint8_t kSessionVersion = 1;
constexpr std::uint8_t kSubscriptionVersion = 1;
constexpr std::uint8_t kMessageVersion = 1;
constexpr std::uint8_t kEntryVersion = 1;
constexpr std::size_t kLongestText = 65'535;
constexpr std::size_t kMostSubscriptionIds = 65'536;

// Bits of a session's flags.
constexpr std::uint8_t kConnected = 1;
constexpr std::uint8_t kHasWill = 2;
// Of a will's and a message's: the lowest two are the QoS.
constexpr std::uint8_t kRetain = 4;
constexpr std::uint8_t kHasExpiry = 8;
// Of an entry's, above QoS and retain.
constexpr std::uint8_t kRetainedAtSubscribe = 8;
// Of a message.
constexpr std::uint8_t kHasPublisher = 8;
constexpr std::uint8_t kReleased = 16;
constexpr std::uint8_t kShared = 32;
// Of a subscription's options: the lowest two are the QoS.
constexpr std::uint8_t kNoLocal = 4;
constexpr std::uint8_t kRetainAsPublished = 8;
constexpr unsigned kHandlingShift = 4;

template <std::size_t kSize>
void put_be(Key<kSize>& key, std::size_t at, std::size_t size, std::uint64_t value) {
  if (size == sizeof value) {
    if constexpr (std::endian::native == std::endian::little) value = std::byteswap(value);
    std::memcpy(key.data() + at, &value, sizeof value);
    return;
  }
  for (std::size_t i = 0; i < size; ++i) key[at + i] = static_cast<std::uint8_t>(value >> (8U * (size - 1 - i)));
}

template <std::size_t kSize>
Key<kSize> under_session(const Position& session, std::uint64_t number) {
  Key<kSize> key;
  put_be(key, 0, 8, session.sequence);
  key[8] = session.shard;
  put_be(key, 9, kSize - 9, number);
  return key;
}

Position read_position(RecordReader& in) {
  Position position;
  position.sequence = in.u64();
  position.shard = in.u8();
  return position;
}

mqtt::QoS read_qos(RecordReader& in, std::uint8_t flags) {
  const std::uint8_t qos = flags & 3U;
  if (qos > 2) in.fail();
  return in.ok() ? static_cast<mqtt::QoS>(qos) : mqtt::QoS::AtMostOnce;
}

// Flags of which this version knows only some.
std::uint8_t read_flags(RecordReader& in, unsigned known) {
  const std::uint8_t flags = in.u8();
  if ((flags & ~known) != 0) in.fail();
  return in.ok() ? flags : 0;
}

auto refuse(std::string_view what) { return Err(fmt::format("the record of a {} is not readable", what)); }
auto refuse_version(std::string_view what, unsigned version) {
  return Err(fmt::format("the record of a {} has version {}, which this broker does not know", what, version));
}

void write_will(const broker::Will& will, std::int64_t due_ms, RecordWriter& out) {
  out.u8(static_cast<std::uint8_t>(static_cast<unsigned>(will.qos) | (will.retain ? kRetain : 0U) |
                                   (will.has_message_expiry ? kHasExpiry : 0U)));
  out.text(will.topic);
  out.bytes(will.properties);
  out.bytes(will.payload);
  out.varint(will.message_expiry_s);
  out.varint(will.delay_s);
  out.when_ms(due_ms);
}

broker::Will read_will(RecordReader& in) {
  broker::Will will;
  const std::uint8_t flags = read_flags(in, 3U | kRetain | kHasExpiry);
  will.qos = read_qos(in, flags);
  will.retain = (flags & kRetain) != 0;
  will.has_message_expiry = (flags & kHasExpiry) != 0;
  will.topic = in.text();
  if (will.topic.size() > kLongestText) in.fail();
  const Bytes properties = in.bytes();
  will.properties.assign(properties.begin(), properties.end());
  const Bytes payload = in.bytes();
  will.payload.assign(payload.begin(), payload.end());
  will.message_expiry_s = in.varint32();
  will.delay_s = in.varint32();
  return will;
}

MessageView read_message(RecordReader& in) {
  MessageView message;
  const std::uint8_t flags = read_flags(in, 3U | kRetain | kHasPublisher);
  message.qos = read_qos(in, flags);
  message.retain = (flags & kRetain) != 0;
  message.expires_ms = in.when_ms();
  message.position.sequence = in.varint();
  message.position.shard = in.u8();
  if ((flags & kHasPublisher) != 0) message.publisher = in.u64();
  message.topic = in.text();
  if (message.topic.size() > kLongestText) in.fail();
  message.properties = in.bytes();
  message.payload = in.bytes();
  return message;
}

void write_message(const MessageView& message, RecordWriter& out) {
  out.u8(static_cast<std::uint8_t>(static_cast<unsigned>(message.qos) | (message.retain ? kRetain : 0U) |
                                   (message.publisher != 0 ? kHasPublisher : 0U)));
  out.when_ms(message.expires_ms);
  out.varint(message.position.sequence);
  out.u8(message.position.shard);
  if (message.publisher != 0) out.u64(message.publisher);
  out.text(message.topic);
  out.bytes(message.properties);
  out.bytes(message.payload);
}

void write_head(const EntryHead& head, RecordWriter& out) {
  out.u8(kEntryVersion);
  out.u8(static_cast<std::uint8_t>(static_cast<unsigned>(head.qos) | (head.retain ? kRetain : 0U) |
                                   (head.retained_at_subscribe ? kRetainedAtSubscribe : 0U) |
                                   (head.released ? kReleased : 0U) | (head.shared ? kShared : 0U)));
  out.u32(head.content_bytes);
  out.u64(static_cast<std::uint64_t>(head.expires_ms));
}

EntryHead head_of(const broker::Terms& terms, std::uint32_t content_bytes, std::int64_t expires_ms) {
  return {.qos = terms.qos,
          .retain = terms.retain,
          .retained_at_subscribe = terms.retained_at_subscribe,
          .content_bytes = content_bytes,
          .expires_ms = expires_ms};
}

// What a head does not hold of them.
void write_terms(const broker::Terms& terms, RecordWriter& out) {
  out.varint(terms.share);
  out.varint(terms.subscription_ids.size());
  for (const std::uint32_t id : terms.subscription_ids) out.varint(id);
}

EntryHead read_head(RecordReader& in) {
  EntryHead head;
  const std::uint8_t flags = read_flags(in, 3U | kRetain | kRetainedAtSubscribe | kReleased | kShared);
  head.qos = read_qos(in, flags);
  head.retain = (flags & kRetain) != 0;
  head.retained_at_subscribe = (flags & kRetainedAtSubscribe) != 0;
  head.released = (flags & kReleased) != 0;
  head.shared = (flags & kShared) != 0;
  head.content_bytes = in.u32();
  head.expires_ms = static_cast<std::int64_t>(in.u64());
  if (head.expires_ms < 0 || (head.released && head.shared)) in.fail();
  return head;
}

std::uint32_t content_bytes(const MessageView& message) {
  return static_cast<std::uint32_t>(message.topic.size() + message.properties.size() + message.payload.size());
}

}  // namespace

PositionBytes position_key(const Position& position) { return under_session<9>(position, 0); }
SubscriptionBytes subscription_key(const broker::SessionKey& session, std::uint32_t number) {
  return under_session<13>(session, number);
}
UnreleasedBytes unreleased_key(const broker::SessionKey& session, mqtt::PacketId packet_id) {
  return under_session<11>(session, packet_id);
}
EntryBytes entry_key(const EntryKey& key) { return under_session<17>(key.session, key.number); }

std::optional<Position> read_position_key(Bytes key) {
  RecordReader in(key);
  const Position position = read_position(in);
  return in.done() ? std::optional(position) : std::nullopt;
}

std::optional<PutSubscription> read_subscription_key(Bytes key) {
  RecordReader in(key);
  PutSubscription subscription;
  subscription.session = read_position(in);
  subscription.number = in.u32();
  return in.done() ? std::optional(std::move(subscription)) : std::nullopt;
}

std::optional<broker::PutUnreleased> read_unreleased_key(Bytes key) {
  RecordReader in(key);
  broker::PutUnreleased unreleased;
  unreleased.session = read_position(in);
  const unsigned high = in.u8();
  unreleased.packet_id = static_cast<mqtt::PacketId>((high << 8U) | in.u8());
  return in.done() ? std::optional(unreleased) : std::nullopt;
}

std::optional<EntryKey> read_entry_key(Bytes key) {
  RecordReader in(key);
  EntryKey entry;
  entry.session = read_position(in);
  entry.number = in.u64();
  return in.done() ? std::optional(entry) : std::nullopt;
}

void encode_session(const PutSession& session, std::vector<std::uint8_t>& to) {
  RecordWriter out(to);
  out.u8(kSessionVersion);
  out.u8(static_cast<std::uint8_t>((session.connected ? kConnected : 0U) | (session.will.empty() ? 0U : kHasWill)));
  out.text(session.client_id);
  out.text(session.user_name);
  out.varint(session.epoch);
  out.varint(session.expiry_s);
  out.when_ms(session.expires_ms);
  out.varint(session.sent_below);
  out.varint(session.next_subscription);
  if (!session.will.empty()) write_will(session.will.front(), session.will_due_ms, out);
}

Decoded<PutSession> decode_session(const broker::SessionKey& key, Bytes record) {
  RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kSessionVersion) return refuse_version("session", version);
  PutSession session;
  session.key = key;
  const std::uint8_t flags = read_flags(in, kConnected | kHasWill);
  session.connected = (flags & kConnected) != 0;
  session.client_id = in.text();
  session.user_name = in.text();
  if (session.client_id.size() > kLongestText || session.user_name.size() > kLongestText) in.fail();
  session.epoch = in.varint();
  session.expiry_s = in.varint32();
  session.expires_ms = in.when_ms();
  session.sent_below = in.varint();
  session.next_subscription = in.varint32();
  if ((flags & kHasWill) != 0) {
    session.will.push_back(read_will(in));
    session.will_due_ms = in.when_ms();
  }
  if (!in.done()) return refuse("session");
  return session;
}

void encode_subscription(const PutSubscription& subscription, std::vector<std::uint8_t>& to) {
  const mqtt::SubscriptionOptions& options = subscription.options;
  RecordWriter out(to);
  out.u8(kSubscriptionVersion);
  out.u8(static_cast<std::uint8_t>(static_cast<unsigned>(options.qos) | (options.no_local ? kNoLocal : 0U) |
                                   (options.retain_as_published ? kRetainAsPublished : 0U) |
                                   (static_cast<unsigned>(options.retain_handling) << kHandlingShift)));
  out.varint(subscription.subscription_id);
  out.text(subscription.text);
}

Decoded<PutSubscription> decode_subscription(Bytes key, Bytes record) {
  auto subscription = read_subscription_key(key);
  if (!subscription) return Err(std::string("the key of a subscription is not readable"));
  RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kSubscriptionVersion) {
    return refuse_version("subscription", version);
  }
  mqtt::SubscriptionOptions& options = subscription->options;
  const std::uint8_t flags = read_flags(in, 0x3FU);
  options.qos = read_qos(in, flags);
  options.no_local = (flags & kNoLocal) != 0;
  options.retain_as_published = (flags & kRetainAsPublished) != 0;
  const unsigned handling = flags >> kHandlingShift;
  if (handling > 2) {
    in.fail();
  } else {
    options.retain_handling = static_cast<mqtt::RetainHandling>(handling);
  }
  subscription->subscription_id = in.varint32();
  subscription->text = in.text();
  if (!in.done() || subscription->text.size() > kLongestText) return refuse("subscription");
  return std::move(*subscription);
}

std::int64_t to_unix_ms(base::Instant at, const broker::Moment& now) {
  if (at.is_never()) return broker::kNeverMs;
  return std::max<std::int64_t>(0, now.unix_ms + std::chrono::floor<base::milliseconds>(at - now.at).count());
}

base::Instant to_instant(std::int64_t unix_ms, const broker::Moment& now) {
  if (unix_ms == broker::kNeverMs) return base::Instant::never();
  // 0xFFFFFFFF seconds are 136 years; a number of nanoseconds holds 292.
  constexpr std::int64_t kFarMs = std::int64_t{200} * 365 * 24 * 3'600 * 1'000;
  const std::int64_t away = std::clamp(unix_ms, std::int64_t{0}, 4 * kFarMs) - now.unix_ms;
  return now.at + base::milliseconds(std::clamp(away, -kFarMs, kFarMs));
}

MessageView view(const broker::Message& message, const broker::Moment& now) {
  return {.topic = message.topic(),
          .properties = message.properties(),
          .payload = message.payload(),
          .qos = message.qos(),
          .retain = message.retain(),
          .expires_ms = to_unix_ms(message.expires(), now),
          .position = message.position()};
}

broker::MessagePtr to_message(const MessageView& message, const broker::Moment& now) {
  return broker::Message::make({.topic = message.topic,
                                .payload = message.payload,
                                .properties = message.properties,
                                .qos = message.qos,
                                .retain = message.retain,
                                .expires = to_instant(message.expires_ms, now),
                                .publisher = {message.publisher},
                                .position = message.position});
}

void encode_message(const MessageView& message, std::vector<std::uint8_t>& to) {
  RecordWriter out(to);
  out.u8(kMessageVersion);
  write_message(message, out);
}

Decoded<MessageView> decode_message(Bytes record) {
  RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kMessageVersion) return refuse_version("message", version);
  const MessageView message = read_message(in);
  if (!in.done()) return refuse("message");
  return message;
}

broker::Terms Entry::terms() const {
  return {.qos = head.qos,
          .retain = head.retain,
          .retained_at_subscribe = head.retained_at_subscribe,
          .share = share,
          .subscription_ids = subscription_ids};
}

void encode_entry(const broker::Terms& terms, const MessageView& message, Placing placing,
                  std::vector<std::uint8_t>& to) {
  const std::uint32_t size = content_bytes(message);
  if (placing == Placing::Shared) return encode_shared_entry(terms, message.position, size, message.expires_ms, to);
  RecordWriter out(to);
  write_head(head_of(terms, size, message.expires_ms), out);
  write_terms(terms, out);
  write_message(message, out);
}

void encode_shared_entry(const broker::Terms& terms, const Position& message, std::uint32_t size,
                         std::int64_t expires_ms, std::vector<std::uint8_t>& to) {
  RecordWriter out(to);
  EntryHead head = head_of(terms, size, expires_ms);
  head.shared = true;
  write_head(head, out);
  write_terms(terms, out);
  out.varint(message.sequence);
  out.u8(message.shard);
}

void encode_released(std::vector<std::uint8_t>& to) {
  RecordWriter out(to);
  write_head({.released = true, .qos = mqtt::QoS::ExactlyOnce}, out);
}

Decoded<EntryHead> decode_entry_head(Bytes record) {
  RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kEntryVersion) return refuse_version("queued message", version);
  const EntryHead head = read_head(in);
  if (!in.ok()) return refuse("queued message");
  return head;
}

Decoded<Entry> decode_entry(Bytes record) {
  RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kEntryVersion) return refuse_version("queued message", version);
  Entry entry;
  entry.head = read_head(in);
  if (entry.head.released) {
    if (!in.done()) return refuse("queued message");
    return entry;
  }
  entry.share = in.varint32();
  const std::uint64_t ids = in.varint(std::min(kMostSubscriptionIds, in.left()));
  for (std::uint64_t i = 0; i < ids; ++i) entry.subscription_ids.push_back(in.varint32());
  if (entry.head.shared) {
    entry.position.sequence = in.varint();
    entry.position.shard = in.u8();
  } else {
    entry.message = read_message(in);
    entry.position = entry.message.position;
    const bool agree =
        content_bytes(entry.message) == entry.head.content_bytes && entry.message.expires_ms == entry.head.expires_ms;
    if (!agree) in.fail();
  }
  if (!in.done()) return refuse("queued message");
  return entry;
}

void encode_number(std::uint64_t number, std::vector<std::uint8_t>& to) { RecordWriter(to).u64(number); }

std::optional<std::uint64_t> decode_number(Bytes record) {
  RecordReader in(record);
  const std::uint64_t number = in.u64();
  return in.done() ? std::optional(number) : std::nullopt;
}

}  // namespace vigil::store
