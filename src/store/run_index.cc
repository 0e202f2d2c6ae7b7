#include "store/run_index.h"

#include <algorithm>

#include "base/check.h"

namespace vigil::store {
namespace {

// The first one that reaches up to `number`.
template <class R>
std::size_t lower_bound(std::span<R> runs, std::uint64_t number) {
  const auto it = std::partition_point(runs.begin(), runs.end(),
                                       [number](const Run& run) { return run.first + (run.count - 1U) < number; });
  return static_cast<std::size_t>(it - runs.begin());
}

}  // namespace

void RunIndex::Runs::erase(const Run& run) {
  if (&run == &all[front]) {
    ++front;
    for (; front < all.size() && all[front].live == 0 && !all[front].touched; ++front) --holes;
  } else {
    ++holes;
  }
  if (front + holes <= 32 || front + holes <= all.size() / 2) return;
  std::erase_if(all, [](const Run& one) { return one.live == 0 && !one.touched; });
  all.shrink_to_fit();
  front = holes = 0;
}

void RunIndex::add(const broker::SessionKey& session, const Run& run) {
  CHECK(run.count > 0 && run.count <= 64);
  Runs& runs = sessions_[session];
  const auto at = static_cast<std::ptrdiff_t>(runs.front + lower_bound(runs.rest(), run.first));
  runs.all.insert(runs.all.begin() + at, run);
}

Run* RunIndex::find(const EntryKey& entry) {
  const auto it = sessions_.find(entry.session);
  if (it == sessions_.end()) return nullptr;
  const std::span<Run> runs = it->second.rest();
  const std::size_t i = lower_bound(runs, entry.number);
  return i < runs.size() && runs[i].covers(entry.number) ? &runs[i] : nullptr;
}

std::optional<RunIndex::Taken> RunIndex::take(const EntryKey& entry) {
  Run* run = find(entry);
  if (run == nullptr) return std::nullopt;
  const std::uint64_t bit = std::uint64_t{1} << (entry.number - run->first);
  if ((run->live & bit) == 0) return Taken{};
  run->live &= ~bit;
  if (!std::exchange(run->touched, true)) touched_.push_back({entry.session, run->first});
  return Taken{.live = true, .shared = (run->shared & bit) != 0};
}

void RunIndex::write_changes(Database& database, rocksdb::WriteBatch& batch) {
  std::vector<std::uint8_t> state;
  for (const EntryKey& key : touched_) {
    Run* run = find(key);
    CHECK(run != nullptr && run->first == key.number);
    const EntryBytes at = entry_key(key);
    run->touched = false;
    if (run->live != 0) {
      state.clear();
      encode_number(run->live, state);
      batch.Put(database.family(Family::RunStates), slice(at), slice(base::Bytes(state)));
      run->has_state = true;
      continue;
    }
    batch.SingleDelete(database.family(Family::Runs), slice(at));  // it was put once
    if (run->has_state) batch.Delete(database.family(Family::RunStates), slice(at));
    const auto of_session = sessions_.find(key.session);
    of_session->second.erase(*run);
    if (of_session->second.rest().empty()) sessions_.erase(of_session);
  }
  touched_.clear();
}

std::span<const Run> RunIndex::from(const broker::SessionKey& session, std::uint64_t number) const {
  const auto it = sessions_.find(session);
  if (it == sessions_.end()) return {};
  const std::span<const Run> runs = it->second.rest();
  return runs.subspan(lower_bound(runs, number));
}

}  // namespace vigil::store
