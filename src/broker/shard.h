// The state of one shard and its duties, a file a duty:
//   shard.cc          sockets come and go, effects
//   packets.cc        bytes into packets, PINGREQ, AUTH
//   connect.cc        CONNECT: checks, admission, take-over
//   leave.cc          connections and sessions end, wills
//   publish.cc        PUBLISH and PUBREL from clients, routing
//   deliver.cc        messages to clients, their acknowledgements
//   subscribe.cc      SUBSCRIBE, UNSUBSCRIBE, interest
//   timers.cc         what time brings, keep alive
//   shard_mail.cc     what other shards say
//   presence_topics.cc  $SYS/clients: the presence of clients
//   durable.cc        what outlives the process: changes, joint changes, paging, recovery
//   packet_log.cc     what the log says of single packets
//
// Private to the folder: the world outside sees ShardCore.
#pragma once

#include <algorithm>
#include <deque>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/random.h"
#include "base/rate_window.h"
#include "base/slot_map.h"
#include "base/timer_wheel.h"
#include "broker/access.h"
#include "broker/connection.h"
#include "broker/ending.h"
#include "broker/outbox_pool.h"
#include "broker/presence.h"
#include "broker/retained_messages.h"
#include "broker/session.h"
#include "broker/shard_core.h"
#include "broker/shard_mask.h"
#include "broker/system_topics.h"
#include "broker/turn_clock.h"
#include "mqtt/decoder.h"
#include "mqtt/encoder.h"
#include "topics/interest_index.h"
#include "topics/subscription_tree.h"

namespace vigil::broker {

// What a timer asks when it fires.
enum class TimerKind : std::uint32_t {
  Connection,  // is it still silent? has its CONNECT come?
  WriteStall,  // does the peer still not read?
  Session,     // is the will due? is the session over?
  Retained,    // has the retained message expired?
  Answers,     // whose turn is it to be answered?
  Pings,       // has a PINGRESP stayed behind other answers for long enough?
  System,      // time for $SYS/broker
  Reload,      // can the session's messages be read again?
  Sweep,       // which messages of an absent client have expired?
  Presence,    // is a client to be forgotten?
};

// Why a connection is ended, with what a table cannot know.
struct Departure {
  DisconnectReason cause = DisconnectReason::ConnectionClosed;
  std::optional<mqtt::ReasonCode> code;  // instead of the table's
  std::string_view field;                // of a protocol error: where in the packet
  std::string_view detail;               // and what; literals
  std::string_view name;                 // the name in the packet that is wrong; borrowed for the call
  std::string text;                      // said to people instead of field and detail, where a literal cannot say it
  std::string_view client_id;            // of a refused CONNECT that was read; borrowed for the call
  std::string reason_string;             // for the client, where it wants one
  std::optional<base::TcpEvidence> evidence;
  bool silent = false;        // nothing may be said any more
  bool session_ends = false;  // take-over with Clean Start
};

class Shard {
 public:
  Shard(ShardSetup setup, base::Instant start);

  // shard.cc
  ConnectionId opened(PeerInfo peer, base::Instant now);
  ConnectionId adopted(HandOver handover, base::Instant now);
  void closed(ConnectionId id, SocketEnd end, const std::optional<base::TcpEvidence>& evidence, base::Instant now);
  const Outbox* wrote(ConnectionId id, std::size_t written, SocketRoom room, base::Instant now);
  void store_time(std::int64_t store_ms, base::Instant now) { clock_.set(store_ms, now); }
  void wall_time(WallTime wall) { setup_.wall = std::move(wall); }
  bool kick(std::string_view client_id, base::Instant now);
  void reconfigure(const Limits& limits, const KeepAlivePolicy& keep_alive);
  bool shut_down(std::size_t limit, base::Instant now);
  base::Instant next_deadline() const { return wheel_.next_due(); }
  ShardCore::ClientView client(std::string_view client_id) const;
  const Stats& stats() const;
  void log_from(LogLevel level) { log_from_ = level; }

