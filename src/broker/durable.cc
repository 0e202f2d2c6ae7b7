// What outlives the process: changes go out in batches, and what acknowledges them waits for the store's answer
// (change.h). With no store (ShardSetup::durable is false) nothing here does anything, and nothing waits.
#include <algorithm>

#include "broker/presence_record.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

// Messages of a queue that are kept in memory behind those under way; what comes after them is on disk only.
constexpr std::size_t kResidentMessages = 1000;
constexpr std::size_t kResidentBytes = std::size_t{1} << 20U;
// Below so many the next ones are asked for.
constexpr std::size_t kLowWater = 256;
constexpr std::uint32_t kLoadMessages = 512;
constexpr std::uint32_t kLoadBytes = 512 * 1024;

}  // namespace

// --- changes go out

StoreBatch& Shard::batch() {
  effects_.store.at = clock_.last();
  return effects_.store;
}

void Shard::open_batch() {
  if (batch().number == 0) effects_.store.number = ++last_batch_;
}

void Shard::emit(Change&& change) {
  if (!setup_.durable) return;
  ++emitted_;
  if (sink_ != nullptr) {
    sink_->changes.push_back(std::move(change));
    return;
  }
  open_batch();
  effects_.store.changes.push_back(std::move(change));
}

// The session's record as it is now; what was under its key is replaced.
void Shard::put_session(SessionId sid, Session& s) {
  if (s.key.sequence == 0) return;
  if (sink_ != nullptr) {
    sink_->session = sid;
    s.with_extras().joint = sink_->id;
    return;
  }
  if (s.joint() != 0) return;  // written with what it is joined to
  PutSession put;
  put.key = s.key;
  put.client_id = s.client_id.str();
  put.user_name = s.user_name();
  put.epoch = presence_.find(s.presence)->incarnation;
  put.expiry_s = s.expiry_s;
  put.connected = s.connected();
  put.expires_ms = clock_.store_ms(s.expires);
  put.sent_below = s.delivery ? s.delivery->sent_below : 0;
  put.next_subscription = s.next_subscription;
  if (s.will) {
    put.will.push_back(*s.will);
    put.will_due_ms = clock_.store_ms(s.will->due);
  }
  emit(std::move(put));
}

// At CONNECT: whether the end of the client's last session is on its way to the store. Where it is part of a joint
// change that waits, the new session begins with that. Else a crash would bring the old one back after the client was
// told that it is gone.
bool Shard::begins_after_the_last(SessionId sid, Session& s, const PresenceRecord& record) {
  const auto joint = joints_.find(record.past().ended_with);
  if (joint == joints_.end()) return record.past().ended_in > stored_;
  if (joint->second.waiting > 0) {
    joint->second.session = sid;
    s.with_extras().joint = joint->first;
  }
  return true;
}

// At CONNECT: whether anything of this session has to outlive the process.
void Shard::store_session(SessionId sid, Session& s, base::Instant now) {
  if (!setup_.durable) return;
  s.durable |= s.expiry_s > 0;
  if (!s.durable && !s.will) {
    if (s.key.sequence != 0) emit_end(s.key, s.stored_alone());
    s.key = {};
    return;
  }
  if (s.key.sequence == 0) s.key = next_position(now);
  put_session(sid, s);
}

void Shard::dequeued(const Session& s, const Delivery& delivery, bool released) {
  if (!delivery.stored) return;
  if (delivery.packet_id != 0) emit(DropPacketId{s.key, delivery.number});
  emit(Dequeue{s.key, delivery.number, delivery.message ? delivery.message->position() : Position{}, released,
               delivery.kept});
}

// Once a turn: what changes several times in one is written once.
void Shard::end_turn() {
  std::vector<std::string> forgotten = presence_.take_forgotten();
  if (!setup_.durable) return;
  // First those that are gone: one of them may have come back as another.
  for (std::string& client_id : forgotten) emit(DropPresence{std::move(client_id)});
  for (const std::string& client_id : unstored_presence_) {
    PresenceRecord* record = presence_.find(client_id);
    if (record == nullptr) continue;
    record->unstored = false;
    record->stored = true;
    PutPresence put{client_id, {}};
    encode_presence(*record, put.record);
    emit(std::move(put));
  }
  unstored_presence_.clear();
}

// --- joint changes

