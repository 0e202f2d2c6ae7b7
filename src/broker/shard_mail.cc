// What other shards say.
#include "base/overloaded.h"
#include "broker/shard.h"

namespace vigil::broker {
namespace {

using base::Overloaded;

// A message that finds the members of its share group gone is passed on this often.
constexpr std::uint8_t kMostHops = 4;

}  // namespace

void Shard::mail(Mail&& mail, base::Instant now) {
  const ShardId from = mail.from;
  std::visit(Overloaded{
                 [&](PublishMail& publish) { published_elsewhere(from, publish, now); },
                 [&](const ReceiptMail& answer) { receipt(answer); },
                 [&](const InterestMail& interest) { interest_of_others(from, interest); },
                 [&](const InterestAppliedMail& applied) { interest_applied_by(from, applied.told, now); },
                 [&](const SystemQueryMail& query) { post(from, system_page(query, now)); },
                 [&](SystemReplyMail& reply) { system_reply(reply, now); },
                 [&](const ForgetMail& forget) { forget_elsewhere(from, forget, now); },
                 [&](const StatsMail& told) {
                   publish_figures(system_topics_.told(from, told, {stats(), now - start_}), now);
                 },
             },
             mail.body);
}

void Shard::published_elsewhere(ShardId from, PublishMail& mail, base::Instant now) {
  const std::uint64_t emitted_before = emitted_;
  const bool joined = mail.receipt.joint != 0 && setup_.durable;
  if (joined) open_joint(mail.receipt.joint);
  Relay relay{.to = from, .token = mail.receipt};
  // (What a member of a share group left behind was retained long ago, and may not be any more.)
  if (mail.plain && mail.message->retain()) retain(mail.message, now);
  // It may have waited long enough to expire: then nobody gets it [MQTT-3.3.2-5], and its publisher need not know.
  if (mail.message->expired(now) && !mail.at_once) {
    ++stats_.publish_expired;
    relay.outcome = Outcome::Taken;
    mail.shares.clear();
  } else if (mail.plain) {
    relay.outcome = route_here(mail.message, now);
  }
  for (SharePick& pick : mail.shares) {
    if (const auto here = share_here(pick.group, pick.filter, mail.message, now)) {
      relay.outcome = best(relay.outcome, *here);
      continue;
    }
    // Its members went while it was under way: somebody else's turn.
    topics::InterestIndex::Group* group = interest_.find_group(pick.group, pick.filter);
    if (group == nullptr || mail.hops >= kMostHops) continue;
    const SharePlace place = share_out(*group, ShardMask::of(setup_.id), mail.message, now);
    relay.outcome = best(relay.outcome, place.here);
    if (!place.elsewhere) continue;
    PublishMail onward;
    onward.message = mail.message;
    onward.hops = static_cast<std::uint8_t>(mail.hops + 1);
    onward.shares.push_back(std::move(pick));
    // Who waits for us waits for them, too.
    if (mail.receipt.wanted()) {
      if (relay.waiting++ == 0 && ++next_relay_ == 0) next_relay_ = 1;
      onward.receipt = mail.receipt;
      onward.receipt.relay = next_relay_;
    }
    post(*place.elsewhere, std::move(onward));
  }
  if (joined) close_part();
  if (!mail.receipt.wanted()) return;
  if (relay.waiting > 0) {
    relays_.emplace(next_relay_, relay);
  } else {
    send_receipt(from, mail.receipt, relay.outcome, emitted_ != emitted_before ? last_batch_ : 0);
  }
}

void Shard::receipt(const ReceiptMail& receipt) {
  const ReceiptToken& token = receipt.receipt;
  if (token.relay != 0) {
    const auto found = relays_.find(token.relay);
    if (found == relays_.end()) return;
    Relay& relay = found->second;
    relay.outcome = best(relay.outcome, receipt.outcome);
    if (--relay.waiting > 0) return;
    send_receipt(relay.to, relay.token, relay.outcome, last_batch_);
    relays_.erase(found);
  } else if (token.joint != 0) {
    joint_receipt(token.joint, receipt.outcome);
  } else if (Connection* c = connections_.find(token.connection); c != nullptr) {
    c->acks.receipt(token.sequence, receipt.outcome, receipt.reason);
    settle_acks(token.connection, *c);
  }
}

void Shard::forget_elsewhere(ShardId from, const ForgetMail& mail, base::Instant now) {
  const mqtt::ReasonCode reason = forget(mail.client_id, mail.asked_by, now);
  if (!mail.receipt.wanted()) return;
  if (reason == mqtt::ReasonCode::Success) {
    send_receipt(from, mail.receipt, Outcome::Taken, last_batch_);
  } else {
    post(from, ReceiptMail{.receipt = mail.receipt, .outcome = Outcome::Taken, .reason = reason});
  }
}

}  // namespace vigil::broker
