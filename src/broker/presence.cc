#include "broker/presence.h"

#include <algorithm>

#include <fmt/format.h>

namespace vigil::broker {
namespace {

constexpr std::int64_t kBucketMs = std::int64_t{5} * 60 * 1000;
constexpr std::uint32_t kBucketsAnHour = 12;
constexpr std::uint32_t kBucketsADay = 24 * kBucketsAnHour;

std::uint32_t slot_of(std::int64_t unix_ms) { return static_cast<std::uint32_t>(unix_ms / kBucketMs); }

}  // namespace

std::string_view name(PresenceEventKind kind) {
  switch (kind) {
    case PresenceEventKind::Connected: return "connected";
    case PresenceEventKind::Disconnected: return "disconnected";
    case PresenceEventKind::TakenOver: return "takenOver";
    case PresenceEventKind::WillPublished: return "willPublished";
    case PresenceEventKind::WillCancelled: return "willCancelled";
    case PresenceEventKind::AtRisk: return "atRisk";
    case PresenceEventKind::Recovered: return "recovered";
    case PresenceEventKind::Flapping: return "flapping";
    case PresenceEventKind::SessionEnded: return "sessionEnded";
  }
  return "unknown";
}

void RecentCount::add(std::int64_t unix_ms) {
  const std::uint32_t slot = slot_of(unix_ms);
  if (!buckets_.empty() && buckets_.back().slot == slot) {
    ++buckets_.back().count;
    return;
  }
  while (!buckets_.empty() && buckets_.front().slot + kBucketsADay < slot) buckets_.erase(buckets_.begin());
  // A wall clock that was set back: what is counted for later is counted for now.
  std::uint32_t count = 1;
  while (!buckets_.empty() && buckets_.back().slot >= slot) {
    count += buckets_.back().count;
    buckets_.pop_back();
  }
  buckets_.push_back({slot, count});
}

std::uint32_t RecentCount::last_hour(std::int64_t unix_ms) const {
  std::uint32_t sum = 0;
  for (const Bucket& b : buckets_) sum += b.slot + kBucketsAnHour >= slot_of(unix_ms) ? b.count : 0;
  return sum;
}

std::uint32_t RecentCount::last_day(std::int64_t unix_ms) const {
  std::uint32_t sum = 0;
  for (const Bucket& b : buckets_) sum += b.slot + kBucketsADay >= slot_of(unix_ms) ? b.count : 0;
  return sum;
}

PresenceId Presence::open(std::string_view client_id) {
  if (const auto it = by_client_.find(client_id); it != by_client_.end()) return it->second;
  while (records_.size() >= bounds_.records && !forgettable_.empty()) {
    const auto [id, incarnation] = forgettable_.front();
    forgettable_.pop_front();
    const PresenceRecord* record = records_.find(id);
    if (record == nullptr || record->incarnation != incarnation || record->connected || record->has_session) continue;
    by_client_.erase(record->client_id);
    forgotten_.push_back(record->client_id);
    records_.erase(id);
  }
  const PresenceId id = records_.emplace();
  records_.at(id).client_id = client_id;
  by_client_.emplace(std::string(client_id), id);
  return id;
}

bool Presence::restore(PresenceRecord record) {
  if (records_.size() >= bounds_.records || by_client_.contains(record.client_id)) return false;
  const std::string client_id = record.client_id;
  const PresenceId id = records_.emplace(std::move(record));
  by_client_.emplace(client_id, id);
  return true;
}

PresenceRecord* Presence::find(std::string_view client_id) {
  const auto it = by_client_.find(client_id);
  return it == by_client_.end() ? nullptr : records_.find(it->second);
}

void Presence::note(PresenceRecord& record, PresenceEvent event) {
  ++record.sequence;
  // A client that pings just when it must is at risk and recovers with every ping: these pairs would push out why and
  // when it went.
  const bool passing = event.kind == PresenceEventKind::AtRisk || event.kind == PresenceEventKind::Recovered;
  if (bounds_.history == 0 || passing) return;
  while (record.history.size() >= bounds_.history) record.history.pop_front();
  record.history.push_back(std::move(event));
}

void Presence::may_forget(PresenceId id) {
  const PresenceRecord* record = records_.find(id);
  if (record == nullptr) return;
  // Entries of clients that came back are skipped later; they must not pile up.
  if (forgettable_.size() > 2 * records_.size() + 64) {
    std::erase_if(forgettable_, [this](const auto& entry) {
      const PresenceRecord* r = records_.find(entry.first);
      return r == nullptr || r->incarnation != entry.second;
    });
  }
  forgettable_.emplace_back(id, record->incarnation);
}

std::string_view name(base::TcpVerdict verdict) {
  switch (verdict) {
    case base::TcpVerdict::PeerAcknowledges: return "PEER_ACKNOWLEDGES";
    case base::TcpVerdict::NobodyAcknowledges: return "NOBODY_ACKNOWLEDGES";
    case base::TcpVerdict::NothingKnown: return "NOTHING_KNOWN";
  }
  return "NOTHING_KNOWN";
}

std::string topic_level(std::string_view client_id) {
  std::string level;
  level.reserve(client_id.size());
  for (const char c : client_id) {
    if (c == '/' || c == '+' || c == '#' || c == '%' || (c == '$' && level.empty())) {
      level += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      level += c;
    }
  }
  return level;
}

}  // namespace vigil::broker
