#include "topics/share_group.h"

namespace vigil::topics {

bool ShareGroup::remove(SubscriberId subscriber) {
  auto at = members_.position(subscriber);
  if (!at) return false;
  // The list fills a gap with its last member, who was not served yet. So the gap moves to the end of those who were.
  if (*at < turn_) {
    --turn_;
    members_.swap(*at, turn_);
    at = turn_;
  }
  members_.remove_at(*at);
  return true;
}

}  // namespace vigil::topics