void Shard::open_joint(JointId id, JointId waiting) {
  sink_ = &joint_;
  if (const auto found = joints_.find(waiting); found != joints_.end() && found->second.waiting > 0) {
    joint_ = std::move(found->second);
    joints_.erase(found);
    return;
  }
  joint_ = {};
  joint_.id = id != 0 ? id : (std::uint64_t{setup_.id} + 1) << 56U | ++next_joint_;
}

// What was gathered is this shard's alone, or waits for the others' receipts. The id of a joint that waits, or 0.
JointId Shard::close_joint() {
  sink_ = nullptr;
  if (joint_.waiting > 0) {
    joints_.emplace(joint_.id, std::move(joint_));
    return joint_.id;
  }
  commit_changes(joint_);
  for (const auto& [sid, number] : joint_.held) held_until(sid, number, last_batch_);
  return 0;
}

// This shard's part of another shard's joint change goes to the store, where it waits for the commit.
void Shard::close_part() {
  sink_ = nullptr;
  if (joint_.changes.empty()) return;
  open_batch();
  effects_.store.parts.push_back({joint_.id, std::move(joint_.changes)});
  // Several messages of one joint change may come here, and some come back to the shard that commits it.
  const auto [known, first] = joints_.try_emplace(joint_.id);
  if (first) {
    known->second = std::move(joint_);
  } else {
    known->second.held.insert(known->second.held.end(), joint_.held.begin(), joint_.held.end());
  }
}

// The session's end is written now. Joint changes that wait may have something for it.
void Shard::emit_end(const SessionKey& key, bool alone) {
  emit(EndSession{key, alone});
  if (joints_.empty()) return;
  ended_meanwhile_.insert(key);
  if (ended_meanwhile_.size() < prune_ended_at_) return;
  std::set<SessionKey> named;
  for (const auto& [id, joint] : joints_) {
    for (const Change& change : joint.changes) {
      const SessionKey* session = session_of(change);
      if (session != nullptr && ended_meanwhile_.contains(*session)) named.insert(*session);
    }
  }
  ended_meanwhile_ = std::move(named);
  constexpr std::size_t kPrune = 1'024;
  prune_ended_at_ = std::max(kPrune, 2 * ended_meanwhile_.size());
}

// Everything of the joint that is this shard's, into the open batch.
void Shard::commit_changes(Joint& joint) {
  for (Change& change : joint.changes) {
    // What is for a session that has ended meanwhile would stay in the store for nobody.
    const SessionKey* session = ended_meanwhile_.empty() ? nullptr : session_of(change);
    if (session == nullptr || !ended_meanwhile_.contains(*session)) emit(std::move(change));
  }
  joint.changes.clear();
  Session* s = sessions_.find(joint.session);
  if (s != nullptr && s->joint() == joint.id) {
    s->extras->joint = 0;
    put_session(joint.session, *s);
    Connection* c = connections_.find(s->connection);
    if (c != nullptr && c->outbox && c->outbox->held_until == kPending) hold(s->connection, *c, last_batch_);
  }
  for (const SessionKey& key : joint.ended) emit_end(key);
}

void Shard::joint_receipt(JointId id, Outcome outcome) {
  const auto found = joints_.find(id);
  if (found == joints_.end() || found->second.waiting == 0) return;
  Joint& joint = found->second;
  joint.outcome = best(joint.outcome, outcome);
  if (--joint.waiting > 0) return;
  open_batch();
  commit_changes(joint);
  effects_.store.commits.push_back(id);
}

void Shard::joint_stored(JointId id, base::Instant now) {
  const auto found = joints_.find(id);
  if (found == joints_.end()) return;
  const Joint joint = std::move(found->second);
  joints_.erase(found);
  if (joints_.empty()) ended_meanwhile_.clear();
  for (const auto& [connection, sequence] : joint.acks) {
    Connection* c = connections_.find(connection);
    if (c == nullptr) {
      forget_refused(joint);
      continue;
    }
    c->acks.receipt(sequence, joint.outcome);
    settle_acks(connection, *c);
  }
  for (const auto& [sid, number] : joint.held) {
    held_until(sid, number, 0);
    if (Session* s = sessions_.find(sid); s != nullptr) pump(sid, *s, now);
  }
}

