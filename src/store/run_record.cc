#include "store/run_record.h"

#include <fmt/format.h>

#include "base/record.h"

namespace vigil::store {
namespace {

constexpr std::uint8_t kRunVersion = 1;

}  // namespace

void encode_run(std::span<const base::Bytes> entries, std::vector<std::uint8_t>& to) {
  base::RecordWriter out(to);
  out.u8(kRunVersion);
  out.varint(entries.size());
  for (const base::Bytes entry : entries) out.bytes(entry);
}

Decoded<RunEntries> decode_run(base::Bytes record) {
  base::RecordReader in(record);
  if (const std::uint8_t version = in.u8(); version != kRunVersion) {
    return base::Err(fmt::format("a run of queued messages is of version {}, which is not known here", version));
  }
  RunEntries entries;
  const std::uint64_t count = in.varint(kMostOfRun);
  for (std::uint64_t i = 0; i < count; ++i) entries.push_back(in.bytes());
  if (!in.done() || entries.empty()) return base::Err(std::string("a run of queued messages is damaged"));
  return entries;
}

}  // namespace vigil::store
