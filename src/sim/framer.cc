#include "sim/framer.h"

namespace vigil::sim {

std::optional<Framer::Frame> Framer::next() {
  if (broken_) return std::nullopt;
  auto header = mqtt::decode_header(pending_, mqtt::kMaxRemainingLength + 5);
  if (!header) {
    broken_ = header.error();
    return std::nullopt;
  }
  if (!*header || (*header)->size() > pending_.size()) return std::nullopt;
  const auto end = pending_.begin() + static_cast<std::ptrdiff_t>((*header)->size());
  Frame frame{**header, {pending_.begin(), end}};
  pending_.erase(pending_.begin(), end);
  return frame;
}

}  // namespace vigil::sim
