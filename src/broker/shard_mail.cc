// What other shards say.
#include "broker/shard.h"

namespace vigil::broker {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

// A message that finds the members of its share group gone is passed on this often.
constexpr std::uint8_t kMostHops = 4;

}  // namespace

void Shard::mail(Mail&& mail, base::Instant now) {
  const ShardId from = mail.from;
  std::visit(Overloaded{
                 [&](PublishMail& publish) { published_elsewhere(from, publish, now); },
                 [&](const ReceiptMail& receipt) {
                   if (Connection* c = connections_.find(receipt.receipt.connection); c != nullptr) {
                     c->acks.receipt(receipt.receipt.sequence, receipt.matched);
                     settle_acks(receipt.receipt.connection, *c);
                   }
                 },
                 [&](const InterestMail& interest) { interest_of_others(from, interest); },
                 [&](const InterestAppliedMail& applied) { interest_applied_by(from, applied.told, now); },
                 [&](const SystemQueryMail& query) { post(from, system_page(query, now)); },
                 [&](SystemReplyMail& reply) { system_reply(reply, now); },
                 [&](const StatsMail& stats) { all_stats_[from] = stats.stats; },
             },
             mail.body);
}

void Shard::published_elsewhere(ShardId from, PublishMail& mail, base::Instant now) {
  if (mail.message->retain()) retain(mail.message, now);
  // It may have waited long enough to expire: then nobody gets it, and its publisher need not know.
  if (mail.message->expired(now)) {
    ++stats_.publish_expired;
    if (mail.receipt.connection) post(from, ReceiptMail{mail.receipt, true});
    return;
  }
  bool matched = mail.plain && route_here(mail.message, now);
  for (SharePick& pick : mail.shares) {
    if (share_here(pick.group, pick.filter, mail.message, now)) {
      matched = true;
      continue;
    }
    // Its members went while it was under way: somebody else's turn.
    topics::InterestIndex::Group* group = interest_.find_group(pick.group, pick.filter);
    if (group == nullptr || mail.hops >= kMostHops) continue;
    const auto target = share_target(*group, std::uint64_t{1} << setup_.id, mail.message, matched, now);
    if (!target) continue;
    PublishMail onward;
    onward.message = mail.message;
    onward.hops = static_cast<std::uint8_t>(mail.hops + 1);
    onward.shares.push_back(std::move(pick));
    post(*target, std::move(onward));
  }
  if (mail.receipt.connection) post(from, ReceiptMail{mail.receipt, matched});
}

}  // namespace vigil::broker
