// The state of one shard and its duties, a file a duty:
//   shard.cc         sockets come and go, effects                    packets.cc      bytes into packets, PINGREQ, AUTH
//   connect.cc       CONNECT: checks, admission, take-over           publish.cc      PUBLISH and PUBREL from clients,
//   routing leave.cc         connections and sessions end, wills             deliver.cc      messages to clients, their
//   acknowledgements subscribe.cc     SUBSCRIBE, UNSUBSCRIBE, interest                timers.cc       what time brings,
//   keep alive shard_mail.cc    what other shards say                           system_topics.cc $SYS
//
// Private to the folder: the world outside sees ShardCore.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "base/random.h"
#include "base/slot_map.h"
#include "base/timer_wheel.h"
#include "broker/access.h"
#include "broker/connection.h"
#include "broker/ending.h"
#include "broker/presence.h"
#include "broker/session.h"
#include "broker/shard_core.h"
#include "mqtt/decoder.h"
#include "mqtt/encoder.h"
#include "topics/interest_index.h"
#include "topics/retained_tree.h"
#include "topics/subscription_tree.h"

namespace vigil::broker {

struct RetainedTimerTag;

// What a timer asks when it fires.
enum class TimerKind : std::uint32_t {
  Connection,  // is it still silent? has its CONNECT come?
  WriteStall,  // does the peer still not read?
  Session,     // is the will due? is the session over?
  Retained,    // has the retained message expired?
  System,      // time for $SYS/broker
};

// Why a connection is ended, with what a table cannot know.
struct Departure {
  DisconnectReason cause = DisconnectReason::ConnectionClosed;
  std::optional<mqtt::ReasonCode> code;  // instead of the table's
  std::string_view field;                // of a protocol error: where in the packet
  std::string_view detail;               // and what; literals
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
  void wrote(ConnectionId id, std::size_t written, base::Instant now);
  void wall_clock(std::int64_t unix_ms, base::Instant now);
  bool kick(std::string_view client_id, base::Instant now);
  void reconfigure(const Limits& limits, const KeepAlivePolicy& keep_alive);
  bool shut_down(std::size_t limit, base::Instant now);
  base::Instant next_deadline() const { return wheel_.next_due(); }
  ShardCore::ClientView client(std::string_view client_id) const;
  const Stats& stats() const;

  // packets.cc
  void received(ConnectionId id, base::Bytes bytes, base::Instant now);
  void authenticated(ConnectionId id, AuthVerdict verdict, base::Instant now);
  // timers.cc
  void advance(base::Instant now);
  void judge(ConnectionId id, const std::optional<base::TcpEvidence>& evidence, base::Instant now);
  // shard_mail.cc
  void mail(Mail&& mail, base::Instant now);

  Effects& effects() { return effects_; }
  const Outbox* outbox(ConnectionId id) const;
  std::size_t connections() const { return connections_.size(); }
  std::size_t sessions() const { return sessions_.size(); }

 private:
  using Step = base::Result<void, Departure>;  // an error ends the connection

  // --- shard.cc
  Moment moment(base::Instant now) const {
    return {now, wall_ms_ + std::chrono::floor<base::milliseconds>(now - wall_at_).count()};
  }
  Outbox& outbox_of(ConnectionId id, Connection& c);
  void to_send(ConnectionId id, Connection& c);
  std::vector<std::uint8_t>& control_lane(ConnectionId id, Connection& c);
  void output_drained(ConnectionId id, Connection& c, base::Instant now);
  void log(LogLevel level, std::string_view event, std::string message,
           std::vector<std::pair<std::string_view, std::string>> fields = {});
  template <class T>
  void post(ShardId to, T&& body) {
    effects_.mail[to].push_back({setup_.id, std::forward<T>(body)});
  }
  template <class T>
  void post_to_others(const T& body) {
    for (unsigned to = 0; to < setup_.shards; ++to) {
      if (to != setup_.id) post(static_cast<ShardId>(to), T(body));
    }
  }
  Limits const& limits() const { return setup_.limits; }
  std::size_t share_of(std::size_t broker_limit) const { return (broker_limit + setup_.shards - 1) / setup_.shards; }

