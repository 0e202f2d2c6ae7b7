#include "net/listener_settings.h"

#include <algorithm>
#include <iterator>

namespace vigil::net {

std::vector<ListenEndpoint> ListenerSettings::endpoints() const {
  std::vector<ListenEndpoint> all;
  for (const BindAddress& address : bind) std::ranges::move(address.endpoints(), std::back_inserter(all));
  return all;
}

}  // namespace vigil::net
