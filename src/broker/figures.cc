#include "broker/figures.h"

#include <algorithm>

#include <fmt/format.h>

namespace vigil::broker {
namespace {

template <std::uint64_t Stats::*... counters>
std::uint64_t sum(const Stats& stats) {
  return ((stats.*counters) + ...);
}

using S = Stats;

// Only what never falls has a load.
constexpr Figure kFigures[] = {
    {"clients/connected", sum<&S::clients_connected>, "clients/active", {}},
    {"clients/disconnected", sum<&S::clients_disconnected>, "clients/inactive", {}},
    {"clients/total", sum<&S::clients_connected, &S::clients_disconnected>, {}, {}},
    {"clients/maximum", sum<&S::clients_maximum>, {}, {}},
    {"clients/expired", sum<&S::clients_expired>, {}, {}},
    {"clients/at_risk", sum<&S::at_risk>, {}, {}},
    {"clients/keep_alive_timeouts", sum<&S::keep_alive_timeouts>, {}, {}},
    {"clients/takeovers", sum<&S::takeovers>, {}, {}},
    {"clients/protocol_errors", sum<&S::protocol_errors>, {}, {}},
    {"clients/write_stalls", sum<&S::write_stalls>, {}, {}},
    {"connections/socket/count", sum<&S::sockets_opened>, {}, "sockets"},
    {"connections/accepted", sum<&S::connects>, {}, "connections"},
    {"connections/refused", sum<&S::connects_refused>, {}, {}},
    {"messages/received", sum<&S::messages_received>, {}, "messages/received"},
    {"messages/sent", sum<&S::messages_sent>, {}, "messages/sent"},
    {"messages/stored",
     sum<&S::retained_messages, &S::queued_messages, &S::inflight_messages>,
     "store/messages/count",
     {}},
    {"messages/inflight", sum<&S::inflight_messages>, {}, {}},
    {"messages/queued", sum<&S::queued_messages>, {}, {}},
    {"messages/queued_bytes", sum<&S::queued_bytes>, {}, {}},
    {"publish/messages/received", sum<&S::publish_received>, {}, "publish/received"},
    {"publish/messages/sent", sum<&S::publish_sent>, {}, "publish/sent"},
    {"publish/messages/dropped", sum<&S::publish_dropped>, {}, "publish/dropped"},
    {"publish/messages/expired", sum<&S::publish_expired>, {}, {}},
    {"publish/bytes/received", sum<&S::publish_bytes_received>, {}, {}},
    {"publish/bytes/sent", sum<&S::publish_bytes_sent>, {}, {}},
    {"bytes/received", sum<&S::bytes_received>, {}, "bytes/received"},
    {"bytes/sent", sum<&S::bytes_sent>, {}, "bytes/sent"},
    {"retained messages/count", sum<&S::retained_messages>, {}, {}},
    {"store/messages/bytes", sum<&S::retained_bytes, &S::queued_bytes>, {}, {}},
    {"subscriptions/count", sum<&S::subscriptions>, {}, {}},
    {"shared_subscriptions/count", sum<&S::shared_subscriptions>, {}, {}},
    {"presence/count", sum<&S::presence_records>, {}, {}},
    {"presence/bytes", sum<&S::presence_bytes>, {}, {}},
    {"wills/published", sum<&S::wills_published>, {}, {}},
    {"wills/cancelled", sum<&S::wills_cancelled>, {}, {}},
};

}  // namespace

std::span<const Figure> figures() { return kFigures; }

std::vector<FigureTexts::Text> FigureTexts::update(const Stats& broker, std::string_view version,
                                                   base::Duration uptime) {
  Stats now = broker;
  now.clients_maximum = most_clients_ = std::max(most_clients_, now.clients_connected);
  const base::Duration passed = uptime - measured_at_;
  measured_at_ = uptime;

  std::vector<Text> changed;
  std::size_t next = 0;
  const auto add = [&](std::string_view topic, const std::string& text) {
    if (next == last_.size()) last_.emplace_back();
    std::string& last = last_[next++];
    if (last == text) return;
    last = text;
    changed.push_back({fmt::format("$SYS/broker/{}", topic), text});
  };
  add("version", fmt::format("vigilmq version {}", version));
  add("uptime", fmt::format("{} seconds", std::chrono::duration_cast<base::seconds>(uptime).count()));
  std::size_t next_load = 0;
  for (const Figure& figure : kFigures) {
    const std::uint64_t value = figure.value(now);
    add(figure.name, std::to_string(value));
    if (!figure.also.empty()) add(figure.also, std::to_string(value));
    if (figure.load.empty()) continue;
    if (next_load == loads_.size()) loads_.emplace_back();
    LoadAverage& load = loads_[next_load++];
    load.measure(value, passed);
    for (std::size_t i = 0; i < LoadAverage::kWindows.size(); ++i) {
      add(fmt::format("load/{}/{}min", figure.load, LoadAverage::kWindows[i].count()),
          fmt::format("{:.2f}", load.per_minute()[i]));
    }
  }
  return changed;
}

}  // namespace vigil::broker