  // packets.cc
  void received(ConnectionId id, base::Bytes bytes, base::Instant now);
  void allow(const Intake& intake);
  std::uint64_t changes_made() const { return emitted_; }
  bool behind() const { return !behind_.empty(); }
  bool behind(ConnectionId id) const;
  void catch_up(base::Instant now);
  void authenticated(ConnectionId id, AuthVerdict verdict, base::Instant now);
  void take_over(const TakeOver& takeover, base::Instant now);
  // timers.cc
  void advance(base::Instant now);
  void judge(ConnectionId id, const std::optional<base::TcpEvidence>& evidence, base::Instant now);
  void waits_to_be_read(ConnectionId id, base::Instant now);
  // shard_mail.cc
  void mail(Mail&& mail, base::Instant now);
  // durable.cc
  void stored(Stored&& answer, base::Instant now);
  void loaded(Loaded&& answer, base::Instant now);
  void swept(const Swept& swept, base::Instant now);
  void recover(RecoveredFact&& recovered, base::Instant now);
  void recovered(base::Instant now);
  void end_turn();

  Effects& effects() { return effects_; }
  std::uint64_t socket(ConnectionId id) const;
  const Outbox* outbox(ConnectionId id) const;
  std::size_t connections() const { return connections_.size(); }
  std::size_t sessions() const { return sessions_.size(); }

 private:
  using Step = base::Result<void, Departure>;  // an error ends the connection

  // --- shard.cc
  Moment moment(base::Instant now) const { return clock_.moment(now); }
  Connection::Output& with_outbox(Connection& c);
  Outbox& outbox_of(ConnectionId id, Connection& c);
  void to_send(ConnectionId id, Connection& c);
  std::vector<std::uint8_t>& control_lane(ConnectionId id, Connection& c);
  void output_drained(ConnectionId id, Connection& c, base::Instant now);
  bool logs(LogLevel level) const { return level >= log_from_; }
  void log(LogLevel level, std::string_view event, std::string message,
           std::vector<std::pair<std::string_view, std::string>> fields = {});
  template <class T>
  void post(ShardId to, T&& body) {
    effects_.mail_to.add(to);
    effects_.mail[to].push_back({setup_.id, std::forward<T>(body)});
  }
  template <class T>
  void post_to_others(const T& body) {
    for (unsigned to = 0; to < setup_.shards; ++to) {
      if (to != setup_.id) post(static_cast<ShardId>(to), T(body));
    }
  }
  Limits const& limits() const { return setup_.limits; }
  RetainedMessages::Bounds retained_bounds() const {
    return {.messages = limits().max_retained_messages, .bytes = limits().max_retained_bytes};
  }
  std::size_t share_of(std::size_t broker_limit) const { return (broker_limit + setup_.shards - 1) / setup_.shards; }

  // --- packets.cc
  void process(ConnectionId id, base::Bytes bytes, base::Instant now);
  bool room_for(mqtt::PacketType type) const;
  static void look_at_owed(Connection& c);
  static bool is_owed(const Connection& c, std::size_t part);
  void answered(ConnectionId id);
  void send_pingresp(ConnectionId id, Connection& c);
  void hold_ping(ConnectionId id, Connection& c, base::Instant now);
  void release_pings(ConnectionId id);
  void resume_if_owed_less(ConnectionId id, Connection& c);
  void put_off(ConnectionId id, Connection& c, base::Bytes bytes, base::Instant now);
  void go_on(ConnectionId id, base::Instant now);
  void finish_input(ConnectionId id, base::Instant now);
  std::uint32_t max_packet_size(bool connecting) const {
    return connecting ? std::min(limits().max_connect_size, limits().max_packet_size) : limits().max_packet_size;
  }
  Step first_packet(ConnectionId id, const mqtt::FrameHeader& header, base::Bytes frame, base::Bytes rest, bool& moved,
                    base::Instant now);
  Step packet(ConnectionId id, Connection& c, const mqtt::FrameHeader& header, base::Bytes body, base::Instant now);
  Step disconnect_packet(ConnectionId id, Connection& c, const mqtt::Disconnect& packet, base::Instant now);
  Step auth_packet(ConnectionId id, Connection& c, const mqtt::Auth& packet);
  void heard(Connection& c, base::Instant now);
  static Departure malformed(const mqtt::DecodeError& error);
  Departure bad_header(Connection& c, base::Bytes bytes, const mqtt::DecodeError& error) const;
  static Departure not_a_connect(base::Bytes bytes);

