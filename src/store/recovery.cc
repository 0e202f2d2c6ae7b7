#include "store/recovery.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include "store/record_codec.h"
#include "store/run_record.h"

namespace vigil::store {
namespace {

using broker::Position;
using Give = std::function<void(broker::RecoveredFact&&)>;
using base::Err;

constexpr std::size_t kWriteAtOnce = std::size_t{1} << 20U;
// Records that are skipped: so many are said one by one.
constexpr std::size_t kMostSaid = 10;

// A family from its front, whose keys begin with those of sessions.
class SessionParts {
 public:
  SessionParts(Database& database, Family family) : it_(database.scan(family, Database::sequential())) {
    it_->SeekToFirst();
    read_session();
  }
  // What belongs to a session before this one belongs to none. After the last session: everything left.
  bool at(const Position& session) const { return it_->Valid() && session_ == session; }
  bool before(const Position* session) const { return it_->Valid() && (session == nullptr || session_ < *session); }
  void next() {
    it_->Next();
    read_session();
  }
  base::Bytes key() const { return bytes(it_->key()); }
  base::Bytes record() const { return bytes(it_->value()); }
  const Position& session() const { return session_; }
  rocksdb::Status status() const { return it_->status(); }

 private:
  void read_session() {
    if (!it_->Valid()) return;
    const base::Bytes all = key();
    session_ = read_position_key(all.first(std::min(all.size(), sizeof(PositionBytes)))).value_or(Position{});
  }
  std::unique_ptr<rocksdb::Iterator> it_;
  Position session_;
};

class Recovery {
 public:
  Recovery(Database& database, References& references, RunIndex& runs, const broker::Moment& now, const Notice& notice,
           const Give& give)
      : database_(database), references_(references), runs_(runs), now_(now), notice_(notice), give_(give) {}

  rocksdb::Status presence();
  rocksdb::Status retained();
  rocksdb::Status sessions();
  rocksdb::Status finish();

 private:
  void subscriptions(SessionParts& from, broker::RecoveredSession& to);
  void unreleased(SessionParts& from, broker::RecoveredSession& to);
  void queue(SessionParts& from, broker::RecoveredSession& to);
  static void packet_ids(SessionParts& from, broker::RecoveredSession& to);
  void runs(SessionParts& from, SessionParts& states, broker::RecoveredSession& to);
  void count(std::uint64_t number, const EntryHead& head, broker::RecoveredSession& to);
  rocksdb::Status delete_orphans(SessionParts& from, Family family, const Position* before);
  void abandon(base::Bytes record);
  rocksdb::Status delete_queue(Family family, const Position& session);
  void used(std::uint64_t number, broker::RecoveredSession& to);
  void skip(const std::string& why);
  rocksdb::Status write_if(std::size_t at_least);

  Database& database_;
  References& references_;
  RunIndex& runs_;
  const broker::Moment now_;
  const Notice& notice_;
  const Give& give_;
  rocksdb::WriteBatch deletions_;
  std::size_t skipped_ = 0;
  std::vector<Position> orphaned_;   // sessions that are gone, with entries that are not
  std::vector<Position> abandoned_;  // messages that entries of no session referred to
};

rocksdb::Status Recovery::presence() {
  const auto it = database_.scan(Family::Presence, Database::sequential());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const base::Bytes record = bytes(it->value());
    give_(broker::RecoveredPresence{.client_id = it->key().ToString(), .record = {record.begin(), record.end()}});
  }
  return it->status();
}

rocksdb::Status Recovery::retained() {
  const auto it = database_.scan(Family::Retained, Database::sequential());
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const auto message = decode_message(bytes(it->value()));
    if (!message) {
      skip(fmt::format("the retained message of {}: {}", it->key().ToString(), message.error()));
    } else if (message->expires_ms <= now_.unix_ms) {
      deletions_.Delete(database_.family(Family::Retained), it->key());
    } else {
      give_(broker::RecoveredRetained{to_message(*message, now_)});
    }
  }
  return it->status();
}

