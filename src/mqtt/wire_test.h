// For the tests of the decoder and the encoder: packets written as text, and decoding from buffers of exactly the right
// size.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "mqtt/decoder.h"
#include "mqtt/encoder.h"

namespace vigil::mqtt {

// Hex digits; 'abc' stands for its bytes; "abc" for a text with its two bytes of length; ~ as second byte for the
// Remaining Length.
inline Buffer wire(std::string_view text) {
  Buffer out;
  std::optional<std::size_t> length_at;
  std::string hex;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\'' || c == '"') {
      const std::string_view body = text.substr(i + 1, text.find(c, i + 1) - i - 1);
      if (c == '"') {
        out.push_back(static_cast<std::uint8_t>(body.size() >> 8U));
        out.push_back(static_cast<std::uint8_t>(body.size()));
      }
      out.insert(out.end(), body.begin(), body.end());
      i += body.size() + 1;
    } else if (c == '{') {
      const Buffer properties = wire(text.substr(i + 1, text.find('}', i) - i - 1));
      append_varint(out, static_cast<std::uint32_t>(properties.size()));
      out.insert(out.end(), properties.begin(), properties.end());
      i = text.find('}', i);
    } else if (c == '~') {
      length_at = out.size();
    } else if (c != ' ' && c != '\n') {
      hex += c;
      if (hex.size() == 2) {
        out.push_back(static_cast<std::uint8_t>(std::stoul(hex, nullptr, 16)));
        hex.clear();
      }
    }
  }
  if (length_at) {
    Buffer length;
    append_varint(length, static_cast<std::uint32_t>(out.size() - *length_at));
    out.insert(out.begin() + static_cast<std::ptrdiff_t>(*length_at), length.begin(), length.end());
  }
  return out;
}

// A copy on the heap without a byte to spare, so that AddressSanitizer sees a read outside.
class Exact {
 public:
  explicit Exact(base::Bytes bytes) : size_(bytes.size()), data_(new std::uint8_t[bytes.size()]) {
    if (size_ > 0) std::memcpy(data_.get(), bytes.data(), size_);
  }
  base::Bytes bytes() const { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> data_;
};

// What the decoder says of a whole packet; keeps the bytes alive that the packet points into.
struct Parsed {
  std::unique_ptr<Exact> body;
  Decoded<Packet> packet;
};

inline Parsed parse(base::Bytes bytes, Version version, Sender sender) {
  const Exact all(bytes);
  const auto header = decode_header(all.bytes(), kMaxRemainingLength, version);
  if (!header) return {nullptr, std::unexpected(header.error())};
  if (!*header || (*header)->size() != bytes.size()) {
    return {nullptr, std::unexpected(DecodeError{.field = "test", .detail = "not exactly one packet"})};
  }
  auto body = std::make_unique<Exact>(bytes.subspan((*header)->header_size));
  Decoded<Packet> packet = decode(**header, body->bytes(), version, sender);
  return {std::move(body), std::move(packet)};
}

inline Buffer encoded(Version version, const Packet& packet) {
  Buffer out;
  encode(out, version, packet);
  return out;
}

// A packet on the wire and who may send it.
struct Good {
  Version version;
  Sender sender;
  std::string_view text;
};

// A packet that must be refused, and how.
struct Bad {
  Version version;
  Sender sender;
  std::string_view text;
  ReasonCode code;
  std::string_view field;
  std::string_view clause = {};
};

// The packet is legal, and encoding it gives the same bytes.
inline void expect_good(const Good& good) {
  SCOPED_TRACE(good.text);
  const Buffer bytes = wire(good.text);
  const Parsed parsed = parse(bytes, good.version, good.sender);
  ASSERT_TRUE(parsed.packet) << parsed.packet.error().field << ": " << parsed.packet.error().detail;
  EXPECT_EQ(encoded(good.version, *parsed.packet), bytes);
  EXPECT_EQ(encoded_size(good.version, *parsed.packet), bytes.size());
}

inline void expect_bad(const Bad& bad) {
  SCOPED_TRACE(bad.text);
  const Parsed parsed = parse(wire(bad.text), bad.version, bad.sender);
  ASSERT_FALSE(parsed.packet);
  const DecodeError& error = parsed.packet.error();
  EXPECT_EQ(error.code, bad.code) << reason_name(error.code) << ", wanted " << reason_name(bad.code);
  EXPECT_EQ(error.field, bad.field);
  EXPECT_FALSE(error.detail.empty());
  EXPECT_EQ(error.clause, bad.clause);
}

}  // namespace vigil::mqtt
