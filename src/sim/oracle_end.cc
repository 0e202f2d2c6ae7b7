// The oracle at the end of a run: nothing owed, nothing leaked.
#include <algorithm>

#include <fmt/format.h>

#include "mqtt/topic.h"
#include "sim/oracle.h"
#include "sim/oracle_terms.h"

namespace vigil::sim {

using namespace oracle_terms;
using mqtt::QoS;

void Oracle::check_obligations() {
  std::uint64_t missing = 0;
  std::string first;
  for (const auto& [key, publication] : publications_) {
    if (publication.will || publication.qos == QoS::AtMostOnce || publication.acknowledged.is_never() ||
        publication.expires)
      continue;
    if (!publication.topic.starts_with("t/")) continue;
    std::set<std::string> owed;  // once a client, however many of its subscriptions match
    for (const Interval& interval : intervals_) {
      if (!interval.group.empty() || interval.qos == QoS::AtMostOnce || interval.session == 0) continue;
      if (interval.no_local && interval.client == publication.publisher) continue;
      // (What was read in the same turn came before the SUBACK went out.)
      if (interval.granted >= publication.first_read || interval.dropped <= publication.acknowledged) continue;
      // It may be on its way to the subscriber's shard when it is answered, and be late for who unsubscribes then.
      if (publication.repeated && !interval.dropped.is_never()) continue;
      // Only sessions that are still there have been able to get all.
      const auto session = sessions_.find(interval.client);
      if (session == sessions_.end() || session->second.generation != interval.session || !session->second.link)
        continue;
      if (!mqtt::matches(interval.filter, publication.topic) || !owed.insert(interval.client).second) continue;
      ++counts_.obligations;
      const auto& got = deliveries_[key];
      if (std::ranges::any_of(
              got, [&](const Delivery& d) { return d.client == interval.client && d.session == interval.session; }))
        continue;
      ++missing;
      if (first.empty()) {
        first = fmt::format("'{}' (QoS {}, acknowledged at {:.6f}) never reached {} (subscribed to {} at {:.6f})", key,
                            static_cast<int>(publication.qos), in_seconds(publication.acknowledged), interval.client,
                            interval.filter, in_seconds(interval.granted));
      }
    }
  }
  check_shared_obligations(missing, first);
  if (missing > world_->dropped()) {
    fail(0,
         fmt::format("{} owed deliveries are missing ({} counted as dropped): {}", missing, world_->dropped(), first));
  }
}

// A message for a group whose members all stayed reaches one of them.
void Oracle::check_shared_obligations(std::uint64_t& missing, std::string& first) {
  std::map<std::string, std::vector<const Interval*>> groups;
  for (const Interval& interval : intervals_) {
    if (!interval.group.empty() && interval.session != 0)
      groups[interval.group + " " + interval.filter].push_back(&interval);
  }
  for (const auto& group : groups) {
    const std::vector<const Interval*>& members = group.second;
    for (const auto& entry : publications_) {
      const std::string& key = entry.first;
      const Publication& publication = entry.second;
      if (publication.qos == QoS::AtMostOnce || publication.acknowledged.is_never() || publication.expires ||
          publication.will)
        continue;
      if (!mqtt::matches(members[0]->filter, publication.topic)) continue;
      const bool all_stayed = std::ranges::all_of(members, [&](const Interval* m) {
        const auto session = sessions_.find(m->client);
        return m->qos != QoS::AtMostOnce && m->dropped.is_never() && session != sessions_.end() &&
               session->second.generation == m->session && session->second.link;
      });
      const bool there =
          std::ranges::any_of(members, [&](const Interval* m) { return m->granted < publication.first_read; });
      if (!all_stayed || !there) continue;
      ++counts_.obligations;
      bool got = false;
      for (const Delivery& delivery : deliveries_[key]) {
        for (const Interval* member : members) got = got || member->client == delivery.client;
      }
      if (got) continue;
      ++missing;
      if (first.empty()) first = fmt::format("'{}' reached nobody of the group {}", key, group.first);
    }
  }
}

void Oracle::settled(Instant now) {
  now_ = now;
  if (!violation_.empty()) return;
  for (LinkId link = 0; link < conns_.size(); ++link) {
    const Conn& c = conns_[link];
    if (c.over || !c.connected) continue;
    const Session& s = sessions_[c.client];
    if (c.pings > 0) fail(link, "a PINGREQ was never answered");
    if (!c.subscribes.empty()) fail(link, "a SUBSCRIBE was never answered");
    if (!c.unsubscribes.empty()) fail(link, "an UNSUBSCRIBE was never answered");
    if (!c.publishes1.empty()) fail(link, "a PUBLISH at QoS 1 was never acknowledged");
    if (!c.publishes2.empty()) fail(link, "a PUBLISH at QoS 2 was never acknowledged");
    if (!c.pubrels.empty()) fail(link, "a PUBREL was never answered");
    for (const auto& [id, out] : s.outflight) {
      // (Whether it had been sent the broker need not know any more: it may expire, but for QoS 2.)
      const bool expired = out.qos == QoS::AtLeastOnce && publications_[out.key].expires && !restarts_.empty() &&
                           out.sent < restarts_.back();
      if (!given_away(out) && !out.perhaps_lost && !out.perhaps_done && !s.perhaps_another && !expired)
        fail(link, fmt::format("'{}' was sent once, and its unfinished delivery never taken up again", out.key));
    }
  }
  check_obligations();
  check_wills();
}

void Oracle::same_retained(const std::vector<LinkId>& readers) {
  const auto& first = conn(readers.front()).retained;
  for (const LinkId reader : readers) {
    const auto& found = conn(reader).retained;
    for (const auto& [topic, key] : first) {
      const auto it = found.find(topic);
      if (it == found.end() || it->second != key) {
        fail(reader, fmt::format("finds '{}' retained on {}, where link {} found '{}'",
                                 it == found.end() ? "" : it->second, topic, readers.front(), key));
      }
    }
    if (found.size() > first.size()) {
      fail(reader, fmt::format("finds more retained messages than link {}", readers.front()));
    }
  }
}

void Oracle::empty(Instant now) {
  now_ = now;
  if (!violation_.empty()) return;
  const broker::Stats stats = world_->stats();
  auto zero = [&](const char* what, std::uint64_t value) {
    if (value != 0) fail(0, fmt::format("leaked: {} {} after everybody has left", value, what));
  };
  zero("connections", world_->connections());
  for (const auto& [client, session] : sessions_) {
    const auto view = world_->core(broker::ShardCore::home_of(client, world_->shards())).client(client);
    if (view.exists) fail(0, fmt::format("leaked: the session of {} after everybody has left", client));
  }
  zero("sessions", world_->sessions());
  zero("clients connected", stats.clients_connected);
  zero("clients disconnected", stats.clients_disconnected);
  zero("subscriptions", stats.subscriptions);
  zero("shared subscriptions", stats.shared_subscriptions);
  zero("queued messages", stats.queued_messages);
  zero("queued bytes", stats.queued_bytes);
  zero("messages in flight", stats.inflight_messages);
  zero("clients at risk", stats.at_risk);
  if (!world_->options().durable) return;
  zero("sessions in the store", world_->store().sessions());
  zero("messages in the store", world_->store().messages());
  if (const std::string left = world_->store().leftovers(); !left.empty()) fail(0, "leaked in the store: " + left);
}

}  // namespace vigil::sim
