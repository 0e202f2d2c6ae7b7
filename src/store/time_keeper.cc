#include "store/time_keeper.h"

#include <charconv>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include "store/database.h"
#include "store/record_codec.h"

namespace vigil::store {
namespace {

// How much of the time that a store has seen a power cut may take back.
constexpr std::int64_t kReachedEveryMs = 5'000;

std::optional<std::int64_t> moment_in(std::string_view digits) {
  std::int64_t ms = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ms);
  return error == std::errc() && end == digits.data() + digits.size() ? std::optional(ms) : std::nullopt;
}

// Keys sort as the moments do.
std::string wall_key(std::int64_t from_ms) { return fmt::format("{}{:019}", kWallAheadPrefix, from_ms); }

}  // namespace

base::Result<broker::KeptTime, std::string> TimeKeeper::read() {
  broker::KeptTime time;
  const auto it = database_.scan(Family::Meta, {});
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string_view key = base::as_text(bytes(it->key()));
    const auto number = decode_number(bytes(it->value()));
    if (!number) continue;
    const auto ms = static_cast<std::int64_t>(*number);
    if (key == kReachedKey) time.reached_ms = ms;
    if (key == kBootKey) time.boot = *number;
    if (key == kBootBeganKey) time.boot_began_ms = ms;
    if (!key.starts_with(kWallAheadPrefix)) continue;
    const auto from_ms = moment_in(key.substr(kWallAheadPrefix.size()));
    if (from_ms) time.wall.set({.from_ms = *from_ms, .ahead_ms = ms});
  }
  if (!it->status().ok()) return base::Err(explain(it->status(), database_.directory()));
  written_ = time;
  return time;
}

void TimeKeeper::put(const broker::KeptTime& time, rocksdb::WriteBatch& batch) {
  const auto put_number = [&](std::string_view key, std::uint64_t value) {
    std::vector<std::uint8_t> record;
    encode_number(value, record);
    batch.Put(database_.family(Family::Meta), slice(key), slice(record));
  };
  put_number(kReachedKey, static_cast<std::uint64_t>(time.reached_ms));
  if (time.boot != written_.boot || time.boot_began_ms != written_.boot_began_ms) {
    put_number(kBootKey, time.boot);
    put_number(kBootBeganKey, static_cast<std::uint64_t>(time.boot_began_ms));
  }
  if (time.wall != written_.wall) {
    for (const auto& change : written_.wall.changes()) {
      batch.Delete(database_.family(Family::Meta), slice(wall_key(change.from_ms)));
    }
    for (const auto& change : time.wall.changes()) {
      put_number(wall_key(change.from_ms), static_cast<std::uint64_t>(change.ahead_ms));
    }
  }
  written_ = time;
}

void TimeKeeper::put_reached(std::int64_t store_ms, rocksdb::WriteBatch& batch) {
  if (store_ms < written_.reached_ms + kReachedEveryMs) return;
  broker::KeptTime time = written_;
  time.reached_ms = store_ms;
  put(time, batch);
}

}  // namespace vigil::store