// The publisher went before it could be told that nobody had room for its message: the second try is to be routed anew.
void Shard::forget_refused(const Joint& joint) {
  if (!joint.refusable || joint.outcome != Outcome::Dropped) return;
  Session* s = sessions_.find(joint.publisher);
  if (s == nullptr || !s->extras || s->extras->unreleased.erase(joint.packet_id) == 0) return;
  if (s->durable) emit(DropUnreleased{s->key, joint.packet_id});
}

// A message of a joint change waits for this batch from now on; 0: for nothing.
void Shard::held_until(SessionId sid, std::uint64_t number, std::uint64_t batch) {
  Session* s = sessions_.find(sid);
  if (s == nullptr || !s->delivery) return;
  DeliveryState& d = *s->delivery;
  const auto waiting =
      std::find_if(d.queue.rbegin(), d.queue.rend(), [number](const Delivery& q) { return q.number == number; });
  if (waiting != d.queue.rend()) {
    waiting->needs = batch;
  } else if (d.tail.unstored > 0) {
    --d.tail.unstored;  // on disk by the time that a request for it is answered
  }
  if (batch > 0) session_waits_.push_back({batch, sid});
}

Shard::Joint* Shard::joint_of(SessionId publisher, mqtt::PacketId packet_id) {
  for (auto& [id, joint] : joints_) {
    if (joint.publisher == publisher && joint.packet_id == packet_id) return &joint;
  }
  return nullptr;
}

// --- answers come back

void Shard::hold(ConnectionId id, Connection& c, std::uint64_t batch) {
  with_outbox(c).held_until = batch;
  if (batch != kPending) holds_.push_back({batch, id});
}

void Shard::answer_when_stored(ConnectionId id, Connection& c, std::uint64_t needs, base::Bytes packet) {
  if (needs <= stored_) {
    if (logs(LogLevel::Trace)) trace_sent(c, packet);
    auto& out = control_lane(id, c);
    out.insert(out.end(), packet.begin(), packet.end());
    return;
  }
  ++c.pending_answers;
  look_at_owed(c);
  answers_.push_back({needs, id, {packet.begin(), packet.end()}});
}

void Shard::send_receipt(ShardId to, const ReceiptToken& token, Outcome outcome, std::uint64_t needs) {
  // A joint change is the store's to complete.
  if (token.joint != 0 || needs <= stored_) {
    post(to, ReceiptMail{token, outcome});
    return;
  }
  receipts_.push_back({last_batch_, to, {token, outcome}});
}

void Shard::stored(Stored&& answer, base::Instant now) {
  stored_ = std::max(stored_, answer.number);
  for (; !holds_.empty() && holds_.front().needs <= stored_; holds_.pop_front()) {
    const ConnectionId id = holds_.front().connection;
    Connection* c = connections_.find(id);
    if (c == nullptr || !c->outbox || c->outbox->held_until > stored_) continue;
    c->outbox->held_until = 0;
    c->keep_alive.waited(now);
    if (!c->outbox->empty()) to_send(id, *c);
  }
  // Before anything of a session is sent: retained messages follow their SUBACK.
  settle_subacks(now);
  for (const JointId joint : answer.joints) joint_stored(joint, now);
  for (; !receipts_.empty() && receipts_.front().needs <= stored_; receipts_.pop_front()) {
    post(receipts_.front().to, receipts_.front().mail);
  }
  for (; !ack_waits_.empty() && ack_waits_.front().needs <= stored_; ack_waits_.pop_front()) {
    const ConnectionId id = ack_waits_.front().connection;
    if (Connection* c = connections_.find(id); c != nullptr) settle_acks(id, *c);
  }
  for (; !answers_.empty() && answers_.front().needs <= stored_; answers_.pop_front()) {
    const PendingAnswer& answer_due = answers_.front();
    Connection* c = connections_.find(answer_due.connection);
    if (c == nullptr) continue;
    answered(answer_due.connection);
    if (logs(LogLevel::Trace)) trace_sent(*c, answer_due.packet);
    auto& out = control_lane(answer_due.connection, *c);
    out.insert(out.end(), answer_due.packet.begin(), answer_due.packet.end());
    if (c->pending_answers == 0) release_pings(answer_due.connection);
  }
  for (; !session_waits_.empty() && session_waits_.front().needs <= stored_; session_waits_.pop_front()) {
    const SessionId sid = session_waits_.front().session;
    if (Session* s = sessions_.find(sid); s != nullptr) pump(sid, *s, now);
  }
}

// --- queues that are longer than memory

