// Records as bytes: what is written to disk field by field, and read back without trusting it.
//
// Numbers are varints (seven bits a byte, lowest first) or big-endian of a fixed size; texts are a varint length and
// their bytes; moments are varints of the Unix time in milliseconds plus one, 0 for "never".
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace vigil::base {

// Appends to a vector of its caller.
class RecordWriter {
 public:
  explicit RecordWriter(std::vector<std::uint8_t>& out) : out_(out) {}

  void u8(std::uint8_t value) { out_.push_back(value); }
  void u32(std::uint32_t value) { fixed<4>(value); }
  void u64(std::uint64_t value) { fixed<8>(value); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) out_.push_back(static_cast<std::uint8_t>(value | 0x80U));
    out_.push_back(static_cast<std::uint8_t>(value));
  }
  // INT64_MAX is "never"; nothing is earlier than 1970.
  void when_ms(std::int64_t unix_ms) {
    const bool never = unix_ms == std::numeric_limits<std::int64_t>::max();
    varint(never ? 0 : static_cast<std::uint64_t>(unix_ms < 0 ? 0 : unix_ms) + 1);
  }
  void raw(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  void bytes(Bytes value) {
    varint(value.size());
    raw(value);
  }
  void text(std::string_view value) { bytes(as_bytes(value)); }

 private:
  template <unsigned kBytes>
  void fixed(std::uint64_t value) {
    std::array<std::uint8_t, kBytes> all;
    for (unsigned i = 0; i < kBytes; ++i) all[i] = static_cast<std::uint8_t>(value >> (8U * (kBytes - 1 - i)));
    raw(all);
  }
  std::vector<std::uint8_t>& out_;
};

// Reads from bytes of its caller. Whatever does not fit makes it fail for good: from then on everything reads as zero
// and as empty, so that one look at ok() or done() behind a whole record is enough.
class RecordReader {
 public:
  explicit RecordReader(Bytes in) : in_(in) {}

  bool ok() const { return !failed_; }
  // All of it was read, and all of it was right.
  bool done() const { return !failed_ && in_.empty(); }
  std::size_t left() const { return in_.size(); }
  void fail() {
    failed_ = true;
    in_ = {};
  }

  std::uint8_t u8() { return static_cast<std::uint8_t>(fixed<1>()); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(fixed<4>()); }
  std::uint64_t u64() { return fixed<8>(); }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !in_.empty(); shift += 7) {
      const std::uint8_t byte = in_.front();
      in_ = in_.subspan(1);
      if (shift == 63 && byte > 1) break;
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    fail();
    return 0;
  }
  // A varint that is not above `most`.
  std::uint64_t varint(std::uint64_t most) {
    const std::uint64_t value = varint();
    if (value <= most) return value;
    fail();
    return 0;
  }
  std::uint32_t varint32() { return static_cast<std::uint32_t>(varint(UINT32_MAX)); }
  std::int64_t when_ms() {
    const std::uint64_t value = varint(std::numeric_limits<std::int64_t>::max());
    return value == 0 && !failed_ ? std::numeric_limits<std::int64_t>::max() : static_cast<std::int64_t>(value) - 1;
  }
  // An enumerator from 0 to `last`.
  template <class E>
  E enumerator(E last) {
    const std::uint8_t value = u8();
    if (value > static_cast<std::uint8_t>(last)) fail();
    return failed_ ? E{} : static_cast<E>(value);
  }
  Bytes raw(std::size_t size) {
    if (size > in_.size()) {
      fail();
      return {};
    }
    const Bytes taken = in_.first(size);
    in_ = in_.subspan(size);
    return taken;
  }
  // Views into the input.
  Bytes bytes() { return raw(varint(in_.size())); }
  std::string_view text() { return as_text(bytes()); }

 private:
  template <unsigned kBytes>
  std::uint64_t fixed() {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : raw(kBytes)) value = (value << 8U) | byte;
    return value;
  }
  Bytes in_;
  bool failed_ = false;
};

}  // namespace vigil::base
