#include "sim/settings.h"

#include <type_traits>

#include <fmt/format.h>

#include "sim/packet_text.h"

namespace vigil::sim {
namespace {

using Outcome = base::Result<void, std::string>;

template <class T>
Outcome assign(T& field, std::string_view value) {
  if constexpr (std::is_same_v<T, base::Duration>) {
    TRY(field, parse_duration(value));
  } else {
    TRY(const std::uint64_t number, parse_number(value));
    field = static_cast<T>(number);
  }
  return {};
}

}  // namespace

base::Result<void, std::string> set(Settings& settings, std::string_view name, std::string_view value) {
  broker::Limits& limits = settings.limits;
  if (name == "tick") return assign(settings.keep_alive.tick, value);
  if (name == "keep_alive_max") return assign(settings.keep_alive.max_s, value);
  if (name == "over_max_v3") {
    if (value == "allow") {
      settings.keep_alive.over_max_v3 = broker::OverMaxV3::Allow;
    } else if (value == "enforce") {
      settings.keep_alive.over_max_v3 = broker::OverMaxV3::Enforce;
    } else if (value == "reject") {
      settings.keep_alive.over_max_v3 = broker::OverMaxV3::Reject;
    } else {
      return base::Err(fmt::format("over_max_v3={}: allow, enforce or reject", value));
    }
    return {};
  }
  if (name == "v3_denied") {
    if (value != "disconnect" && value != "acknowledge") {
      return base::Err(fmt::format("v3_denied={}: disconnect or acknowledge", value));
    }
    limits.v3_denied = value == "disconnect" ? broker::V3Denied::Disconnect : broker::V3Denied::Acknowledge;
    return {};
  }
  if (name == "control_characters") {
    if (value != "refuse" && value != "allow") {
      return base::Err(fmt::format("control_characters={}: refuse or allow", value));
    }
    limits.control_characters = value == "allow" ? broker::ControlCharacters::Allow : broker::ControlCharacters::Refuse;
    return {};
  }
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the name as text
#define VIGIL_SETTING(field) \
  if (name == #field) return assign(limits.field, value)
  VIGIL_SETTING(max_connections);
  VIGIL_SETTING(max_connections_per_s);
  VIGIL_SETTING(connect_timeout);
  VIGIL_SETTING(max_packet_size);
  VIGIL_SETTING(max_connect_size);
  VIGIL_SETTING(min_receive_rate);
  VIGIL_SETTING(write_stall_timeout);
  VIGIL_SETTING(max_sessions);
  VIGIL_SETTING(max_session_expiry_s);
  VIGIL_SETTING(v3_session_expiry_s);
  VIGIL_SETTING(max_client_id_bytes);
  VIGIL_SETTING(max_subscriptions_per_session);
  VIGIL_SETTING(max_subscriptions);
  VIGIL_SETTING(max_topic_levels);
  VIGIL_SETTING(receive_maximum);
  VIGIL_SETTING(max_inflight);
  VIGIL_SETTING(topic_alias_maximum);
  VIGIL_SETTING(topic_alias_out_maximum);
  VIGIL_SETTING(max_queued_messages);
  VIGIL_SETTING(max_queued_bytes);
  VIGIL_SETTING(queue_qos0_offline);
  VIGIL_SETTING(max_output_bytes);
  VIGIL_SETTING(maximum_qos);
  VIGIL_SETTING(retain_available);
  VIGIL_SETTING(wildcard_available);
  VIGIL_SETTING(shared_available);
  VIGIL_SETTING(subscription_ids_available);
  VIGIL_SETTING(max_retained_messages);
  VIGIL_SETTING(max_retained_bytes);
  VIGIL_SETTING(max_message_expiry_s);
  VIGIL_SETTING(max_will_delay_s);
  VIGIL_SETTING(will_restart_grace_s);
  VIGIL_SETTING(presence_history);
  VIGIL_SETTING(presence_max_records);
  VIGIL_SETTING(presence_max_bytes);
  VIGIL_SETTING(presence_keep);
  VIGIL_SETTING(sys_enabled);
  VIGIL_SETTING(sys_clients_enabled);
  VIGIL_SETTING(sys_interval);
  VIGIL_SETTING(flapping_takeovers);
  VIGIL_SETTING(flapping_window);
  VIGIL_SETTING(flapping_hold_off);
  VIGIL_SETTING(flapping_hold_off_max);
#undef VIGIL_SETTING
  return base::Err(fmt::format("no limit is called '{}'", name));
}

}  // namespace vigil::sim