bool Shard::belongs_on_disk(const Session& s, const Delivery& delivery) const {
  if (!delivery.stored) return false;
  const DeliveryState& d = *s.delivery;
  if (d.tail.messages > 0) return true;
  // What may have to be given to another member of a share group stays at hand.
  if (s.shared_subscriptions > 0) return false;
  return !s.connected() || d.queue.size() >= kResidentMessages || d.queued_bytes >= kResidentBytes;
}

// The session is looked at again when what this message needs is stored.
void Shard::wait_for_store(SessionId sid, const Delivery& delivery) {
  if (delivery.needs == kPending) {
    sink_->held.emplace_back(sid, delivery.number);
  } else if (delivery.needs > stored_ && (session_waits_.empty() || session_waits_.back().session != sid ||
                                          session_waits_.back().needs != delivery.needs)) {
    session_waits_.push_back({delivery.needs, sid});
  }
}

void Shard::append_to_tail(DeliveryState::Tail& tail, const Delivery& delivery) {
  if (tail.messages == 0 && !tail.loading) tail.from = delivery.number;
  ++tail.messages;
  tail.bytes += delivery.message ? delivery.message->size() : 0;
  if (delivery.needs == kPending) ++tail.unstored;
  tail.grew = true;
}

// The client is away: its queue is on disk, and need not be in memory.
void Shard::page_out(Session& s) {
  if (!s.durable || !s.delivery) return;
  DeliveryState& d = *s.delivery;
  if (d.tail.loading) {
    d.tail.loading = false;
    ++d.tail.ignore;
  }
  if (s.shared_subscriptions > 0) return;
  DeliveryState::Tail paged;
  const auto end = std::remove_if(d.queue.begin(), d.queue.end(), [&](const Delivery& waiting) {
    if (!waiting.stored) return false;
    unqueue(s, waiting);
    append_to_tail(paged, waiting);
    if (waiting.message) d.expiring.add(waiting.message->expires(), waiting.message->size());
    if (waiting.packet_id != 0) d.packet_ids.emplace_back(waiting.number, waiting.packet_id);
    return true;
  });
  d.queue.erase(end, d.queue.end());
  if (paged.messages == 0) return;
  stats_.queued_messages += paged.messages;
  stats_.queued_bytes += paged.bytes;
  d.tail.from = paged.from;  // they came before what is on disk already
  d.tail.messages += paged.messages;
  d.tail.bytes += paged.bytes;
  d.tail.unstored += paged.unstored;
}

// Asks for the next messages that are on disk only, when there is room for them.
void Shard::load_more(SessionId sid, Session& s) {
  if (!s.delivery) return;
  DeliveryState& d = *s.delivery;
  DeliveryState::Tail& tail = d.tail;
  if (tail.messages == 0 || tail.loading || tail.paused || tail.unstored > 0) return;
  if (s.shared_subscriptions == 0 && (!s.connected() || d.queue.size() >= kLowWater)) return;
  tail.loading = true;
  tail.grew = false;
  tail.asked_below = d.next_number;
  batch().loads.push_back({sid, s.key, tail.from, kLoadMessages, kLoadBytes});
}