rocksdb::Status Recovery::sessions() {
  const auto it = database_.scan(Family::Sessions, Database::sequential());
  SessionParts subscriptions_left(database_, Family::Subscriptions);
  SessionParts unreleased_left(database_, Family::Unreleased);
  SessionParts queue_left(database_, Family::Queue);
  SessionParts runs_left(database_, Family::Runs);
  SessionParts states_left(database_, Family::RunStates);
  SessionParts packet_ids_left(database_, Family::PacketIds);
  const auto orphans = [&](const Position* before) {
    rocksdb::Status status = delete_orphans(subscriptions_left, Family::Subscriptions, before);
    if (status.ok()) status = delete_orphans(unreleased_left, Family::Unreleased, before);
    if (status.ok()) status = delete_orphans(queue_left, Family::Queue, before);
    if (status.ok()) status = delete_orphans(runs_left, Family::Runs, before);
    if (status.ok()) status = delete_orphans(states_left, Family::RunStates, before);
    if (status.ok()) status = delete_orphans(packet_ids_left, Family::PacketIds, before);
    return status;
  };
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const auto key = read_position_key(bytes(it->key()));
    auto session = key ? decode_session(*key, bytes(it->value())) : base::Err(std::string("its key is not readable"));
    if (!key) {
      skip("a session: " + session.error());
      continue;
    }
    if (rocksdb::Status status = orphans(&*key); !status.ok()) return status;
    broker::RecoveredSession recovered;
    recovered.session.key = *key;
    subscriptions(subscriptions_left, recovered);
    unreleased(unreleased_left, recovered);
    queue(queue_left, recovered);
    runs(runs_left, states_left, recovered);
    packet_ids(packet_ids_left, recovered);
    if (!session) {
      skip(fmt::format("the session {}/{}: {}", key->sequence, key->shard, session.error()));
      continue;
    }
    recovered.session = std::move(*session);
    give_(std::move(recovered));
  }
  if (!it->status().ok()) return it->status();
  // Only a walk that came to its end knows what belongs to nobody.
  if (rocksdb::Status status = orphans(nullptr); !status.ok()) return status;
  for (const SessionParts* parts :
       {&subscriptions_left, &unreleased_left, &queue_left, &runs_left, &states_left, &packet_ids_left}) {
    if (!parts->status().ok()) return parts->status();
  }
  return {};
}

void Recovery::subscriptions(SessionParts& from, broker::RecoveredSession& to) {
  for (; from.at(to.session.key); from.next()) {
    auto subscription = decode_subscription(from.key(), from.record());
    if (subscription) {
      to.subscriptions.push_back(std::move(*subscription));
    } else {
      skip(fmt::format("a subscription of the session {}/{}: {}", to.session.key.sequence, to.session.key.shard,
                       subscription.error()));
    }
  }
}

void Recovery::unreleased(SessionParts& from, broker::RecoveredSession& to) {
  for (; from.at(to.session.key); from.next()) {
    if (const auto one = read_unreleased_key(from.key())) to.unreleased.push_back(one->packet_id);
  }
}

void Recovery::packet_ids(SessionParts& from, broker::RecoveredSession& to) {
  for (; from.at(to.session.key); from.next()) {
    const auto key = read_entry_key(from.key());
    const auto id = decode_number(from.record());
    if (!key || !id || *id == 0 || *id > UINT16_MAX) continue;
    to.packet_ids.push_back({key->session, key->number, static_cast<mqtt::PacketId>(*id)});
  }
}

void Recovery::queue(SessionParts& from, broker::RecoveredSession& to) {
  for (; from.at(to.session.key); from.next()) {
    const auto key = read_entry_key(from.key());
    const auto head = decode_entry_head(from.record());
    // Whose message is elsewhere says where behind its head.
    const auto entry = head && head->shared ? decode_entry(from.record()) : Entry{};
    if (!key || !head || !entry) {
      if (key) used(key->number, to);
      skip(
          fmt::format("a message of the session {}/{} is not readable", to.session.key.sequence, to.session.key.shard));
      continue;
    }
    if (head->shared) references_.add(entry->position);
    count(key->number, *head, to);
  }
}

void Recovery::count(std::uint64_t number, const EntryHead& head, broker::RecoveredSession& to) {
  to.first_number = to.queued == 0 ? number : std::min(to.first_number, number);
  to.last_number = std::max(to.last_number, number);
  ++to.queued;
  to.queued_bytes += head.size();
  if (!head.released) to.expiring.add(to_instant(head.expires_ms, now_), head.size());
}

