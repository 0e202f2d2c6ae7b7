// What MQTT and MISSION promised, held against what the core did at its sockets.
//
// It watches every packet that the core read and wrote, with the virtual time, and keeps its own plain model of
// connections, sessions, subscriptions, messages and wills. A violation is recorded with its time; the first one ends
// the run.
//
// Crashes. What was acknowledged is in the store and has to come back; what was decided before the moment that
// on_crash() names is in the store, too. What was decided later may be stored or not: then the model takes both for
// right, and learns from what the broker says next which it was. The same goes for a CONNECT that was read and whose
// CONNACK still waited for the store when its connection ended.
//
// It trusts names: every application message has a payload whose first word is unique (the rest is padding), and is
// published to a topic that begins with `t/` (ordinary subscriptions), `s/` (shared subscriptions only) or `w/` (wills,
// read by the watcher `watcher`).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "broker/limits.h"
#include "mqtt/packet.h"
#include "sim/framer.h"
#include "sim/world.h"

namespace vigil::sim {

inline constexpr std::string_view kWatcher = "watcher";

class Oracle final : public Observer {
 public:
  // Prints every packet when `verbose`.
  explicit Oracle(bool verbose) : verbose_(verbose) {}
  void watch(const World& world) { world_ = &world; }

  void on_read(LinkId link, base::Bytes bytes, base::Instant now) override;
  void on_judged(LinkId link, base::Instant now) override;
  void on_write(LinkId link, base::Bytes bytes, base::Instant now) override;
  void on_offer(LinkId link, base::Bytes bytes, base::Instant now) override;
  void on_close(LinkId link, broker::DisconnectReason reason, base::Instant now) override;
  void on_end(LinkId link, broker::SocketEnd end, base::Instant now) override;
  void on_arrival(LinkId link, base::Bytes bytes, base::Instant now) override;
  void on_turn(unsigned shard, base::Instant now) override;
  void on_crash(base::Instant stored_before, base::Instant now) override;
  void on_restart(base::Instant now) override;

  // Every client has come back, reads and acknowledges, and time has passed: nothing may be owed any more.
  void settled(base::Instant now);
  // Everybody has left for good.
  void empty(base::Instant now);

  // These have subscribed to everything in peace: all of them, on whichever shard, in whichever process, have found the
  // same retained messages.
  void same_retained(const std::vector<LinkId>& readers);

  bool ok() const { return violation_.empty(); }
  const std::string& violation() const { return violation_; }

  struct Counts {
    std::uint64_t connects = 0;
    std::uint64_t publishes = 0;
    std::uint64_t deliveries = 0;
    std::uint64_t redeliveries = 0;
    std::uint64_t timeouts = 0;
    std::uint64_t takeovers = 0;
    std::uint64_t wills_published = 0;
    std::uint64_t wills_cancelled = 0;
    std::uint64_t crashes = 0;
    std::uint64_t uncertain_wills = 0;     // that a crash left to chance
    std::uint64_t uncertain_sessions = 0;  // likewise
    std::uint64_t obligations = 0;         // deliveries that had to happen, and were looked for
  };
  const Counts& counts() const { return counts_; }

 private:
  using Instant = base::Instant;

  struct WillState {
    std::string key;
    std::string client;
    base::Duration delay{0};
    LinkId link = 0;
    bool armed = false;                // its CONNECT was accepted
    bool cancelled = false;            // the client said goodbye
    bool held = false;                 // its CONNECT may have been accepted: the CONNACK waited for the store
    Instant ended = Instant::never();  // its connection
    // When it is to be published, unless something happens before.
    Instant due_from = Instant::never();
    Instant due_to = Instant::never();
    Instant decided = Instant::never();     // when that was last decided
    base::Duration after_restart_least{0};  // what a process waits that finds it as a connected client's
    base::Duration after_restart_most{0};
    bool ends_with_session = false;  // which has no expiry: any CONNECT ends it
    bool doubtful = false;           // published or not: both are right
    bool may_be_both = false;        // published before the session that was resumed began
    unsigned shard = 0;
    // The next CONNACK of this client id after that, and when its CONNECT was read.
    Instant next_connack = Instant::never();
    Instant next_read = Instant::never();
    bool resumed = false;
    std::vector<Instant> seen;  // written to the watcher
  };