  // --- connect.cc
  Step check_connect(const Connection& c, const mqtt::Connect& packet, base::Instant now);
  Step admit(const Connection& c, const Session* existing, base::Instant now);
  Step welcome(ConnectionId id, Connection& c, const mqtt::Connect& packet, base::Bytes frame,
               std::string_view auth_data, ConnectionId drained, base::Instant now);
  Step begin_authentication(ConnectionId id, Connection& c, const mqtt::Connect& packet);
  Step attach(ConnectionId id, Connection& c, const mqtt::Connect& packet, std::string_view auth_data,
              base::Instant now);
  // The answer to an accepted CONNECT, but for Session Present. The texts it needs are kept in `texts`.
  struct ConnAckTexts {
    std::string_view client_id;
    std::string_view assigned_id;
    std::string_view auth_data;
    std::string response_information;
  };
  mqtt::ConnAck make_connack(const Connection& c, const mqtt::Connect& packet, std::uint32_t keep_alive_s,
                             ConnAckTexts& texts) const;
  std::string new_client_id();

  // --- leave.cc
  void leave(ConnectionId id, const Departure& departure, base::Instant now);
  void refuse(ConnectionId id, Connection& c, const Departure& departure, base::Instant now);
  void close_effect(ConnectionId id, Connection& c, DisconnectReason reason);
  void client_away(SessionId session_id, Session& s, const Departure& departure, base::Instant now);
  void end_session(SessionId id, base::Instant now);
  void publish_will(Session& s, base::Instant now);
  void cancel_will(Session& s, base::Instant now);
  void arm_session(SessionId id, Session& s);

  // --- publish.cc
  struct Routed {
    Outcome outcome = Outcome::NoSubscriber;  // of receivers on this shard; others say theirs in a receipt
    std::uint32_t waiting = 0;                // other shards that will send a receipt
  };
  Step publish(ConnectionId id, Connection& c, mqtt::Publish& packet, base::Instant now);
  std::uint64_t take_exactly_once(Session& s, mqtt::PacketId packet_id);
  Step pubrel(ConnectionId id, Connection& c, const mqtt::Ack& packet);
  Routed route(const MessagePtr& message, const ReceiptToken& token, base::Instant now);
  Outcome route_here(const MessagePtr& message, base::Instant now);
  // Nothing if the group has no member on this shard.
  std::optional<Outcome> share_here(std::string_view group, std::string_view filter, const MessagePtr& message,
                                    base::Instant now);
  // Gives a message to the next member of a share group: here, or on the shard that is named. Neither: there is nobody.
  struct SharePlace {
    std::optional<ShardId> elsewhere;
    Outcome here = Outcome::NoSubscriber;
  };
  SharePlace share_out(topics::InterestIndex::Group& group, ShardMask exclude, const MessagePtr& message,
                       base::Instant now);
  void retain(const MessagePtr& message, base::Instant now);
  bool stores_retained(std::string_view topic) const;
  Step forget_asked(ConnectionId id, Connection& c, const mqtt::Publish& packet, AckQueue::Entry answer,
                    base::Instant now);
  void settle_acks(ConnectionId id, Connection& c);
  bool give_back(ConnectionId id, Connection& c, AckQueue::Entry& entry);
  void send_answer(ConnectionId id, Connection& c, const AckQueue::Entry& entry);
  void acknowledge(ConnectionId id, Connection& c, const AckQueue::Entry& entry);
  void send_ack(ConnectionId id, Connection& c, mqtt::PacketType type, mqtt::PacketId packet_id,
                mqtt::ReasonCode reason);
  MessagePtr broker_message(std::string_view topic, std::string_view payload, bool retain);
  Position next_position(base::Instant now);

