// What the log says of single packets: every packet (trace), what clients ask for and get (debug), and what a 3.x
// client is refused without being told why (info).
#include <fmt/format.h>

#include "broker/printable.h"
#include "broker/shard.h"
#include "mqtt/describe.h"

namespace vigil::broker {
namespace {

using mqtt::ReasonCode;
using mqtt::Version;

// 3.x has no words for a reason: what such a client is refused the log says to its operator, at a level that is on.
LogLevel level_of_refusal(Version version) { return version == Version::V5 ? LogLevel::Debug : LogLevel::Info; }

}  // namespace

// Whoever is refused can come again at once: clients must not be able to fill the log.
bool Shard::may_log_refusal(base::Instant now) {
  constexpr std::uint32_t kMostLinesASecond = 100;
  return refusals_logged_.admits(kMostLinesASecond, now);
}

// Where it is not known yet: the address.
std::string_view Shard::name_of(const Connection& c) const {
  if (const Session* s = sessions_.find(c.session); s != nullptr) return s->client_id.view();
  return c.extras && c.extras->opening ? std::string_view(c.extras->opening->peer.address) : std::string_view();
}

void Shard::trace(const Connection& c, std::string_view direction, const mqtt::Packet& packet) {
  const std::string_view client_id = name_of(c);
  log(LogLevel::Trace, "packet",
      fmt::format("{} {}: {}", direction, printable(client_id), mqtt::describe(packet, mqtt::Payloads::SizeOnly)),
      {{"clientId", std::string(client_id)}});
}

// One that cannot be read ends the connection, and the line about that says why.
void Shard::trace_received(const Connection& c, const mqtt::FrameHeader& header, base::Bytes body) {
  const auto packet = mqtt::decode(header, body, c.version, mqtt::Sender::Client);
  if (packet) trace(c, "from", *packet);
}

void Shard::trace_sent(const Connection& c, base::Bytes packet, std::string_view topic) {
  const auto header = mqtt::decode_header(packet, UINT32_MAX, c.version);
  if (!header || !*header) return;
  auto decoded = mqtt::decode(**header, packet.subspan((*header)->header_size), c.version, mqtt::Sender::Server);
  if (!decoded) return;
  // The packet may have an alias in its place.
  if (auto* publish = std::get_if<mqtt::Publish>(&*decoded); publish != nullptr) publish->topic = topic;
  trace(c, "to", *decoded);
}

void Shard::log_subscribed(const Connection& c, std::string_view filter, ReasonCode result, base::Instant now) {
  const Session& s = sessions_.at(c.session);
  std::vector<std::pair<std::string_view, std::string>> fields = {{"clientId", s.client_id.str()},
                                                                  {"filter", std::string(filter)}};
  if (!mqtt::is_failure(result)) {
    if (!logs(LogLevel::Debug)) return;
    log(LogLevel::Debug, "subscribed",
        fmt::format("Client {} subscribed to {} with QoS {}.", printable(s.client_id), printable(filter),
                    static_cast<unsigned>(result)),
        std::move(fields));
    return;
  }
  const LogLevel level = level_of_refusal(c.version);
  if (!logs(level) || !may_log_refusal(now)) return;
  std::string_view why = "this client may not read there";
  switch (result) {
    case ReasonCode::QuotaExceeded:
      why = s.subscriptions.size() >= limits().max_subscriptions_per_session
                ? "limits.max_subscriptions_per_session is reached"
            : subscriptions_.size() >= share_of(limits().max_subscriptions)
                ? "limits.max_subscriptions is reached"
                : "its packet asks for more than one SUBSCRIBE may";
      break;
    case ReasonCode::TopicFilterInvalid:
      why = mqtt::topic_levels(filter) > limits().max_topic_levels ? "more levels than limits.max_topic_levels"
                                                                   : "not a valid topic filter";
      break;
    case ReasonCode::SharedSubscriptionsNotSupported:
      why = "shared subscriptions are switched off: mqtt.shared_available";
      break;
    case ReasonCode::WildcardSubscriptionsNotSupported:
      why = "wildcards are switched off: mqtt.wildcard_available";
      break;
    default: break;
  }
  log(level, "subscribe_refused",
      fmt::format("Client {} was refused a subscription to {}: {}.", printable(s.client_id), printable(filter), why),
      std::move(fields));
}

void Shard::log_unsubscribed(const Connection& c, std::string_view filter, ReasonCode result) {
  const Session& s = sessions_.at(c.session);
  const bool had_it = result == ReasonCode::Success;
  log(LogLevel::Debug, "unsubscribed",
      fmt::format("Client {} {} {}.", printable(s.client_id), had_it ? "unsubscribed from" : "had no subscription to",
                  printable(filter)),
      {{"clientId", s.client_id.str()}, {"filter", std::string(filter)}});
}

void Shard::log_not_published(const Connection& c, std::string_view topic, ReasonCode why, base::Instant now) {
  const LogLevel level = level_of_refusal(c.version);
  if (!logs(level) || !may_log_refusal(now)) return;
  const Session& s = sessions_.at(c.session);
  log(level, "publish_refused",
      fmt::format(
          "Client {} was refused a message to {}: {}.", printable(s.client_id), printable(topic),
          why == ReasonCode::NotAuthorized ? "it may not publish there" : "more levels than limits.max_topic_levels"),
      {{"clientId", s.client_id.str()}, {"topic", std::string(topic)}});
}

void Shard::log_nobody(const Connection& c, std::string_view topic, bool retained) {
  const Session& s = sessions_.at(c.session);
  log(LogLevel::Debug, "publish_nowhere",
      fmt::format("A message of client {} to {} went to nobody: no subscription matches{}.", printable(s.client_id),
                  printable(topic), retained ? "; it is a retained one" : ""),
      {{"clientId", s.client_id.str()}, {"topic", std::string(topic)}});
}

}  // namespace vigil::broker
