#include "broker/presence_record.h"

#include <fmt/format.h>

#include "base/record.h"

namespace vigil::broker {
namespace {

using base::RecordReader;
using base::RecordWriter;

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kLongestText = 65'535;
constexpr auto kLastReason = DisconnectReason::ServerFailure;
constexpr auto kLastKind = PresenceEventKind::SessionEnded;
constexpr auto kLastVerdict = base::TcpVerdict::NobodyAcknowledges;

// Bits of the flags.
constexpr unsigned kConnected = 1;
constexpr unsigned kHasSession = 2;
constexpr unsigned kCleanStart = 4;
constexpr unsigned kProxied = 8;
constexpr unsigned kHasReason = 16;
constexpr unsigned kHasEvidence = 32;
constexpr unsigned kHasVerdict = 64;
constexpr unsigned kAllFlags = 127;

unsigned flags_of(const PresenceRecord& r) {
  return (r.connected ? kConnected : 0U) | (r.has_session ? kHasSession : 0U) | (r.clean_start ? kCleanStart : 0U) |
         (r.proxied ? kProxied : 0U) | (r.reason ? kHasReason : 0U) | (r.past().evidence ? kHasEvidence : 0U) |
         (r.past().verdict ? kHasVerdict : 0U);
}

void write_evidence(const base::TcpEvidence& e, RecordWriter& out) {
  for (const std::uint32_t number :
       {e.unsent_bytes, e.unacknowledged_bytes, e.unacknowledged_segments, e.retransmits, e.total_retransmits, e.probes,
        e.backoff, e.last_ack_received_ms, e.last_data_received_ms, e.last_data_sent_ms, e.rtt_us}) {
    out.varint(number);
  }
  out.u8(e.state);
  out.u8(e.timed_out ? 1 : 0);
}

base::TcpEvidence read_evidence(RecordReader& in) {
  base::TcpEvidence e;
  for (std::uint32_t* number :
       {&e.unsent_bytes, &e.unacknowledged_bytes, &e.unacknowledged_segments, &e.retransmits, &e.total_retransmits,
        &e.probes, &e.backoff, &e.last_ack_received_ms, &e.last_data_received_ms, &e.last_data_sent_ms, &e.rtt_us}) {
    *number = in.varint32();
  }
  e.state = in.u8();
  e.timed_out = in.varint(1) == 1;
  return e;
}

void write_history(const PresenceRecord& r, RecordWriter& out) {
  out.varint(r.event_count());
  r.for_each_event([&out](const PresenceEvent& event) {
    out.u8(static_cast<std::uint8_t>(event.kind));
    out.u8(static_cast<std::uint8_t>(event.reason));
    out.when_ms(event.unix_ms);
    out.varint(event.incarnation);
    out.text(event.address);
  });
}

void read_history(RecordReader& in, PresenceRecord& r) {
  for (std::uint64_t left = in.varint(in.left()); left > 0 && in.ok(); --left) {
    PresenceEvent event;
    event.kind = in.enumerator(kLastKind);
    event.reason = in.enumerator(kLastReason);
    event.unix_ms = in.when_ms();
    event.incarnation = in.varint();
    event.address = base::Text(in.text());
    r.append(std::move(event), SIZE_MAX);
  }
}

RecentCount read_disconnects(RecordReader& in) {
  RecentCount::Buckets buckets;
  for (std::uint64_t left = in.varint(in.left()); left > 0 && in.ok(); --left) {
    RecentCount::Bucket bucket;
    bucket.slot = in.varint32();
    bucket.count = in.varint32();
    // They are looked at from the oldest on.
    if (!buckets.empty() && bucket.slot <= buckets.back().slot) in.fail();
    buckets.push_back(bucket);
  }
  RecentCount count;
  count.restore(std::move(buckets));
  return count;
}

mqtt::Version read_version(RecordReader& in) {
  switch (in.u8()) {
    case static_cast<std::uint8_t>(mqtt::Version::V31): return mqtt::Version::V31;
    case static_cast<std::uint8_t>(mqtt::Version::V311): return mqtt::Version::V311;
    case static_cast<std::uint8_t>(mqtt::Version::V5): return mqtt::Version::V5;
    default: in.fail(); return mqtt::Version::V311;
  }
}

// What every record has.
void read_state(RecordReader& in, PresenceRecord& r) {
  r.client_id = base::Text(in.text());
  if (r.client_id.size() > kLongestText) in.fail();
  r.incarnation = in.varint();
  r.sequence = in.varint32();
  r.version = read_version(in);
  r.session_expiry_s = in.varint32();
  r.keep_alive_s = in.varint32();
  r.address = base::Text(in.text());
  r.connected_at_ms = in.when_ms();
}

void read_counters(RecordReader& in, std::uint32_t& connects, PresencePast& past) {
  for (std::uint32_t* number :
       {&connects, &past.takeovers, &past.keep_alive_timeouts, &past.wills_published, &past.wills_cancelled}) {
    *number = in.varint32();
  }
  for (std::uint64_t* number : {&past.packets_received, &past.packets_sent, &past.bytes_received, &past.bytes_sent}) {
    *number = in.varint();
  }
}

}  // namespace

void encode_presence(const PresenceRecord& r, std::vector<std::uint8_t>& to) {
  const PresencePast& past = r.past();
  RecordWriter out(to);
  out.u8(kVersion);
  out.u8(static_cast<std::uint8_t>(flags_of(r)));
  out.text(r.client_id);
  out.varint(r.incarnation);
  out.varint(r.sequence);
  out.u8(static_cast<std::uint8_t>(r.version));
  out.varint(r.session_expiry_s);
  out.varint(r.keep_alive_s);
  out.text(r.address);
  out.when_ms(r.connected_at_ms);
  out.when_ms(past.disconnected_at_ms);
  out.when_ms(past.last_seen_ms);
  if (r.reason) out.u8(static_cast<std::uint8_t>(*r.reason));
  out.text(past.detail);
  if (past.evidence) write_evidence(*past.evidence, out);
  if (past.verdict) out.u8(static_cast<std::uint8_t>(*past.verdict));
  out.varint(past.disconnects.buckets().size());
  for (const RecentCount::Bucket& bucket : past.disconnects.buckets()) {
    out.varint(bucket.slot);
    out.varint(bucket.count);
  }
  for (const std::uint32_t number :
       {r.connects, past.takeovers, past.keep_alive_timeouts, past.wills_published, past.wills_cancelled}) {
    out.varint(number);
  }
  for (const std::uint64_t number : {past.packets_received, past.packets_sent, past.bytes_received, past.bytes_sent}) {
    out.varint(number);
  }
  write_history(r, out);
}

base::Result<PresenceRecord, std::string> decode_presence(base::Bytes bytes) {
  RecordReader in(bytes);
  if (const std::uint8_t version = in.u8(); version != kVersion) {
    return base::Err(fmt::format("the presence record has version {}, which this broker does not know", version));
  }
  const unsigned flags = in.u8();
  if (flags > kAllFlags) in.fail();
  PresenceRecord r;
  PresencePast past;
  r.connected = (flags & kConnected) != 0;
  r.has_session = (flags & kHasSession) != 0;
  r.clean_start = (flags & kCleanStart) != 0;
  r.proxied = (flags & kProxied) != 0;
  read_state(in, r);
  past.disconnected_at_ms = in.when_ms();
  past.last_seen_ms = in.when_ms();
  if ((flags & kHasReason) != 0) r.reason = in.enumerator(kLastReason);
  past.detail = in.text();
  if ((flags & kHasEvidence) != 0) past.evidence = read_evidence(in);
  if ((flags & kHasVerdict) != 0) past.verdict = in.enumerator(kLastVerdict);
  past.disconnects = read_disconnects(in);
  read_counters(in, r.connects, past);
  read_history(in, r);
  if (!in.done()) return base::Err(std::string("the presence record is not readable"));
  if (past != PresencePast()) r.change_past() = std::move(past);
  return r;
}

}  // namespace vigil::broker
