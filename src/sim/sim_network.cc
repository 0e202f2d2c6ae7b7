#include "sim/sim_network.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace vigil::sim {

base::Instant Link::arrival(base::Instant& last, base::Instant now) {
  const auto delay = base::Duration(random_.between(profile_.min_delay.count(), profile_.max_delay.count()));
  last = std::max(last, now + delay);
  return last;
}

std::vector<base::Instant> Link::client_send(base::Bytes bytes, base::Instant now) {
  std::vector<base::Instant> arrivals;
  if (silent_ || client_ended_) return arrivals;
  while (!bytes.empty()) {
    std::size_t size = bytes.size();
    if (random_.chance(profile_.split_percent)) size = 1 + random_.below(bytes.size());
    const base::Bytes part = bytes.first(size);
    bytes = bytes.subspan(size);
    to_server_.push_back({arrival(last_to_server_, now), {part.begin(), part.end()}, std::nullopt});
    arrivals.push_back(last_to_server_);
  }
  return arrivals;
}

std::vector<base::Instant> Link::client_end(StreamEnd end, base::Instant now) {
  if (client_ended_) return {};
  client_ended_ = true;
  reading_ = false;
  if (silent_) return {};
  to_server_.push_back({arrival(last_to_server_, now), {}, end});
  return {last_to_server_};
}

void Link::silence() {
  silent_ = true;
  to_server_.clear();
  to_client_.clear();
}

std::size_t Link::room() const {
  if (server_closed_) return 0;
  return profile_.window > outstanding_ ? profile_.window - outstanding_ : 0;
}

std::vector<base::Instant> Link::server_write(base::Bytes bytes, base::Instant now) {
  CHECK(bytes.size() <= room());
  if (bytes.empty()) return {};
  outstanding_ += bytes.size();
  if (silent_) return {};
  to_client_.push_back({arrival(last_to_client_, now), {bytes.begin(), bytes.end()}, std::nullopt});
  return {last_to_client_};
}

std::vector<base::Instant> Link::server_close(base::Instant now) {
  if (server_closed_) return {};
  server_closed_ = true;
  to_server_.clear();
  arrived_.clear();
  arrived_end_.reset();
  if (silent_) return {};
  to_client_.push_back({arrival(last_to_client_, now), {}, StreamEnd::Closed});
  return {last_to_client_};
}

std::vector<std::uint8_t> Link::server_read(std::size_t limit) {
  if (limit >= arrived_.size()) return std::exchange(arrived_, {});
  const auto end = arrived_.begin() + static_cast<std::ptrdiff_t>(limit);
  std::vector<std::uint8_t> bytes(arrived_.begin(), end);
  arrived_.erase(arrived_.begin(), end);
  return bytes;
}

Link::Delivery Link::deliver(base::Instant now) {
  Delivery result;
  while (!to_server_.empty() && to_server_.front().arrives <= now) {
    Segment segment = std::move(to_server_.front());
    to_server_.pop_front();
    if (server_closed_) continue;
    arrived_.insert(arrived_.end(), segment.bytes.begin(), segment.bytes.end());
    if (segment.end) arrived_end_ = segment.end;
    result.to_server = true;
  }
  while (!to_client_.empty() && to_client_.front().arrives <= now) {
    Segment segment = std::move(to_client_.front());
    to_client_.pop_front();
    client_unread_.insert(client_unread_.end(), segment.bytes.begin(), segment.bytes.end());
    if (segment.end) client_unread_end_ = segment.end;
  }
  if (reading_ && !client_ended_) {
    const bool was_full = room() == 0;
    outstanding_ -= client_unread_.size();
    result.to_client = std::exchange(client_unread_, {});
    result.client_end = std::exchange(client_unread_end_, std::nullopt);
    result.room_again = was_full && room() > 0;
  }
  return result;
}

}  // namespace vigil::sim