  // --- shard_mail.cc
  void published_elsewhere(ShardId from, PublishMail& mail, base::Instant now);
  void receipt(const ReceiptMail& receipt);
  void forget_elsewhere(ShardId from, const ForgetMail& mail, base::Instant now);

  // --- durable.cc
  // A batch number that no batch has: what waits for it waits for a joint change.
  static constexpr std::uint64_t kPending = UINT64_MAX;
  // Changes that are written as one with those of other shards; here those of this shard. While one is open, what is
  // emitted goes into it.
  struct Joint {
    JointId id = 0;
    std::uint32_t waiting = 0;  // receipts of other shards that have not come
    Outcome outcome = Outcome::NoSubscriber;
    bool refusable = false;  // its publisher is told if nobody had room for it
    std::vector<Change> changes;
    std::vector<std::pair<SessionId, std::uint64_t>> held;     // messages here that wait for it, by number
    std::vector<std::pair<ConnectionId, std::uint32_t>> acks;  // that are owed once it is stored
    SessionId publisher;                                       // of a QoS 2 message
    mqtt::PacketId packet_id = 0;                              // its identifier
    SessionId session;                                         // whose record belongs to it
    std::vector<SessionKey> ended;                             // whose ends belong to it
  };
  // Opens a joint change for its life, unless one is open.
  class JointScope {
   public:
    // One that already waits with the session's record grows instead: else the record would be written with the later
    // one, without what the earlier one has made of it.
    JointScope(Shard& shard, bool wanted, JointId waiting = 0)
        : shard_(shard), open_(wanted && shard.setup_.durable && shard.sink_ == nullptr) {
      if (open_) shard_.open_joint(0, waiting);
    }
    JointScope(const JointScope&) = delete;
    JointScope& operator=(const JointScope&) = delete;
    ~JointScope() { close(); }
    // The joint that waits for other shards now, if any.
    JointId close() {
      if (!open_) return 0;
      open_ = false;
      return shard_.close_joint();
    }

   private:
    Shard& shard_;
    bool open_;
  };
  StoreBatch& batch();
  void open_batch();
  void emit(Change&& change);
  // The batch in which what has just been emitted is, or kPending.
  std::uint64_t needs() const { return sink_ != nullptr ? kPending : last_batch_; }
  void put_session(SessionId sid, Session& s);
  bool begins_after_the_last(SessionId sid, Session& s, const PresenceRecord& record);
  void store_session(SessionId sid, Session& s, base::Instant now);
  void dequeued(const Session& s, const Delivery& delivery, bool released);
  void open_joint(JointId id, JointId waiting = 0);
  JointId close_joint();
  void close_part();
  void emit_end(const SessionKey& key, bool alone = false);
  void commit_changes(Joint& joint);
  void joint_receipt(JointId id, Outcome outcome);
  void joint_stored(JointId id, base::Instant now);
  void forget_refused(const Joint& joint);
  void held_until(SessionId sid, std::uint64_t number, std::uint64_t batch);
  Joint* joint_of(SessionId publisher, mqtt::PacketId packet_id);
  void hold(ConnectionId id, Connection& c, std::uint64_t batch);
  void answer_when_stored(ConnectionId id, Connection& c, std::uint64_t needs, base::Bytes packet);
  void send_receipt(ShardId to, const ReceiptToken& token, Outcome outcome, std::uint64_t needs);
  bool belongs_on_disk(const Session& s, const Delivery& delivery) const;
  static void append_to_tail(DeliveryState::Tail& tail, const Delivery& delivery);
  void page_out(Session& s);
  static void count_expiring(DeliveryState& d);
  void reload_timer(SessionId sid);
  void load_more(SessionId sid, Session& s);
  void wait_for_store(SessionId sid, const Delivery& delivery);
  void recover_presence(const RecoveredPresence& stored, base::Instant now);
  void recover_retained(const MessagePtr& message);
  void recover_session(RecoveredSession& stored, base::Instant now);
  void recover_subscription(SessionId sid, Session& s, PutSubscription& held);