void Shard::loaded(Loaded&& answer, base::Instant now) {
  Session* s = sessions_.find(answer.session);
  if (s == nullptr || !s->delivery) return;
  DeliveryState& d = *s->delivery;
  DeliveryState::Tail& tail = d.tail;
  if (tail.ignore > 0) {
    --tail.ignore;
    return;
  }
  tail.loading = false;
  for (StoredMessage& m : answer.messages) {
    // Before one that came since, others may wait for a joint change, and are not there yet.
    if (m.number >= tail.asked_below) {
      answer.next = tail.asked_below;
      break;
    }
    const std::size_t size = m.message ? m.message->size() : 0;
    // What is more than was known of has been counted by nobody.
    if (tail.messages > 0) {
      --tail.messages;
    } else {
      ++stats_.queued_messages;
      if (m.message) d.expiring.add(m.message->expires(), size);
    }
    const std::size_t known = std::min<std::size_t>(tail.bytes, size);
    tail.bytes -= known;
    stats_.queued_bytes += size - known;
    d.queued_bytes += size;
    tail.from = m.number + 1;
    m.terms.retained_at_subscribe = false;  // it counts as any other by now
    // The store keeps nothing of a released one but its number.
    if (m.released) m.terms.qos = mqtt::QoS::ExactlyOnce;
    if (m.terms.qos == mqtt::QoS::AtMostOnce) ++d.unnumbered_waiting;
    Delivery& delivery = d.queue.emplace_back();
    delivery.message = std::move(m.message);
    delivery.terms = std::move(m.terms);
    delivery.number = m.number;
    delivery.stored = true;
    delivery.released = m.released;
    delivery.kept = m.kept;
    const auto known_id = std::ranges::find(d.packet_ids, m.number, [](const auto& one) { return one.first; });
    if (known_id != d.packet_ids.end()) {
      delivery.packet_id = known_id->second;
      d.packet_ids.erase(known_id);
    }
  }
  if (answer.failed) {
    // Nothing may overtake what cannot be read: all that comes waits behind it.
    constexpr base::Duration kMostRarely = base::seconds(16);
    tail.paused = true;
    arm(now + tail.pause, TimerKind::Reload, answer.session.value());
    tail.pause = std::min(2 * tail.pause, kMostRarely);
  } else {
    tail.pause = base::seconds(1);
  }
  if (answer.next != 0) {
    tail.from = std::min(answer.next, tail.asked_below);
  } else if (!tail.grew) {
    const bool were_counted = tail.messages > 0;  // and are not there
    stats_.queued_messages -= tail.messages;
    stats_.queued_bytes -= tail.bytes;
    tail.messages = tail.bytes = 0;
    if (were_counted) count_expiring(d);
  }
  if (s->connected()) {
    pump(answer.session, *s, now);
  } else {
    load_more(answer.session, *s);
  }
}

void Shard::count_expiring(DeliveryState& d) {
  d.expiring.clear();
  for (const Delivery& waiting : d.queue) {
    if (!waiting.message || waiting.terms.retained_at_subscribe) continue;
    d.expiring.add(waiting.message->expires(), waiting.message->size());
  }
}

void Shard::reload_timer(SessionId sid) {
  Session* s = sessions_.find(sid);
  if (s == nullptr || !s->delivery) return;
  s->delivery->tail.paused = false;
  load_more(sid, *s);
}

void Shard::swept(const Swept& swept, base::Instant now) {
  Session* s = sessions_.find(swept.session);
  if (s == nullptr || !s->delivery) return;
  DeliveryState::Tail& tail = s->delivery->tail;
  tail.sweeping = false;
  swept_some(*s->delivery, swept.messages > 0, now);
  const std::uint64_t messages = std::min(tail.messages, swept.messages);
  const std::uint64_t bytes = std::min(tail.bytes, swept.bytes);
  tail.messages -= messages;
  tail.bytes -= bytes;
  stats_.queued_messages -= messages;
  stats_.queued_bytes -= bytes;
  stats_.publish_expired += messages;
  s->delivery->expiring.remove_first(messages, bytes);
  arm_sweep(swept.session, *s);
}

// --- the start

void Shard::recover(RecoveredFact&& recovered, base::Instant now) {
  if (auto* presence = std::get_if<RecoveredPresence>(&recovered)) recover_presence(*presence, now);
  if (auto* retained = std::get_if<RecoveredRetained>(&recovered)) recover_retained(retained->message);
  if (auto* session = std::get_if<RecoveredSession>(&recovered)) recover_session(*session, now);
}

void Shard::recover_presence(const RecoveredPresence& stored, base::Instant now) {
  auto record = decode_presence(stored.record);
  if (!record) {
    log(LogLevel::Warn, "presence_unreadable",
        "What was stored of client " + stored.client_id + " cannot be read: " + record.error());
    return;
  }
  const PresenceId id = presence_.restore(std::move(*record), moment(now));
  if (!id) return;
  PresenceRecord& kept = *presence_.find(id);
  const bool died = kept.connected;
  kept.connected = kept.has_session = false;
  if (!died) return;
  PresencePast& past = kept.change_past();
  const Moment at = moment(now);
  kept.reason = DisconnectReason::ServerFailure;
  past.disconnected_at_ms = at.unix_ms;
  past.detail = {};
  past.evidence.reset();
  past.verdict.reset();
  past.disconnects.add(at.unix_ms);
  note(kept,
       {.kind = PresenceEventKind::Disconnected,
        .reason = DisconnectReason::ServerFailure,
        .unix_ms = at.unix_ms,
        .incarnation = kept.incarnation,
        .address = kept.address},
       now);
}