  // --- packets.cc
  void process(ConnectionId id, base::Bytes bytes, base::Instant now);
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

  // --- connect.cc
  Step check_connect(const Connection& c, const mqtt::Connect& packet, base::Instant now);
  Step admit(const Connection& c, const Session* existing, base::Instant now);
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
  static std::unique_ptr<Will> make_will(const mqtt::Will& will, const Limits& limits);

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
    bool matched = false;
    std::uint32_t waiting = 0;  // other shards that will send a receipt
  };
  Step publish(ConnectionId id, Connection& c, mqtt::Publish& packet, base::Instant now);
  Step pubrel(ConnectionId id, Connection& c, const mqtt::Ack& packet);
  Routed route(const MessagePtr& message, const ReceiptToken& token, base::Instant now);
  bool route_here(const MessagePtr& message, base::Instant now);
  bool share_here(std::string_view group, std::string_view filter, const MessagePtr& message, base::Instant now);
  // Where a share group's next message goes when it is not served here. nullopt: it was served here, or there is nobody
  // (`matched` tells).
  std::optional<ShardId> share_target(topics::InterestIndex::Group& group, topics::InterestIndex::Targets exclude,
                                      const MessagePtr& message, bool& matched, base::Instant now);
  void retain(const MessagePtr& message, base::Instant now);
  void settle_acks(ConnectionId id, Connection& c);
  void acknowledge(ConnectionId id, Connection& c, const AckQueue::Entry& entry);
  void send_ack(ConnectionId id, Connection& c, mqtt::PacketType type, mqtt::PacketId packet_id,
                mqtt::ReasonCode reason);
  MessagePtr broker_message(std::string_view topic, std::string_view payload, bool retain);
  Position next_position(base::Instant now);

  // --- shard_mail.cc
  void published_elsewhere(ShardId from, PublishMail& mail, base::Instant now);

