// The column families of the store, which docs/formats.md describes: kinds of records, each with its own keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vigil::store {

enum class Family : std::uint8_t {
  Meta,
  Sessions,
  Subscriptions,
  Unreleased,
  Queue,
  Messages,
  Retained,
  Presence,
  Runs,
  RunStates,
  PacketIds
};

inline constexpr std::size_t kFamilies = 11;
// As RocksDB knows them.
inline constexpr std::array<std::string_view, kFamilies> kFamilyNames = {
    "default",  "sessions", "subscriptions", "unreleased", "queue",     "messages",
    "retained", "presence", "runs",          "run_states", "packet_ids"};

inline std::string_view name(Family family) { return kFamilyNames[static_cast<std::size_t>(family)]; }

// Keys of Family::Meta.
inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kClockKey = "clock_floor_ms";
// Of store time.
inline constexpr std::string_view kReachedKey = "store_time_ms";
inline constexpr std::string_view kBootKey = "boot";
inline constexpr std::string_view kBootBeganKey = "boot_began_ms";
inline constexpr std::string_view kWallAheadPrefix = "wall_ahead_ms.";

}  // namespace vigil::store
