// The decoder against itself: what it accepts, encoded and decoded again, is an equal packet, and its encoding does not
// change any more.
//
// Input: one byte that chooses version and sender, then the packet.
#include <array>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "mqtt/decoder.h"
#include "mqtt/describe.h"
#include "mqtt/encoder.h"

namespace vigil::mqtt {
namespace {

constexpr std::array kVersions = {Version::V5, Version::V311, Version::V31, Version::V5};

Decoded<Packet> decode_whole(base::Bytes bytes, Version version, Sender sender) {
  const auto header = decode_header(bytes, kMaxRemainingLength, version);
  if (!header) return std::unexpected(header.error());
  if (!*header || (*header)->size() > bytes.size()) {
    return std::unexpected(DecodeError{.field = "fuzz", .detail = "not a whole packet"});
  }
  return decode(**header, bytes.subspan((*header)->header_size, (*header)->remaining), version, sender);
}

void check_error(const DecodeError& error) {
  CHECK(is_failure(error.code));
  CHECK(!error.field.empty());
  CHECK(!error.detail.empty());
}

}  // namespace
}  // namespace vigil::mqtt

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vigil::mqtt;
  if (size == 0) return 0;
  const Version version = kVersions[data[0] & 3U];
  const Sender sender = (data[0] & 4U) != 0 ? Sender::Server : Sender::Client;
  const vigil::base::Bytes bytes(data + 1, size - 1);
  static_cast<void>(peek_client_id(bytes));
  static_cast<void>(peek_version(bytes));

  const auto first = decode_whole(bytes, version, sender);
  if (!first) {
    check_error(first.error());
    return 0;
  }
  static_cast<void>(describe(*first));
  Buffer once;
  encode(once, version, *first);
  CHECK(once.size() == encoded_size(version, *first));
  const auto second = decode_whole(once, version, sender);
  CHECK(second.has_value());
  CHECK(*second == *first);
  Buffer twice;
  encode(twice, version, *second);
  CHECK(twice == once);
  return 0;
}
