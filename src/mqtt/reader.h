// Inside the decoder: takes fields from the front of a packet's body and remembers the first thing that is wrong.
//
// Every function returns false when the field is not legal; error() then says why and the reader must not be used
// further.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "mqtt/decoder.h"
#include "mqtt/utf8.h"

namespace vigil::mqtt {

class Reader {
 public:
  explicit Reader(base::Bytes bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  bool at_end() const { return at_ == end_; }
  base::Bytes rest() const { return {at_, end_}; }
  const DecodeError& error() const { return error_; }

  bool fail(ReasonCode code, std::string_view field, std::string_view detail, std::string_view clause = {},
            std::string_view text = {}) {
    error_ = {.code = code, .field = field, .detail = detail, .clause = clause, .text = text};
    return false;
  }
  bool malformed(std::string_view field, std::string_view detail, std::string_view clause = {}) {
    return fail(ReasonCode::MalformedPacket, field, detail, clause);
  }
  bool protocol_error(std::string_view field, std::string_view detail, std::string_view clause = {}) {
    return fail(ReasonCode::ProtocolError, field, detail, clause);
  }

  bool u8(std::uint8_t& value, std::string_view field) {
    if (left() < 1) return cut_short(field);
    value = *at_++;
    return true;
  }
  bool u16(std::uint16_t& value, std::string_view field) {
    if (left() < 2) return cut_short(field);
    value = static_cast<std::uint16_t>(at_[0] << 8U | at_[1]);
    at_ += 2;
    return true;
  }
  bool u32(std::uint32_t& value, std::string_view field) {
    if (left() < 4) return cut_short(field);
    value = std::uint32_t{at_[0]} << 24U | std::uint32_t{at_[1]} << 16U | std::uint32_t{at_[2]} << 8U | at_[3];
    at_ += 4;
    return true;
  }
  // At most four bytes, no more than the value needs [MQTT-1.5.5-1].
  bool varint(std::uint32_t& value, std::string_view field) {
    if (!at_end() && *at_ < 0x80) [[likely]] {
      value = *at_++;
      return true;
    }
    return long_varint(value, field);
  }
  bool binary(base::Bytes& value, std::string_view field) {
    std::uint16_t size = 0;
    if (!u16(size, field)) return false;
    if (left() < size) return malformed(field, "longer than what is left of the packet");
    value = {at_, size};
    at_ += size;
    return true;
  }
  bool text(std::string_view& value, std::string_view field) {
    base::Bytes bytes;
    if (!binary(bytes, field)) return false;
    value = base::as_text(bytes);
    return valid_utf8(value) || not_utf8(field);
  }
  // The text of a name: of a client, a user or a topic, or a filter. Whether one of them holds control characters is
  // remembered.
  bool name(std::string_view& value, std::string_view field) {
    base::Bytes bytes;
    if (!binary(bytes, field)) return false;
    value = base::as_text(bytes);
    const Utf8 form = check_utf8(value);
    if (form == Utf8::Plain) [[likely]]
      return true;
    control_characters_ = true;
    return form == Utf8::WithControls || not_utf8(field);
  }
  bool control_characters() const { return control_characters_; }
  void note_control_characters() { control_characters_ = true; }
  bool packet_id(PacketId& value) {
    if (!u16(value, "Packet Identifier")) return false;
    return value != 0 || protocol_error("Packet Identifier", "0 is not allowed", "MQTT-2.2.1-3");
  }
  // Nothing may follow.
  bool done(std::string_view packet) { return at_end() || malformed(packet, "bytes after the end of the packet"); }

  // The reader of the next `size` bytes, which must be there; this one goes on after them.
  Reader take(std::size_t size) {
    Reader part({at_, size});
    at_ += size;
    return part;
  }

 private:
  bool not_utf8(std::string_view field) { return malformed(field, "not UTF-8, or holds U+0000", "MQTT-1.5.4-1"); }
  bool cut_short(std::string_view field) { return malformed(field, "cut short: the packet ends before it"); }
  bool long_varint(std::uint32_t& value, std::string_view field);

  const std::uint8_t* at_;
  const std::uint8_t* end_;
  bool control_characters_ = false;
  DecodeError error_;
};

// Reads Property Length and the properties behind it; `place` says what is allowed there. `raw` becomes the bytes
// behind the length. The packet's own rules, which depend on the sender or on other fields, are left to the caller. (In
// properties.cc: the table decides.)
bool read_properties(Reader& reader, Properties& properties, PropertyPlaces place, base::Bytes& raw);
inline bool read_properties(Reader& reader, Properties& properties, PropertyPlaces place) {
  base::Bytes raw;
  return read_properties(reader, properties, place, raw);
}

// Authentication Data needs an Authentication Method (3.1.2.11.10).
bool check_authentication(Reader& reader, const Properties& properties);

// Makes a packet where it is wanted, without clearing the properties' arrays first (as T() would).
template <class T>
struct Blank {
  operator T() const {  // NOLINT(google-explicit-constructor): lets std::expected construct in place
    T packet;
    return packet;
  }
};

// Runs `parse(packet, reader)` on a packet made in place, and gives the packet or what was wrong.
template <class T, class Parse>
Decoded<T> decode_with(base::Bytes body, Parse&& parse) {
  Decoded<T> result(std::in_place, Blank<T>());
  Reader reader(body);
  if (!parse(*result, reader)) [[unlikely]]
    result = std::unexpected(reader.error());
  return result;
}

}  // namespace vigil::mqtt