  // --- deliver.cc
  // Dropped: the session's queue is full.
  Outcome deliver(SessionId id, Session& s, const MessagePtr& message, const Terms& terms, base::Instant now);
  Outcome enqueue(SessionId sid, Session& s, const MessagePtr& message, const Terms& terms, base::Instant now);
  bool queue_has_room(const DeliveryState& d, std::size_t size, bool retained_at_subscribe, base::Instant now) const;
  void drop_expired(SessionId sid, Session& s, base::Instant now);
  static void swept_some(DeliveryState& d, bool found, base::Instant now);
  void arm_sweep(SessionId sid, Session& s);
  void sweep_timer(SessionId sid, base::Instant now);
  bool window_open(const Connection& c, const DeliveryState& d) const;
  bool identify(SessionId sid, Session& s, Delivery& next);
  void unqueue(Session& s, const Delivery& delivery);  // counts only
  void send_pubrel(ConnectionId id, Connection& c, mqtt::PacketId packet_id, std::uint64_t needs);
  // The first time on its way; false if it is larger than the client takes, and counts as delivered.
  bool launch(SessionId sid, Session& s, Connection& c, Delivery&& delivery, base::Instant now);
  // Takes what `gone(delivery)` names out of the queue, in one pass.
  template <class F>
  void drop_queued(Session& s, F&& gone) {
    auto& queue = s.delivery->queue;
    const auto end = std::remove_if(queue.begin(), queue.end(), [&](const Delivery& waiting) {
      if (!gone(waiting)) return false;
      unqueue(s, waiting);
      dequeued(s, waiting, waiting.released);
      return true;
    });
    queue.erase(end, queue.end());
  }
  // Sends what the window and the output allow, oldest first.
  void pump(SessionId id, Session& s, base::Instant now);
  enum class Sent { Yes, TooLarge };
  Sent send_publish(ConnectionId id, Connection& c, const MessagePtr& message, const Terms& terms,
                    mqtt::PacketId packet_id, bool dup, base::Instant now);
  Step client_ack(ConnectionId id, Connection& c, const mqtt::Ack& packet, base::Instant now);
  void resume(Session& s);
  bool room(const Connection& c) const { return !c.outbox || c.outbox->data_size() < limits().max_output_bytes; }
  DeliveryState& delivery_of(Session& s);
  void redistribute(Session& s, bool session_gone, base::Instant now);

  // --- subscribe.cc
  Step subscribe(ConnectionId id, Connection& c, const mqtt::Subscribe& packet, base::Instant now);
  Step unsubscribe(ConnectionId id, Connection& c, const mqtt::Unsubscribe& packet, base::Instant now);
  mqtt::ReasonCode subscribe_one(Connection& c, Session& s, const mqtt::Subscribe::Entry& entry,
                                 std::uint32_t subscription_id, RetainedWishes& wishes);
  mqtt::ReasonCode too_many_subscriptions(Connection& c, const Session& s, std::string_view key);
  bool drop_subscription(SessionId sid, Session& s, const mqtt::TopicFilter& filter, std::string_view text);
  void interest_gained(const mqtt::TopicFilter& filter);
  void interest_lost(const mqtt::TopicFilter& filter);
  // The members of a share group here changed in number, or one of them came or went.
  struct MembersChange {
    int members = 0;
    int connected = 0;
  };
  void group_changed(const mqtt::TopicFilter& filter, MembersChange change);
  void members_came_or_went(const Session& s);
  void tell_interest(InterestMail mail);
  std::uint64_t interest_applied() const;
  void interest_applied_by(ShardId other, std::uint64_t told, base::Instant now);
  void interest_of_others(ShardId from, const InterestMail& mail);

