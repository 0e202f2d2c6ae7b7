// A presence record as bytes: what of it outlives a restart of the broker. docs/formats.md has the layout.
//
// Not kept: what belongs to one connection (at risk, the rhythm of its packets) and the judgement of flapping, which
// begins anew. `connected` is what was true when the record was written: after a restart that connection is gone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "broker/presence.h"

namespace vigil::broker {

// Appends to `out`. Allocates nothing else.
void encode_presence(const PresenceRecord& record, std::vector<std::uint8_t>& out);
// Trusts nothing: an error says in a sentence what is wrong.
base::Result<PresenceRecord, std::string> decode_presence(base::Bytes bytes);

}  // namespace vigil::broker
