#include "broker/presence.h"

#include <algorithm>

#include <fmt/format.h>

#include "topics/text_hash.h"

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

const PresencePast& PresenceRecord::past() const {
  static const PresencePast none;
  return past_ ? *past_ : none;
}

PresencePast& PresenceRecord::change_past() {
  if (!past_) past_ = std::make_unique<PresencePast>();
  return *past_;
}

void PresenceRecord::append(PresenceEvent event, std::size_t most) {
  if (most == 0) {
    only_connected_ = false;
    history_.reset();
    return;
  }
  if (event_count() == 0 && event == connected_event()) {
    only_connected_ = true;
    return;
  }
  keep_history();
  if (!history_) history_ = std::make_unique<base::CompactQueue<PresenceEvent>>();
  history_->push_back(std::move(event));
  while (history_->size() > most) history_->pop_front();
}

void PresenceRecord::keep_history() {
  if (!only_connected_) return;
  only_connected_ = false;
  if (!history_) history_ = std::make_unique<base::CompactQueue<PresenceEvent>>();
  history_->push_back(connected_event());
}

// The seed is this object's address, so that no peer can know which ids collide.
Presence::Key Presence::key_of(std::string_view client_id) const {
  const std::uint64_t hash = topics::hash_text(reinterpret_cast<std::uintptr_t>(this), client_id);
  return {static_cast<std::uint32_t>(hash ^ hash >> 32U), client_id, this};
}

PresenceId Presence::id_of(std::string_view client_id) const {
  const auto found = by_client_.find(key_of(client_id));
  return found == by_client_.end() ? PresenceId() : records_.at_index(found->index).first;
}

PresenceId Presence::open(std::string_view client_id) {
  if (const PresenceId known = id_of(client_id)) return known;
  while (records_.size() >= bounds_.records && !forgettable_.empty()) {
    const auto [id, incarnation] = forgettable_.front();
    forgettable_.pop_front();
    const PresenceRecord* record = records_.find(id);
    if (record == nullptr || record->incarnation != incarnation || record->connected || record->has_session) continue;
    forgotten_.push_back(record->client_id.str());
    by_client_.erase(by_client_.find(key_of(record->client_id)));
    records_.erase(id);
  }
  const PresenceId id = records_.emplace();
  records_.at(id).client_id = client_id;
  by_client_.insert({key_of(client_id).hash, id.index});
  return id;
}

PresenceId Presence::restore(PresenceRecord record) {
  if (records_.size() >= bounds_.records || id_of(record.client_id)) return {};
  const PresenceId id = records_.emplace(std::move(record));
  by_client_.insert({key_of(records_.at(id).client_id).hash, id.index});
  return id;
}

void Presence::note(PresenceRecord& record, PresenceEvent event) {
  ++record.sequence;
  // A client that pings just when it must is at risk and recovers with every ping: these pairs would push out why and
  // when it went.
  const bool passing = event.kind == PresenceEventKind::AtRisk || event.kind == PresenceEventKind::Recovered;
  if (!passing) record.append(std::move(event), bounds_.history);
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