  // --- packet_log.cc
  // One line a packet at the level trace. Callers ask logs(LogLevel::Trace) first: that is all it costs when off.
  void trace_received(const Connection& c, const mqtt::FrameHeader& header, base::Bytes body);
  void trace_sent(const Connection& c, base::Bytes packet, std::string_view topic = {});  // `topic`: of a PUBLISH
  void trace(const Connection& c, std::string_view direction, const mqtt::Packet& packet);
  std::string_view name_of(const Connection& c) const;
  bool may_log_refusal(base::Instant now);
  void log_subscribed(const Connection& c, std::string_view filter, mqtt::ReasonCode result, base::Instant now);
  void log_unsubscribed(const Connection& c, std::string_view filter, mqtt::ReasonCode result);
  void log_not_published(const Connection& c, std::string_view topic, mqtt::ReasonCode why, base::Instant now);
  void log_nobody(const Connection& c, std::string_view topic, bool retained);

  // --- timers.cc
  void connection_timer(ConnectionId id, base::Instant now);
  void watch_unfinished(ConnectionId id, Connection& c, base::Instant since);
  void session_timer(SessionId id, base::Instant now);
  void retained_timer(std::uint64_t timer_id, base::Instant now);
  void system_timer(base::Instant now);
  void publish_figures(const SystemTopics::Texts& figures, base::Instant now);
  void arm_keep_alive(ConnectionId id, Connection& c);
  base::TimerId arm(base::Instant due, TimerKind kind, std::uint64_t id) {
    return wheel_.arm(due, {static_cast<std::uint32_t>(kind), id});
  }
  void stop(base::TimerId& timer) {
    if (timer) wheel_.cancel(timer);
    timer = {};
  }

  // --- presence_topics.cc
  // What a client has sent and got on this connection.
  void count(Connection& c, std::uint32_t Connection::* counter, std::size_t more) {
    const auto before = c.*counter;
    c.*counter += static_cast<std::uint32_t>(more);
    if (c.*counter < before) carry(c, counter);
  }
  void carry(Connection& c, std::uint32_t Connection::* counter);
  // Of a connection that is connected.
  PresenceRecord& presence_of(const Connection& c) { return *presence_.find(sessions_.at(c.session).presence); }
  void note(PresenceRecord& record, const PresenceEvent& event, base::Instant now);
  bool outlives_a_restart(const PresenceRecord& record) const;
  void tell(const PresenceRecord& record, const PresenceEvent& event, base::Instant now);
  bool has_readers(std::string_view topic);
  Presence::Bounds presence_bounds() const;
  void mind_presence(base::Instant now);
  void presence_timer(base::Instant now);
  bool end_is_stored(const PresenceRecord& record) const;
  void tell_forgotten(PresenceRecord& record, base::Instant now);
  mqtt::ReasonCode forget(std::string_view client_id, std::string_view asked_by, base::Instant now);
  void start_feed(Session& s, std::string_view filter, const topics::Subscription& subscription);
  static void drop_feed(Session& s, std::string_view filter);
  void continue_feeds(SessionId sid, Session& s);
  void system_reply(SystemReplyMail& reply, base::Instant now);
  SystemReplyMail system_page(const SystemQueryMail& query, base::Instant now);
  LiveView live_view(const PresenceRecord& record) const;
  void watch_system_filter(std::string_view filter, int change);

  ShardSetup setup_;
  base::Instant start_;
  base::Random random_;
  LogLevel log_from_ = LogLevel::Info;
  base::TimerWheel wheel_;
  Effects effects_;

  base::SlotMap<Connection, ConnectionTag> connections_;
  base::SlotMap<Session, SessionTag> sessions_;
  // Of a client id: its record has it. Null if there is none.
  const Session* client_session(std::string_view client_id) const;

  topics::SubscriptionTree subscriptions_;
  topics::InterestIndex interest_;  // of the other shards; of share groups: everybody's
  RetainedMessages retained_;

