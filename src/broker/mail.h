// What shards tell each other. Moved or immutable values only; order is kept between any two shards.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/text.h"
#include "broker/change.h"
#include "broker/ids.h"
#include "broker/message.h"
#include "broker/outcome.h"
#include "broker/stats.h"
#include "mqtt/reason_code.h"
#include "topics/interest_index.h"

namespace vigil::broker {

// Says what waits for the receiver's answer: an acknowledgement of a connection, a joint change, or a shard in between
// that passed the message on. None of them: nobody waits.
struct ReceiptToken {
  ConnectionId connection;
  std::uint32_t sequence = 0;
  std::uint32_t relay = 0;
  JointId joint = 0;
  bool wanted() const { return static_cast<bool>(connection) || joint != 0 || relay != 0; }
};

// A share group that this shard is to serve from its own members.
struct SharePick {
  std::string group;
  std::string filter;
};

// A message for the sessions of the receiving shard. Retained messages go to every shard: each keeps its own index of
// them.
struct PublishMail {
  MessagePtr message;
  bool plain = false;  // the receiver has (or may have) ordinary subscriptions that match, or is to retain it
  std::vector<SharePick> shares;
  ReceiptToken receipt;
  std::uint8_t hops = 0;  // how often it was passed on because a share group's members had gone
  bool at_once = false;   // had no time to live when it was accepted: for those who are connected
};

struct ReceiptMail {
  ReceiptToken receipt;
  Outcome outcome = Outcome::NoSubscriber;
  mqtt::ReasonCode reason = mqtt::ReasonCode::Success;  // a failure of what was asked for
};

// The sender has its first subscription for a filter, or no longer any; or the members of a share group changed.
struct InterestMail {
  std::string filter;
  std::string group;  // empty: an ordinary subscription
  bool interested = false;
  topics::InterestIndex::GroupMembers members;
  std::uint64_t told = 0;  // rises with every mail of this kind from one shard; handed back in InterestAppliedMail
};

// All that the receiver told up to this number holds at the sender.
struct InterestAppliedMail {
  std::uint64_t told = 0;
};

// A subscriber of `$SYS/clients/...` wants the states that the receiving shard keeps, from `cursor` on.
struct SystemQueryMail {
  SessionId session;
  std::uint32_t feed = 0;
  std::string filter;
  std::uint32_t cursor = 0;
};

struct SystemReplyMail {
  SessionId session;
  std::uint32_t feed = 0;
  std::vector<MessagePtr> states;
  std::uint32_t next = 0;  // 0: that was all
};

// An administrator wants a client of the receiving shard to be forgotten.
struct ForgetMail {
  base::Text client_id;
  base::Text asked_by;
  ReceiptToken receipt;
};

// (Elsewhere, because every mail is as large as the largest.)
struct StatsMail {
  std::shared_ptr<const Stats> stats;
  std::uint32_t switches = 0;  // how often $SYS/broker had been switched off or on
};

struct Mail {
  ShardId from = 0;
  std::variant<PublishMail, ReceiptMail, InterestMail, InterestAppliedMail, SystemQueryMail, SystemReplyMail, StatsMail,
               ForgetMail>
      body;
};

}  // namespace vigil::broker