  struct Publication {
    std::string topic;
    std::string publisher;
    mqtt::QoS qos = mqtt::QoS::AtMostOnce;
    bool retain = false;
    bool will = false;
    bool expires = false;
    std::vector<std::uint64_t> reads;  // sequence numbers
    std::uint64_t earliest = 0;        // of these, and of those that a crash has perhaps taken
    std::size_t retried = 0;           // at QoS 2, after a crash took the first copy, perhaps
    Instant first_read;
    Instant last_read;
    Instant acknowledged = Instant::never();
    // At QoS 2 a copy came before the first was answered. The answer to a copy says that the broker has the message,
    // not that it has reached every shard.
    bool repeated = false;
  };

  struct Interval {
    std::string filter;  // without `$share/group/`
    std::string group;
    std::uint64_t session = 0;  // its generation
    std::string client;
    mqtt::QoS qos = mqtt::QoS::AtMostOnce;
    bool no_local = false;
    Instant asked;                       // SUBSCRIBE read
    Instant granted = Instant::never();  // SUBACK written
    Instant dropped = Instant::never();  // UNSUBSCRIBE read, or the session's end
    Instant gone = Instant::never();     // UNSUBACK written, or the session's end
    bool ended = false;                  // the latter
  };

  struct Outflight {
    std::string key;
    mqtt::QoS qos = mqtt::QoS::AtLeastOnce;
    bool released = false;  // PUBREC read
    LinkId link = 0;        // last sent on
    std::uint64_t order = 0;
    bool perhaps_too_large = false;  // for a later connection
    bool retained = false;           // came with a new subscription
    Instant sent;                    // first
    Instant recorded;                // PUBREC read
    bool pubrel = false;             // PUBREL written: the store knows of the PUBREC
    // After a crash: whether the store had it, had the PUBREC, had its end, is not known.
    bool perhaps_lost = false;
    bool perhaps_unrecorded = false;
    bool perhaps_done = false;
  };

  struct Delivery {
    std::string client;
    std::uint64_t session = 0;
    Instant at;
    mqtt::QoS qos = mqtt::QoS::AtMostOnce;
    Instant acknowledged = Instant::never();
    bool kept = false;  // the session had an expiry: it was stored before it was sent at QoS 2
  };

  // The client has acknowledged it; whether the store knows is another matter.
  struct Finished {
    mqtt::PacketId packet_id = 0;
    Outflight out;
    Instant at;
  };

  struct Session {
    std::uint64_t generation = 0;
    bool exists = false;
    std::optional<LinkId> link;  // while connected
    // While it is away: it ends between these.
    Instant ends_from;
    Instant ends_to;
    Instant decided;                        // when that was last decided
    base::Duration after_restart_least{0};  // how long a process keeps it that finds it as a connected client's
    base::Duration after_restart_most{0};
    bool keeps_nothing = false;     // it had no expiry in CONNECT
    bool ended_at_once = false;     // with its connection, at `decided`
    bool perhaps_gone = false;      // a CONNECT without an answer may have ended it, and begun another
    bool perhaps_begun = false;     // there is none, or one that such a CONNECT has begun
    bool perhaps_another = false;   // it may be one that such a CONNECT has begun
    Instant surely_since;           // what was delivered before that may have been another session's
    std::uint64_t connections = 0;  // that it has had
    std::deque<Finished> finished;  // lately
    std::map<mqtt::PacketId, Outflight> outflight;
    std::map<mqtt::PacketId, std::string> unreleased;  // QoS 2 received from the client
    // First deliveries: what was last, by publisher, topic and qualities of service.
    std::map<std::string, std::uint64_t> last_order;
  };

  struct PendingSubscribe {
    std::vector<std::size_t> intervals;
    std::size_t count = 0;
  };

