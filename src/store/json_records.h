// Records of the store as JSON objects, one a line, and back: what `vigilmq store export` writes and `import` reads.
// docs/formats.md lists the fields.
//
// Text and payloads are JSON strings if they are valid UTF-8 without U+0000, and {"base64": "..."} if not. Positions
// and keys of sessions are [sequence, shard]; moments are Unix time in milliseconds, null for "never".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/result.h"
#include "store/family.h"

namespace vigil::store {

struct RawRecord {
  Family family = Family::Meta;
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> value;
  bool operator==(const RawRecord&) const = default;
};

// Decodes it as well, so an error is what is wrong with the record. Entries of runs come as if each were a record of
// the queue.
base::Result<nlohmann::ordered_json, std::string> record_to_json(Family family, base::Bytes key, base::Bytes value);
base::Result<RawRecord, std::string> record_from_json(const nlohmann::ordered_json& json);

// The last line of an export: {"kind":"end","format":"vigilmq-export-1","records":12,"leftOut":0}. Without it an export
// is not complete.
struct ExportEnd {
  std::uint64_t records = 0;   // the lines before it
  std::uint64_t left_out = 0;  // places that could not be read
};
nlohmann::ordered_json to_json(const ExportEnd& end);
// Does it claim to be one?
bool is_export_end(const nlohmann::ordered_json& json);
base::Result<ExportEnd, std::string> export_end_from_json(const nlohmann::ordered_json& json);

}  // namespace vigil::store