void Recovery::runs(SessionParts& from, SessionParts& states, broker::RecoveredSession& to) {
  const broker::SessionKey& session = to.session.key;
  RunOrder order;
  for (; from.at(session); from.next()) {
    const auto key = read_entry_key(from.key());
    const auto entries = decode_run(from.record());
    if (!key || !entries || !order.follows(*key, entries->size())) {
      if (key) used(key->number + kMostOfRun - 1, to);
      skip(fmt::format("messages of the session {}/{}: {}", session.sequence, session.shard,
                       entries ? "their numbers are not readable" : entries.error()));
      continue;
    }
    Run run{.first = key->number, .count = static_cast<std::uint8_t>(entries->size())};
    run.live = Run::all(run.count);
    while (states.at(session) && base::as_text(states.key()) < base::as_text(from.key())) states.next();
    if (states.at(session) && base::as_text(states.key()) == base::as_text(from.key())) {
      run.has_state = true;
      run.live &= decode_number(states.record()).value_or(run.live);
    }
    for (unsigned i = 0; i < run.count; ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i;
      if ((run.live & bit) == 0) continue;
      const auto head = decode_entry_head((*entries)[i]);
      const auto entry = head && head->shared ? decode_entry((*entries)[i]) : Entry{};
      if (!head || !entry || head->released) {
        skip(fmt::format("a message of the session {}/{} is not readable", session.sequence, session.shard));
        used(run.first + i, to);
        run.live &= ~bit;
        continue;
      }
      if (head->shared) {
        references_.add(entry->position);
        run.shared |= bit;
      }
      count(run.first + i, *head, to);
    }
    if (run.live != 0) runs_.add(session, run);
  }
  while (states.at(session)) states.next();
}

rocksdb::Status Recovery::delete_orphans(SessionParts& from, Family family, const Position* before) {
  for (; from.before(before); from.next()) {
    if (family == Family::Queue || family == Family::Runs) {
      // They say which messages may have to go: they stay until those are gone, even if this start is cut short.
      if (orphaned_.empty() || orphaned_.back() != from.session()) orphaned_.push_back(from.session());
      if (family == Family::Queue) {
        abandon(from.record());
      } else if (const auto entries = decode_run(from.record())) {
        for (const base::Bytes entry : *entries) abandon(entry);
      }
      continue;
    }
    deletions_.Delete(database_.family(family), slice(from.key()));
    if (rocksdb::Status status = write_if(kWriteAtOnce); !status.ok()) return status;
  }
  return {};
}

void Recovery::abandon(base::Bytes record) {
  const auto entry = decode_entry(record);
  if (entry && entry->head.shared) abandoned_.push_back(entry->position);
}

void Recovery::skip(const std::string& why) {
  if (notice_ && ++skipped_ <= kMostSaid) {
    notice_(NoticeKind::RecordSkipped, "The store skips " + why + ". `vigilmq store check` shows more.");
  }
}

rocksdb::Status Recovery::write_if(std::size_t at_least) {
  if (deletions_.GetDataSize() < at_least || deletions_.Count() == 0) return {};
  rocksdb::Status status = database_.write(deletions_);
  deletions_.Clear();
  return status;
}

// What cannot be read is left where it is, so its numbers must not be given out again.
void Recovery::used(std::uint64_t number, broker::RecoveredSession& to) {
  constexpr std::uint64_t kNeverReached = std::uint64_t{1} << 62U;
  if (number < kNeverReached) to.last_number = std::max(to.last_number, number);
}

rocksdb::Status Recovery::finish() {
  if (notice_ && skipped_ > kMostSaid) {
    notice_(
        NoticeKind::RecordSkipped,
        fmt::format("The store skips {} more records. `vigilmq store check` shows them all.", skipped_ - kMostSaid));
  }
  std::sort(abandoned_.begin(), abandoned_.end());
  abandoned_.erase(std::unique(abandoned_.begin(), abandoned_.end()), abandoned_.end());
  for (const Position& message : abandoned_) {
    if (references_.contains(message)) continue;
    deletions_.SingleDelete(database_.family(Family::Messages), slice(position_key(message)));
  }
  rocksdb::Status status = write_if(0);
  for (const Position& session : orphaned_) {
    for (const Family family : {Family::Queue, Family::Runs}) {
      if (status.ok()) status = delete_queue(family, session);
    }
  }
  return status.ok() ? write_if(0) : status;
}

rocksdb::Status Recovery::delete_queue(Family family, const Position& session) {
  const PositionBytes prefix = position_key(session);
  const auto it = database_.scan(family, {});
  for (it->Seek(slice(prefix)); it->Valid() && it->key().starts_with(slice(prefix)); it->Next()) {
    // How often it was put is not known here, and Delete is right for any number of times.
    deletions_.Delete(database_.family(family), it->key());
    if (rocksdb::Status status = write_if(kWriteAtOnce); !status.ok()) return status;
  }
  return it->status();
}

}  // namespace

base::Result<void, std::string> recover(Database& database, References& references, RunIndex& runs,
                                        const broker::Moment& now, const Notice& notice, const Give& give) {
  Recovery recovery(database, references, runs, now, notice, give);
  rocksdb::Status status = recovery.presence();
  if (status.ok()) status = recovery.retained();
  if (status.ok()) status = recovery.sessions();
  if (status.ok()) status = recovery.finish();
  if (!status.ok()) return Err(explain(status, database.directory()));
  return {};
}

}  // namespace vigil::store