  struct Conn {
    bool opened = false;
    bool over = false;
    Instant opened_at;
    Framer in;
    Framer out;
    Framer arriving;
    std::optional<mqtt::Version> version;
    bool connected = false;  // the core has answered with a CONNACK of success
    bool connack_written = false;
    bool refused = false;
    Instant connect_read;
    std::string client;
    bool clean = true;
    std::uint32_t keep_alive_s = 0;
    base::Duration expiry{0};
    bool for_ever = false;
    bool expiry_zero = false;
    base::Duration connect_expiry{0};  // before a DISCONNECT changed it
    bool connect_for_ever = false;
    std::uint32_t receive_maximum = 65535;
    std::uint32_t max_packet = 0;
    std::uint32_t alias_maximum = 0;
    std::optional<std::size_t> will;       // into wills_
    Instant last_arrival;                  // of a complete packet, at the socket
    base::Duration silent_when_judged{0};  // since that
    Instant last_read;                     // of a complete packet, by the core
    std::uint64_t part_bytes = 0;
    bool goodbye = false;  // DISCONNECT of the kind that cancels the will was read last
    std::uint64_t generation = 0;
    std::map<std::string, std::string> retained;  // by topic, what came as such
    std::map<std::uint32_t, std::string> aliases_in;
    std::map<std::uint32_t, std::string> aliases_out;
    std::set<mqtt::PacketId> outstanding;
    std::uint64_t resend_order = 0;
    // Requests without an answer.
    std::uint64_t pings = 0;
    std::map<mqtt::PacketId, PendingSubscribe> subscribes;
    std::map<mqtt::PacketId, std::vector<std::size_t>> unsubscribes;
    std::map<mqtt::PacketId, std::string> publishes1;
    std::map<mqtt::PacketId, std::string> publishes2;
    std::map<mqtt::PacketId, std::uint32_t> pubrels;
  };

  Conn& conn(LinkId link);
  void fail(LinkId link, std::string what);
  void print(LinkId link, std::string_view direction, const mqtt::Packet& packet) const;

  void packet_read(LinkId link, Conn& c, const mqtt::Packet& packet);
  void connect_read(LinkId link, Conn& c, const mqtt::Connect& packet);
  void publish_read(LinkId link, Conn& c, const mqtt::Publish& packet);
  void ack_read(Conn& c, const mqtt::Ack& packet);
  void subscribe_read(Conn& c, const mqtt::Subscribe& packet);
  void unsubscribe_read(Conn& c, const mqtt::Unsubscribe& packet);

  void packet_written(LinkId link, Conn& c, const mqtt::Packet& packet, std::size_t size);
  void connack_offered(LinkId link, Conn& c, const mqtt::ConnAck& packet);
  void publish_written(LinkId link, Conn& c, const mqtt::Publish& packet);
  bool given_away(const Outflight& out) const;
  void first_delivery(LinkId link, Conn& c, Session& s, const mqtt::Publish& packet, const std::string& key);
  void shared_delivery(LinkId link, const Publication& publication, const std::string& key, const Conn& c,
                       const mqtt::Publish& packet);
  void ack_written(LinkId link, Conn& c, const mqtt::Ack& packet);

  void session_check(LinkId link, Conn& c, Session& s, bool present);
  void end_intervals(const std::string& client, std::uint64_t generation, Instant when);
  void owe_nothing(const std::string& client, std::uint64_t generation);
  unsigned home(const std::string& client) const;
  void connection_over(LinkId link, Conn& c, broker::DisconnectReason reason);
  void unanswered(Conn& c, Instant from);
  void will_ended(const Conn& c, bool said_goodbye);
  void connection_after_crash(LinkId link, Conn& c);
  void will_after_crash(WillState& will) const;
  void session_after_crash(const std::string& client, Session& s);
  void messages_after_crash(Session& s);
  bool is_free(const Session& s, const Outflight& out, const mqtt::Publish& packet, const std::string& key,
               LinkId link) const;
  void keep_alive_check(LinkId link, const Conn& c);
  void check_wills();
  void check_will(const WillState& will);
  void check_obligations();
  void check_shared_obligations(std::uint64_t& missing, std::string& first);

  const World* world_ = nullptr;
  bool verbose_;
  Instant now_;
  Instant crashed_ = Instant::never();  // while the broker is down, and as it starts
  Instant stored_before_ = Instant::never();
  std::vector<Instant> restarts_;
  std::vector<Instant> watcher_connacks_;
  std::deque<Conn> conns_;
  std::map<std::string, Session> sessions_;
  std::map<std::string, Publication> publications_;
  std::deque<Interval> intervals_;
  std::unordered_map<std::string, std::vector<std::size_t>> intervals_of_;  // by client
  std::deque<WillState> wills_;
  std::unordered_map<std::string, std::size_t> will_by_key_;
  std::map<std::string, std::vector<Delivery>> deliveries_;  // first ones, by key
  std::uint64_t next_generation_ = 1;
  std::uint64_t next_order_ = 1;
  std::string violation_;
  Counts counts_;
};

}  // namespace vigil::sim
