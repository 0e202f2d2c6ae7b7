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

// What an allocation of so many bytes occupies: glibc's malloc rounds up and puts a word before it.
constexpr std::size_t heap(std::size_t bytes) { return std::max<std::size_t>(32, (bytes + 8 + 15) / 16 * 16); }

constexpr std::size_t kTextHeader = 8;
std::size_t heap(const base::Text& text) { return text.empty() ? 0 : heap(kTextHeader + text.size()); }

// A record's place in the slot map, in the index of client ids and among those that wait.
constexpr std::size_t kPlaces = 48;

bool share(const base::Text& left, const base::Text& right) { return left.view().data() == right.view().data(); }

std::size_t units(const base::Text& text) { return heap(text) / 16; }

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
    case PresenceEventKind::Forgotten: return "forgotten";
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
    texts_ = 0;
    return;
  }
  if (event_count() == 0 && event == connected_event()) {
    only_connected_ = true;
    return;
  }
  keep_history();
  push_event(std::move(event));
  while (history_->size() > most) pop_event();
}

void PresenceRecord::keep_history() {
  if (!only_connected_) return;
  only_connected_ = false;
  push_event(connected_event());
}

// Events of one connection stand together and share its address, which counts once.
void PresenceRecord::push_event(PresenceEvent event) {
  if (!history_) history_ = std::make_unique<base::CompactQueue<PresenceEvent>>();
  if (history_->empty() || !share(history_->back().address, event.address)) {
    texts_ = static_cast<std::uint16_t>(std::min<std::size_t>(UINT16_MAX, texts_ + units(event.address)));
  }
  history_->push_back(std::move(event));
}

void PresenceRecord::pop_event() {
  const auto& events = *history_;
  if (events.size() == 1 || !share(events[0].address, events[1].address)) {
    texts_ -= static_cast<std::uint16_t>(std::min<std::size_t>(texts_, units(events[0].address)));
  }
  history_->pop_front();
}

std::int64_t PresenceRecord::last_event_ms() const {
  const std::int64_t last = history_ && !history_->empty() ? history_->back().unix_ms : 0;
  return std::max({last, connected_at_ms, past().disconnected_at_ms});
}

std::size_t PresenceRecord::memory() const {
  std::size_t sum = sizeof(PresenceRecord) + kPlaces + heap(client_id) + texts_ * kMemoryUnit;
  if (history_) {
    const auto& events = *history_;
    const std::size_t room = events.front_free_capacity() + events.size() + events.back_free_capacity();
    sum += heap(sizeof(events)) + heap(room * sizeof(PresenceEvent));
  }
  if (!history_ || history_->empty() || !share(history_->back().address, address)) sum += heap(address);
  if (!past_) return sum;
  sum += heap(sizeof(PresencePast));
  if (past_->detail.capacity() > std::string().capacity()) sum += heap(past_->detail.capacity() + 1);
  const RecentCount::Buckets& buckets = past_->disconnects.buckets();
  if (buckets.capacity() > buckets.internal_capacity()) sum += heap(buckets.capacity() * sizeof(RecentCount::Bucket));
  return sum;
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
  PresenceRecord record;
  record.client_id = client_id;
  record.incarnation = highest_;
  return add(std::move(record));
}

PresenceId Presence::add(PresenceRecord&& record) {
  record.assigned = is_assigned(record.client_id);
  const PresenceId id = records_.emplace(std::move(record));
  PresenceRecord& added = records_.at(id);
  by_client_.insert({key_of(added.client_id).hash, id.index});
  count(added);
  return id;
}

void Presence::erase(PresenceId id) {
  const PresenceRecord& record = records_.at(id);
  if (record.stored) forgotten_.push_back(record.client_id.str());
  highest_ = std::max(highest_, record.incarnation);
  counted_ -= record.counted_;
  by_client_.erase(by_client_.find(key_of(record.client_id)));
  records_.erase(id);
  // What a burst needed is given back.
  constexpr std::size_t kSmall = 4'096;
  if (by_client_.bucket_count() > kSmall && by_client_.size() < by_client_.bucket_count() / 8) by_client_.rehash(0);
}

void Presence::count(PresenceRecord& record) {
  const auto units =
      static_cast<std::uint16_t>(std::min<std::size_t>(UINT16_MAX, record.memory() / PresenceRecord::kMemoryUnit));
  counted_ += units;
  counted_ -= record.counted_;
  record.counted_ = units;
}

void Presence::note(PresenceRecord& record, PresenceEvent event) {
  ++record.sequence;
  // A client that pings just when it must is at risk and recovers with every ping: these pairs would push out why and
  // when it went.
  const bool passing = event.kind == PresenceEventKind::AtRisk || event.kind == PresenceEventKind::Recovered;
  if (passing) return;
  // What grows meanwhile is counted with the next connection, or when the client may be forgotten.
  const bool connected = event.kind == PresenceEventKind::Connected;
  record.append(std::move(event), bounds_.history);
  if (connected) count(record);
}

