// A client as its shard sees it from below: the pipe to it, and which connection of the core that is.
#pragma once

#include "base/slot_map.h"
#include "broker/ids.h"
#include "net/pipe.h"

namespace vigil::server {

struct PeerTag;
using PeerId = base::SlotId<PeerTag>;  // of one shard; PeerInfo::socket and the reactor's token are its value

// A handover moves it to another shard, which gives it an id and a connection of its own.
struct Peer : net::Pipe {
  using net::Pipe::Pipe;

  broker::ConnectionId connection;  // this shard's
};

}  // namespace vigil::server
