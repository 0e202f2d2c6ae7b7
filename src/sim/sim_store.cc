#include "sim/sim_store.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/overloaded.h"

namespace vigil::sim {
namespace {

using base::Overloaded;

}  // namespace

void SimStore::fail(std::string what) {
  if (fault_.empty()) fault_ = "the store: " + std::move(what);
}

void SimStore::saw(broker::Position position) { highest_position_ = std::max(highest_position_, position.sequence); }

// --- a process

void SimStore::submit(unsigned shard, broker::StoreBatch&& batch, base::Instant now) {
  if (batch.number != 0) {
    std::uint64_t& last = last_number_[shard];
    if (batch.number != last + 1) fail(fmt::format("shard {} hands batch {} over after {}", shard, batch.number, last));
    last = batch.number;
  } else if (!batch.changes.empty() || !batch.parts.empty() || !batch.commits.empty()) {
    fail(fmt::format("shard {} hands changes over in a batch without a number", shard));
  }
  waiting_.push_back({shard, std::move(batch), now});
}

std::vector<SimStore::Reply> SimStore::write(base::Instant now, std::int64_t store_ms) {
  time_.reached_ms = std::max(time_.reached_ms, store_ms);
  std::map<unsigned, broker::Stored> stored;
  std::vector<Reply> reads;
  for (Batch& batch : std::exchange(waiting_, {})) take(batch, now, stored, reads);
  std::vector<Reply> replies;
  replies.reserve(stored.size() + reads.size());
  for (auto& [shard, answer] : stored) replies.push_back({shard, std::move(answer)});
  std::ranges::move(reads, std::back_inserter(replies));
  return replies;
}

void SimStore::take(Batch& from, base::Instant now, std::map<unsigned, broker::Stored>& stored,
                    std::vector<Reply>& reads) {
  broker::StoreBatch& batch = from.batch;
  for (broker::JointPart& part : batch.parts) {
    held_[part.joint].push_back({from.shard, std::move(part.changes), from.handed_over});
  }
  for (const broker::JointId joint : batch.commits) {
    std::set<unsigned> told = {from.shard};
    if (const auto held = held_.find(joint); held != held_.end()) {
      for (Part& part : held->second) {
        for (broker::Change& one : part.changes) change(std::move(one));
        told.insert(part.shard);
      }
      held_.erase(held);
    }
    for (const unsigned shard : told) stored[shard].joints.push_back(joint);
  }
  for (broker::Change& one : batch.changes) change(std::move(one));
  if (batch.number != 0) stored[from.shard].number = batch.number;
  // What is swept is not loaded as well.
  for (const broker::SweepRequest& request : batch.sweeps) reads.push_back({from.shard, sweep(request, now)});
  for (const broker::LoadRequest& request : batch.loads) reads.push_back({from.shard, load(request)});
}

void SimStore::crash() {
  waiting_.clear();
  held_.clear();
  last_number_.clear();
}

base::Instant SimStore::unwritten_since() const {
  base::Instant since = base::Instant::never();
  if (!waiting_.empty()) since = waiting_.front().handed_over;
  for (const auto& [joint, parts] : held_) {
    for (const Part& part : parts) since = std::min(since, part.handed_over);
  }
  return since;
}

// --- changes

// Null for a session that has ended: what comes late for it is nobody's.
SimStore::Stored* SimStore::part_of(broker::SessionKey key) {
  if (key.sequence == 0) fail("a change for a session without a key");
  return ended_.contains(key) ? nullptr : &sessions_[key];
}

void SimStore::change(broker::Change&& change) {
  std::visit(
      Overloaded{
          [&](broker::PutSession& put) {
            saw(put.key);
            if (Stored* s = part_of(put.key); s != nullptr) {
              s->exists = true;
              s->record = std::move(put);
            }
          },
          [&](const broker::EndSession& end) {
            if (const auto it = sessions_.find(end.key); end.alone && it != sessions_.end()) {
              const Stored& s = it->second;
              if (!s.subscriptions.empty() || !s.queue.empty() || !s.unreleased.empty()) {
                fail(fmt::format("session {}/{} ends as if nothing had been stored for it", end.key.sequence,
                                 end.key.shard));
              }
            }
            sessions_.erase(end.key);
            ended_.insert(end.key);
          },
          [&](broker::PutSubscription& put) {
            if (Stored* s = part_of(put.session); s != nullptr) s->subscriptions[put.number] = std::move(put);
          },
          [&](const broker::DropSubscription& drop) {
            if (Stored* s = part_of(drop.session); s != nullptr) s->subscriptions.erase(drop.number);
          },
          [&](broker::Enqueue& put) {
            saw(put.message->position());
            Stored* s = part_of(put.session);
            if (s == nullptr) return;
            if (put.terms.qos == mqtt::QoS::AtMostOnce) fail("a message of QoS 0 is stored for a session");
            const auto [at, fresh] =
                s->queue.try_emplace(put.number, Entry{std::move(put.message), std::move(put.terms)});
            if (!fresh) fail(fmt::format("{}: message {} is stored twice", s->record.client_id, put.number));
          },
          [&](const broker::Release& release) {
            Stored* s = part_of(release.session);
            if (s == nullptr) return;
            const auto at = s->queue.find(release.number);
            if (at == s->queue.end() || at->second.released || at->second.message->position() != release.message) {
              fail(fmt::format("{}: message {} is released and not there", s->record.client_id, release.number));
              return;
            }
            at->second.message = {};
            at->second.released = true;
          },
          [&](const broker::Dequeue& done) {
            Stored* s = part_of(done.session);
            if (s == nullptr) return;
            const auto at = s->queue.find(done.number);
            if (at == s->queue.end() || at->second.released != done.released ||
                (!done.released && at->second.message->position() != done.message)) {
              fail(fmt::format("{}: message {} is done with and not there, or not in this state", s->record.client_id,
                               done.number));
              return;
            }
            s->queue.erase(at);
          },
          [&](const broker::PutPacketId& put) {
            if (Stored* s = part_of(put.session); s != nullptr) {
              if (!s->queue.contains(put.number)) {
                fail(
                    fmt::format("{}: message {} gets an identifier and is not there", s->record.client_id, put.number));
              }
              s->packet_ids[put.number] = put.packet_id;
            }
          },
          [&](const broker::DropPacketId& drop) {
            if (Stored* s = part_of(drop.session); s != nullptr) s->packet_ids.erase(drop.number);
          },
          [&](const broker::PutUnreleased& put) {
            if (Stored* s = part_of(put.session); s != nullptr) s->unreleased.insert(put.packet_id);
          },
          [&](const broker::DropUnreleased& drop) {
            if (Stored* s = part_of(drop.session); s != nullptr) s->unreleased.erase(drop.packet_id);
          },
          [&](broker::PutRetained& put) {
            saw(put.message->position());
            const std::string topic(put.message->topic());
            retained_[topic] = std::move(put.message);
          },
          [&](const broker::DropRetained& drop) { retained_.erase(drop.topic); },
          [&](broker::PutPresence& put) { presence_[put.client_id] = std::move(put.record); },
          [&](const broker::DropPresence& drop) { presence_.erase(drop.client_id); },
      },
      change);
}

// --- queues

broker::Loaded SimStore::load(const broker::LoadRequest& request) {
  broker::Loaded loaded{.session = request.session, .messages = {}, .next = 0};
  const auto session = sessions_.find(request.key);
  if (session == sessions_.end()) return loaded;
  std::size_t bytes = 0;
  auto& queue = session->second.queue;
  const std::size_t fails_after = random_.chance(load_failures_) ? random_.below(4) : SIZE_MAX;
  for (auto at = queue.lower_bound(request.from); at != queue.end(); ++at) {
    if (loaded.messages.size() == fails_after) {
      loaded.failed = true;
      loaded.next = at->first;
      break;
    }
    const bool full = loaded.messages.size() >= request.most || bytes >= request.most_bytes;
    if (full && !loaded.messages.empty()) {
      loaded.next = loaded.messages.back().number + 1;
      break;
    }
    const Entry& entry = at->second;
    if (entry.message) bytes += entry.message->size();
    loaded.messages.push_back({at->first, entry.released, entry.message, entry.terms});
    // The real one keeps no terms of what is released.
    if (entry.released) loaded.messages.back().terms = {};
  }
  return loaded;
}

broker::Swept SimStore::sweep(const broker::SweepRequest& request, base::Instant now) {
  broker::Swept swept{.session = request.session};
  const auto session = sessions_.find(request.key);
  if (session == sessions_.end()) return swept;
  auto& queue = session->second.queue;
  for (auto at = queue.lower_bound(request.from); at != queue.end();) {
    const broker::MessagePtr& message = at->second.message;
    const bool begun = at->second.terms.qos == mqtt::QoS::ExactlyOnce && at->first < request.begun_below;
    if (!message || begun || !message->expired(now)) {
      ++at;
      continue;
    }
    ++swept.messages;
    swept.bytes += message->size();
    session->second.packet_ids.erase(at->first);
    at = queue.erase(at);
  }
  return swept;
}

// --- the start

void SimStore::set_ahead(base::Duration ahead) {
  const base::Duration moved = ahead_.value_or(ahead) - ahead;
  ahead_ = ahead;
  if (moved == base::Duration::zero()) return;
  const auto move = [moved](broker::MessagePtr& message) {
    if (!message || message->expires().is_never()) return;
    message = broker::Message::make({.topic = message->topic(),
                                     .payload = message->payload(),
                                     .properties = message->properties(),
                                     .qos = message->qos(),
                                     .retain = message->retain(),
                                     .expires = message->expires() + moved,
                                     .publisher = message->publisher(),
                                     .position = message->position()});
  };
  for (auto& [topic, message] : retained_) move(message);
  for (auto& [key, session] : sessions_) {
    for (auto& [number, entry] : session.queue) move(entry.message);
  }
}

void SimStore::recover(base::Instant now, const std::function<void(broker::RecoveredFact&&)>& give) {
  for (const auto& [client_id, record] : presence_) give(broker::RecoveredPresence{client_id, record});
  std::erase_if(retained_, [now](const auto& kept) { return kept.second->expired(now); });
  for (const auto& [topic, message] : retained_) give(broker::RecoveredRetained{message});
  std::erase_if(sessions_, [](const auto& session) { return !session.second.exists; });
  for (const auto& [key, stored] : sessions_) {
    broker::RecoveredSession session;
    session.session = stored.record;
    for (const auto& [number, subscription] : stored.subscriptions) session.subscriptions.push_back(subscription);
    session.unreleased.assign(stored.unreleased.begin(), stored.unreleased.end());
    for (const auto& [number, id] : stored.packet_ids) session.packet_ids.push_back({key, number, id});
    session.queued = stored.queue.size();
    for (const auto& [number, entry] : stored.queue) {
      if (!entry.message) continue;
      session.queued_bytes += entry.message->size();
      session.expiring.add(entry.message->expires(), entry.message->size());
    }
    if (!stored.queue.empty()) {
      session.first_number = stored.queue.begin()->first;
      session.last_number = stored.queue.rbegin()->first;
    }
    give(std::move(session));
  }
}

// --- for the oracle

std::size_t SimStore::messages() const {
  std::size_t sum = 0;
  for (const auto& [key, session] : sessions_) sum += session.queue.size();
  return sum;
}

std::size_t SimStore::packet_ids() const {
  std::size_t sum = 0;
  for (const auto& [key, session] : sessions_) sum += session.packet_ids.size();
  return sum;
}

std::string SimStore::leftovers() const {
  if (!held_.empty()) return fmt::format("parts of {} joint changes that nobody commits", held_.size());
  for (const auto& [key, session] : sessions_) {
    if (!session.exists) return fmt::format("parts of the session {}/{}, which is not stored", key.sequence, key.shard);
    for (const auto& [number, id] : session.packet_ids) {
      if (session.queue.contains(number)) continue;
      return fmt::format("the identifier of message {} of the session {}/{}, which is gone", number, key.sequence,
                         key.shard);
    }
  }
  return {};
}

}  // namespace vigil::sim