  std::deque<PendingSubAck> subacks_;        // that wait for other shards and the store, in the order of what they need
  std::deque<PendingSubAck> retained_acks_;  // whose retained messages are being stored, by batch
  std::deque<ConnectionId> answer_ring_;     // connections whose answers wait for their turn
  base::TimerId answers_timer_;
  std::uint64_t interest_told_ = 0;
  std::vector<std::uint64_t> interest_applied_;  // by shard
  std::uint64_t retained_work_ = 0;              // retained messages looked at for subscriptions, ever
  std::uint64_t retained_work_from_ = 0;         // when the turn began
  void line_up(Connection& c, PendingSubAck&& pending, base::Instant now);
  void settle_subacks(base::Instant now);
  bool has_turn() const;
  void wait_for_turn(Connection& c, PendingSubAck&& pending, base::Instant now);
  void serve_ring(base::Instant now);
  void give_answer(PendingSubAck& pending, base::Instant now);
  bool finish_answer(const PendingSubAck& pending, base::Instant now);
  static bool still_wished(const Session& s, const RetainedWish& wish);
  void grant_wish(SessionId sid, Session& s, const RetainedWish& wish, base::Instant now);
  void queue_wish(SessionId sid, Session& s, const RetainedWish& wish, base::Instant now);
  void follow_clients(SessionId sid, Session& s, const RetainedWish& wish);
  template <class F>
  void for_each_retained(const Session& s, const RetainedWish& wish, base::Instant now, F&& give);
  // False if it is larger than the client takes.
  bool send_suback(Connection& c, const PendingSubAck& pending);
  static Departure answer_too_large();
  static bool fits(const Connection& c, const mqtt::Packet& packet);

  Presence presence_;
  base::TimerId presence_timer_;  // armed for presence_due_
  base::Instant presence_due_ = base::Instant::never();
  mutable Stats stats_;
  SystemTopics system_topics_;
  std::size_t system_filters_ = 0;  // filters anywhere that may match $SYS/clients
  TurnClock clock_;
  std::uint64_t last_sequence_ = 0;  // of positions
  std::uint32_t next_feed_ = 1;
  base::RateWindow connects_;
  base::RateWindow refusals_logged_;
  base::TimerId system_timer_;
  bool shutting_down_ = false;
  std::uint32_t shutdown_cursor_ = 0;

  // What is on its way to the store, and what waits for it; each list in the order of its batches.
  Joint joint_;            // while it is open
  Joint* sink_ = nullptr;  // where changes go instead of the open batch
  boost::unordered_flat_map<JointId, Joint> joints_;
  std::set<SessionKey> ended_meanwhile_;  // while joints wait
  std::size_t prune_ended_at_ = 1'024;
  std::uint64_t next_joint_ = 0;
  std::uint64_t last_batch_ = 0;  // the newest, open or handed over
  std::uint64_t stored_ = 0;      // all batches up to this one
  std::uint64_t emitted_ = 0;     // changes, ever
  Intake intake_;
  std::uint64_t intake_from_ = 0;  // of emitted_, when the intake was set
  std::deque<ConnectionId> behind_;
  bool finishing_ = false;  // what a connection has said is acted upon before it ends, whatever there is room for
  struct Held {
    std::uint64_t needs = 0;
    ConnectionId connection;
  };
  std::deque<Held> holds_;
  std::deque<Held> ack_waits_;
  struct PendingAnswer {
    std::uint64_t needs = 0;
    ConnectionId connection;
    boost::container::small_vector<std::uint8_t, 8> packet;
  };
  std::deque<PendingAnswer> answers_;
  struct PendingReceipt {
    std::uint64_t needs = 0;
    ShardId to = 0;
    ReceiptMail mail;
  };
  std::deque<PendingReceipt> receipts_;
  struct SessionWait {
    std::uint64_t needs = 0;
    SessionId session;
  };
  std::deque<SessionWait> session_waits_;
  // Messages passed on to another shard, whose receipt is passed back.
  struct Relay {
    ShardId to = 0;
    ReceiptToken token;
    std::uint32_t waiting = 0;
    Outcome outcome = Outcome::NoSubscriber;
  };
  boost::unordered_flat_map<std::uint32_t, Relay> relays_;
  std::uint32_t next_relay_ = 0;
  std::vector<std::string> unstored_presence_;

  // Reused from turn to turn.
  std::vector<base::TimerOwner> fired_;
  OutboxPool spare_outboxes_;
  std::vector<std::uint8_t> scratch_;
  struct Receiver {
    SessionId session;
    Terms terms;
  };
  std::vector<Receiver> receivers_;
};

}  // namespace vigil::broker
