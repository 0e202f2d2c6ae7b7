#pragma once
#include <string>
#include <vector>
#include "base/bytes.h"
#include "base/result.h"
#include "broker/presence.h"
namespace vigil::broker {
void encode_presence(const PresenceRecord& record, std::vector<std::uint8_t>& out);
base::Result<PresenceRecord, std::string> decode_presence(base::Bytes bytes);
}
