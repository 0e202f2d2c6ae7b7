// The client's half of the transcript language: one command as text becomes the bytes of one packet.
// test/transcripts/README.md describes the words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "mqtt/encoder.h"
#include "mqtt/types.h"

namespace vigil::sim {

template <class T>
using Parsed = base::Result<T, std::string>;

// `key=value`, or a word without a key.
struct Field {
  std::string key;
  std::string value;
};

struct Command {
  std::string name;
  std::vector<Field> fields;

  const std::string* find(std::string_view key) const;
};

// Splits at blanks outside of double quotes, which are taken off.
Parsed<Command> parse_command(std::string_view text);
// Splits a line at semicolons outside of double quotes.
std::vector<std::string> split_commands(std::string_view line);

// "5s", "500ms", "20us"
Parsed<base::Duration> parse_duration(std::string_view text);
Parsed<std::uint64_t> parse_number(std::string_view text);

struct PacketDefaults {
  mqtt::Version version = mqtt::Version::V5;
  std::string client_id;
  mqtt::PacketId packet_id = 1;  // where none is given
};

// True if the command's name is that of a packet.
bool names_packet(std::string_view name);
Parsed<mqtt::Buffer> encode_command(const Command& command, const PacketDefaults& defaults);
// The version that a CONNECT command speaks.
Parsed<mqtt::Version> version_of(const Command& command, mqtt::Version otherwise);

}  // namespace vigil::sim