void Presence::may_forget(PresenceId id, base::Instant now) {
  PresenceRecord* record = records_.find(id);
  if (record == nullptr) return;
  count(*record);
  Waiting& queue = record->assigned ? assigned_ : own_;
  // Entries of clients that came back are skipped later; they must not pile up.
  if (queue.size() > 2 * records_.size() + 64) {
    std::erase_if(queue, [this](const Leaver& leaver) { return !still_waits(leaver); });
  }
  queue.push_back({id, record->incarnation, now});
}

bool Presence::still_waits(const Leaver& leaver) const {
  const PresenceRecord* record = records_.find(leaver.id);
  return record != nullptr && record->incarnation == leaver.incarnation && !record->connected && !record->has_session;
}

base::Duration Presence::keep(bool assigned) const {
  if (!assigned) return bounds_.keep;
  return bounds_.keep == base::Duration{} ? kKeepAssigned : std::min(bounds_.keep, kKeepAssigned);
}

base::Instant Presence::due_of(const Waiting& queue) const {
  const base::Duration kept = keep(&queue == &assigned_);
  return queue.empty() || kept == base::Duration{} ? base::Instant::never() : queue.front().since + kept;
}

base::Instant Presence::due(base::Instant now) const {
  if (over() && !(own_.empty() && assigned_.empty())) return now;
  return std::min(due_of(own_), due_of(assigned_));
}

// Of whose first one it is to be seen whether it goes; null: nobody goes.
Presence::Waiting* Presence::next_queue(base::Instant now) {
  for (Waiting* queue : {&assigned_, &own_}) {
    if (due_of(*queue) <= now) return queue;
  }
  if (!over() || (own_.empty() && assigned_.empty())) return nullptr;
  if (own_.empty()) return &assigned_;
  return assigned_.empty() || own_.front().since <= assigned_.front().since ? &own_ : &assigned_;
}

// When a client left that was remembered by the wall clock, on ours.
Presence::Leaver Presence::leaver(PresenceId id, const PresenceRecord& record, const Moment& now) {
  // A wall clock may be far off, or have been.
  constexpr std::int64_t kFar = std::int64_t{100} * 365 * 24 * 3600 * 1000;
  const std::int64_t age_ms = std::clamp<std::int64_t>(now.unix_ms - record.last_event_ms(), 0, kFar);
  return {id, record.incarnation, now.at - base::milliseconds(age_ms)};
}

PresenceId Presence::restore(PresenceRecord record, const Moment& now) {
  if (id_of(record.client_id)) return {};
  record.stored = true;
  const bool stays = record.connected || record.has_session;
  const PresenceId id = add(std::move(record));
  const PresenceRecord& added = records_.at(id);
  if (stays) return id;
  const Leaver left = leaver(id, added, now);
  const base::Duration kept = keep(added.assigned);
  if (kept > base::Duration{} && left.since + kept <= now.at) {
    erase(id);
    return {};
  }
  const auto later = [](const Leaver& a, const Leaver& b) { return a.since > b.since; };
  returning_.push_back(left);
  std::push_heap(returning_.begin(), returning_.end(), later);
  while (over() && !returning_.empty()) {
    std::pop_heap(returning_.begin(), returning_.end(), later);
    erase(returning_.back().id);
    returning_.pop_back();
  }
  return records_.find(id) == nullptr ? PresenceId() : id;
}

void Presence::restored(const Moment& now) {
  std::vector<Leaver> left = std::exchange(returning_, {});
  left.clear();
  records_.for_each([&](PresenceId id, const PresenceRecord& record) {
    if (!record.connected && !record.has_session) left.push_back(leaver(id, record, now));
  });
  std::ranges::sort(left, {}, &Leaver::since);
  own_.clear();
  assigned_.clear();
  for (const Leaver& one : left) (records_.at(one.id).assigned ? assigned_ : own_).push_back(one);
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

std::string client_id_of(std::string_view level) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; };
  std::string id;
  for (std::size_t i = 0; i < level.size(); ++i) {
    if (level[i] == '%' && i + 2 < level.size() && digit(level[i + 1]) >= 0 && digit(level[i + 2]) >= 0) {
      id += static_cast<char>(digit(level[i + 1]) * 16 + digit(level[i + 2]));
      i += 2;
    } else {
      id += level[i];
    }
  }
  return id;
}

namespace {

constexpr std::string_view kAssigned = "auto-";
constexpr std::size_t kAssignedDigits = 20;

}  // namespace

std::string make_client_id(base::Random& random) {
  return fmt::format("{}{:016x}{:04x}", kAssigned, random.next(), random.next() & 0xFFFFU);
}

bool is_assigned(std::string_view client_id) {
  const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return client_id.size() == kAssigned.size() + kAssignedDigits && client_id.starts_with(kAssigned) &&
         std::ranges::all_of(client_id.substr(kAssigned.size()), digit);
}

}  // namespace vigil::broker