void Shard::recover_retained(const MessagePtr& message) {
  last_sequence_ = std::max(last_sequence_, message->position().sequence);
  retained_.restore(message);
}

void Shard::recover_session(RecoveredSession& stored, base::Instant now) {
  PutSession& put = stored.session;
  last_sequence_ = std::max(last_sequence_, put.key.sequence);
  const PresenceId presence = presence_.open(put.client_id);
  PresenceRecord& record = *presence_.find(presence);
  // An older one was about to end when the broker died. It ends when time begins: then everybody is there who is to
  // have its will.
  if (Session* older = sessions_.find(record.session); older != nullptr) older->expires = now;
  const SessionId sid = sessions_.emplace();
  Session& s = sessions_.at(sid);
  s.client_id = record.client_id;
  s.self = {ShardCore::client_hash(s.client_id)};
  s.set_user_name(put.user_name);
  s.key = put.key;
  s.expiry_s = put.expiry_s;
  s.durable = put.expiry_s > 0;
  s.recovered = true;
  s.next_subscription = put.next_subscription;
  s.presence = presence;
  record.session = sid;
  record.has_session = true;
  record.keep_history();
  record.incarnation = std::max(record.incarnation, put.epoch);
  ++stats_.clients_disconnected;
  for (const mqtt::PacketId id : stored.unreleased) s.with_extras().unreleased.insert(id);
  for (PutSubscription& held : stored.subscriptions) recover_subscription(sid, s, held);
  if (stored.queued > 0 || put.sent_below > 0) {
    DeliveryState& d = delivery_of(s);
    // Of a client that was connected it is not known what had been sent. More than its window: what it acknowledged
    // need not have been stored.
    d.sent_below = put.connected ? std::max(stored.last_number + 1, put.sent_below) : put.sent_below;
    d.next_number = std::max(stored.last_number + 1, put.sent_below);
    d.tail.messages = stored.queued;
    d.tail.bytes = stored.queued_bytes;
    d.tail.from = stored.first_number;
    d.expiring = std::move(stored.expiring);
    for (const PutPacketId& one : stored.packet_ids) d.packet_ids.emplace_back(one.number, one.packet_id);
    stats_.queued_messages += stored.queued;
    stats_.queued_bytes += stored.queued_bytes;
  }
  if (!put.will.empty()) s.will = std::make_unique<SessionWill>(std::move(put.will.front()));
  const base::Duration grace = base::seconds(limits().will_restart_grace_s);
  if (put.connected) {
    // Its connection ended with the broker. A client that comes back soon enough has not been missed.
    const base::Duration expiry = base::seconds(s.expiry_s);
    if (s.will) s.will->due = now + std::max<base::Duration>(grace, base::seconds(s.will->delay_s));
    s.expires = s.expiry_s == mqtt::kNoSessionExpiry ? base::Instant::never()
                                                     : now + (s.will ? std::max(expiry, grace) : expiry);
    put_session(sid, s);
  } else {
    if (s.will) s.will->due = clock_.instant(put.will_due_ms);
    s.expires = clock_.instant(put.expires_ms);
  }
  load_more(sid, s);
}

// What fell due meanwhile finds all who are to hear of it: only now do timers run.
void Shard::recovered(base::Instant now) {
  presence_.restored(moment(now));
  mind_presence(now);
  sessions_.for_each([this](SessionId sid, Session& s) {
    if (s.connected()) return;
    arm_session(sid, s);
    arm_sweep(sid, s);
  });
}

void Shard::recover_subscription(SessionId sid, Session& s, PutSubscription& held) {
  const auto filter = mqtt::TopicFilter::parse(held.text);
  if (!filter) return;
  topics::Subscription subscription{};
  subscription.subscriber = sid.value();
  subscription.subscription_id = held.subscription_id;
  subscription.options = held.options;
  const auto added = subscriptions_.add(*filter, subscription);
  s.next_subscription = std::max(s.next_subscription, held.number + 1);
  s.add_subscription(held.text, held.number, filter->shared());
  if (filter->shared()) {
    ++s.shared_subscriptions;
    ++stats_.shared_subscriptions;
    group_changed(*filter, {.members = 1});
  } else if (added.first_of_filter) {
    interest_gained(*filter);
  }
}

}  // namespace vigil::broker