  // --- deliver.cc
  void deliver(SessionId id, Session& s, const MessagePtr& message, const Terms& terms, base::Instant now);
  void enqueue(Session& s, const MessagePtr& message, const Terms& terms, base::Instant now);
  void drop_expired(Session& s, base::Instant now);
  bool window_open(const Connection& c, DeliveryState& d) const;
  void unqueue(Session& s, const Delivery& delivery);  // counts only
  // Takes what `gone(delivery)` names out of the queue, in one pass.
  template <class F>
  void drop_queued(Session& s, F&& gone) {
    auto& queue = s.delivery->queue;
    const auto end = std::remove_if(queue.begin(), queue.end(), [&](const Delivery& waiting) {
      if (!gone(waiting)) return false;
      unqueue(s, waiting);
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
  mqtt::ReasonCode subscribe_one(SessionId sid, Session& s, const Connection& c, const mqtt::Subscribe::Entry& entry,
                                 std::uint32_t subscription_id, base::Instant now);
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
  void retained_at_subscribe(SessionId sid, Session& s, std::string_view filter,
                             const topics::Subscription& subscription, base::Instant now);
  void tell_interest(InterestMail mail);
  std::uint64_t interest_applied() const;
  void interest_applied_by(ShardId other, std::uint64_t told, base::Instant now);
  void interest_of_others(ShardId from, const InterestMail& mail);

  // --- timers.cc
  void connection_timer(ConnectionId id, base::Instant now);
  void watch_unfinished(ConnectionId id, Connection& c, base::Instant since);
  void session_timer(SessionId id, base::Instant now);
  void retained_timer(std::uint64_t owner, base::Instant now);
  void arm_keep_alive(ConnectionId id, Connection& c);
  base::TimerId arm(base::Instant due, TimerKind kind, std::uint64_t id) {
    return wheel_.arm(due, {static_cast<std::uint32_t>(kind), id});
  }
  void stop(base::TimerId& timer) {
    if (timer) wheel_.cancel(timer);
    timer = {};
  }

  // --- system_topics.cc
  void note(PresenceRecord& record, PresenceEvent event, base::Instant now);
  void publish_broker_stats(base::Instant now);
  void start_feed(SessionId sid, Session& s, std::string_view filter, const topics::Subscription& subscription,
                  base::Instant now);
  void continue_feeds(SessionId sid, Session& s);
  void system_reply(SystemReplyMail& reply, base::Instant now);
  SystemReplyMail system_page(const SystemQueryMail& query, base::Instant now);
  LiveView live_view(const PresenceRecord& record) const;
  void watch_system_filter(std::string_view filter, int change);

  ShardSetup setup_;
  base::Instant start_;
  base::Random random_;
  base::TimerWheel wheel_;
  Effects effects_;

  base::SlotMap<Connection, ConnectionTag> connections_;
  base::SlotMap<Session, SessionTag> sessions_;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  boost::unordered_flat_map<std::string, SessionId, Hash, std::equal_to<>> by_client_;

  topics::SubscriptionTree subscriptions_;
  topics::InterestIndex interest_;  // of the other shards; of share groups: everybody's
  struct Retained {
    MessagePtr message;  // null: deleted, kept so that what is older does not come back
    Position position;
    base::TimerId timer;
    base::SlotId<RetainedTimerTag> timer_slot;
    std::size_t tombstone = 0;  // bytes that a deleted one counts for
  };
  void forget_retained(Retained& kept);
  topics::RetainedTree<Retained> retained_;
  std::size_t retained_count_ = 0;  // without the deleted
  std::size_t retained_bytes_ = 0;
  std::size_t tombstones_ = 0;
  std::size_t tombstone_bytes_ = 0;
  base::Instant retained_full_logged_;
  struct RetainedTimer {
    std::string topic;
  };
  base::SlotMap<RetainedTimer, RetainedTimerTag> retained_timers_;

  // SUBACKs that wait until every shard knows the new interest.
  struct PendingSubAck {
    ConnectionId connection;
    mqtt::PacketId packet_id = 0;
    boost::container::small_vector<mqtt::ReasonCode, 4> reasons;
    std::uint64_t needs = 0;  // what every other shard must have applied
  };
  std::deque<PendingSubAck> subacks_;  // in the order of what they need
  std::uint64_t interest_told_ = 0;
  std::vector<std::uint64_t> interest_applied_;  // by shard
  std::uint64_t retained_work_ = 0;              // retained messages looked at for subscriptions, ever
  // False if it is larger than the client takes.
  bool send_suback(const PendingSubAck& pending);
  static Departure answer_too_large();
  static bool fits(const Connection& c, const mqtt::Packet& packet);

  Presence presence_;
  mutable Stats stats_;
  std::uint64_t most_clients_ = 0;  // shard 0: connected at once, ever
  std::vector<Stats> all_stats_;    // shard 0: the last heard of each
  std::vector<std::pair<std::string, std::string>> published_stats_;
  std::size_t system_filters_ = 0;  // filters anywhere that may match $SYS/clients
  std::int64_t wall_ms_ = 0;
  base::Instant wall_at_;
  std::uint64_t last_sequence_ = 0;  // of positions
  std::uint64_t match_mark_ = 0;
  std::uint32_t next_feed_ = 1;
  base::Instant connects_window_;  // the second in which connects are counted
  std::uint32_t connects_in_window_ = 0;
  base::Instant refusals_window_;  // the second in which refusals are logged
  std::uint32_t refusals_in_window_ = 0;
  base::TimerId system_timer_;
  bool shutting_down_ = false;
  std::uint32_t shutdown_cursor_ = 0;

  // Reused from turn to turn.
  std::vector<base::TimerOwner> fired_;
  std::vector<std::unique_ptr<Outbox>> spare_outboxes_;
  std::vector<std::uint8_t> scratch_;
  struct Receiver {
    SessionId session;
    Terms terms;
  };
  std::vector<Receiver> receivers_;
};

}  // namespace vigil::broker
