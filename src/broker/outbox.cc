#include "broker/outbox.h"

#include <algorithm>

#include "base/check.h"

namespace vigil::broker {
namespace {

// A buffer that once grew beyond this is given back when it is empty.
constexpr std::size_t kKeptCapacity = std::size_t{16} * 1024;

}  // namespace

std::uint8_t* Outbox::add_frame(std::size_t size, const MessagePtr& owner, base::Bytes payload) {
  const std::size_t start = bytes_.size();
  bytes_.resize(start + size, boost::container::default_init);
  // Copied bytes that follow each other are one piece.
  if (!pieces_.empty() && !pieces_.back().owner) {
    pieces_.back().size += size;
  } else {
    pieces_.push_back({.owner = {}, .data = nullptr, .offset = start, .size = size});
  }
  if (!payload.empty()) {
    pieces_.push_back({.owner = owner, .data = payload.data(), .offset = 0, .size = payload.size()});
  }
  frames_.push_back(static_cast<std::uint32_t>(size + payload.size()));
  data_left_ += size + payload.size();
  return bytes_.data() + start;
}

std::size_t Outbox::gather(std::span<base::Bytes> out) const {
  if (data_left_ == 0) {
    if (control_left() == 0 || out.empty()) return 0;
    out[0] = base::Bytes(control_).subspan(control_done_);
    return 1;
  }
  std::size_t count = 0;
  std::size_t piece = first_piece_;
  std::size_t done = piece_done_;
  // Emits up to `limit` bytes of the data lane from where the last call ended.
  const auto data = [&](std::size_t limit) {
    while (limit > 0 && count < out.size() && piece < pieces_.size()) {
      const base::Bytes rest = view(pieces_[piece]).subspan(done);
      const std::size_t n = std::min(limit, rest.size());
      out[count++] = rest.first(n);
      limit -= n;
      done += n;
      if (n == rest.size()) {
        ++piece;
        done = 0;
      }
    }
    return limit == 0;
  };
  std::size_t left = data_left_;
  if (frame_done_ > 0) {
    const std::size_t begun = frames_[first_frame_] - frame_done_;
    if (!data(begun)) return count;
    left -= begun;
  }
  if (places_.empty()) {
    if (control_left() > 0) {
      if (count == out.size()) return count;
      out[count++] = base::Bytes(control_).subspan(control_done_);
    }
    data(left);
    return count;
  }
  std::size_t from = control_done_;
  const auto control = [&](std::size_t to) {
    if (to <= from) return true;
    if (count == out.size()) return false;
    out[count++] = base::Bytes(control_).subspan(from, to - from);
    from = to;
    return true;
  };
  for (const Place& place : places_) {
    if (!control(place.control)) return count;
    // What is behind the place leaves after this much of the data lane.
    const std::size_t behind = data_end() - place.data;
    if (behind >= left) continue;
    if (!data(left - behind)) return count;
    left = behind;
  }
  if (control(control_.size())) data(left);
  return count;
}

// A control packet was asked for while messages wait: it stays behind them.
void Outbox::keep_place() {
  if (places_.empty() || places_.back().data != data_end()) places_.push_back({control_.size(), data_end()});
}

void Outbox::consume(std::size_t written) {
  CHECK(written <= size());
  if (frame_done_ > 0) {
    const std::size_t n = std::min<std::size_t>(written, frames_[first_frame_] - frame_done_);
    consume_data(n);
    written -= n;
  }
  if (places_.empty()) {
    const std::size_t of_control = std::min(written, control_left());
    control_done_ += of_control;
    if (written > of_control) consume_data(written - of_control);
  } else {
    consume_in_order(written);
  }
  if (control_left() == 0 && control_done_ > 0) {
    control_.clear();
    control_done_ = 0;
    places_.clear();
    if (control_.capacity() > kKeptCapacity) control_.shrink_to_fit();
  }
  if (congested_) congested_ = !empty();
}

void Outbox::consume_in_order(std::size_t written) {
  std::size_t passed = 0;
  while (written > 0) {
    while (passed < places_.size() && (data_left_ == 0 || places_[passed].data <= data_done_)) ++passed;
    const bool last = passed == places_.size();
    const std::size_t of_control =
        std::min(written, (last ? control_.size() : places_[passed].control) - control_done_);
    control_done_ += of_control;
    written -= of_control;
    const std::size_t of_data = std::min(written, last ? data_left_ : places_[passed].data - data_done_);
    if (of_data > 0) consume_data(of_data);
    written -= of_data;
  }
  if (data_left_ == 0) {
    places_.clear();
  } else if (passed > 0) {
    places_.erase(places_.begin(), places_.begin() + static_cast<std::ptrdiff_t>(passed));
  }
}

void Outbox::consume_data(std::size_t n) {
  data_left_ -= n;
  if (data_left_ == 0) {
    reset_data();
    return;
  }
  data_done_ += n;
  for (std::size_t left = n; left > 0;) {
    const std::size_t of_frame = frames_[first_frame_] - frame_done_;
    if (left < of_frame) {
      frame_done_ += left;
      break;
    }
    left -= of_frame;
    ++first_frame_;
    frame_done_ = 0;
  }
  while (n > 0) {
    Piece& piece = pieces_[first_piece_];
    const std::size_t of_piece = piece.size - piece_done_;
    if (n < of_piece) {
      piece_done_ += n;
      break;
    }
    n -= of_piece;
    piece = {};
    ++first_piece_;
    piece_done_ = 0;
  }
  // A reader that never catches up must not make the consumed part grow: move what is left to the front once it is the
  // smaller half.
  std::size_t used = bytes_.size();
  for (std::size_t i = first_piece_; i < pieces_.size(); ++i) {
    if (!pieces_[i].owner) {
      used = pieces_[i].offset + (i == first_piece_ ? piece_done_ : 0);
      break;
    }
  }
  if (used > kKeptCapacity && used > bytes_.size() / 2) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(used));
    for (std::size_t i = first_piece_; i < pieces_.size(); ++i) {
      Piece& piece = pieces_[i];
      if (piece.owner) continue;
      if (i == first_piece_) {
        piece.size -= piece_done_;
        piece.offset += piece_done_;
        piece_done_ = 0;
      }
      piece.offset -= used;
    }
  }
  if (first_piece_ > 64 && first_piece_ > pieces_.size() / 2) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_piece_));
    first_piece_ = 0;
  }
  if (first_frame_ > 64 && first_frame_ > frames_.size() / 2) {
    frames_.erase(frames_.begin(), frames_.begin() + static_cast<std::ptrdiff_t>(first_frame_));
    first_frame_ = 0;
  }
}

void Outbox::reset_data() {
  bytes_.clear();
  if (bytes_.capacity() > kKeptCapacity) bytes_.shrink_to_fit();
  pieces_.clear();
  frames_.clear();
  first_piece_ = piece_done_ = first_frame_ = frame_done_ = data_left_ = data_done_ = 0;
}

void Outbox::drop_messages() {
  places_.clear();
  if (frame_done_ == 0) {
    reset_data();
    return;
  }
  std::vector<std::uint8_t> rest;
  std::size_t left = frames_[first_frame_] - frame_done_;
  rest.reserve(left);
  for (std::size_t i = first_piece_; left > 0; ++i) {
    base::Bytes bytes = view(pieces_[i]);
    if (i == first_piece_) bytes = bytes.subspan(piece_done_);
    bytes = bytes.first(std::min(left, bytes.size()));
    rest.insert(rest.end(), bytes.begin(), bytes.end());
    left -= bytes.size();
  }
  reset_data();
  bytes_.assign(rest.begin(), rest.end());
  // The frame counts as begun: control packets stay behind it.
  pieces_.push_back({.owner = {}, .data = nullptr, .offset = 0, .size = rest.size()});
  frames_.push_back(static_cast<std::uint32_t>(rest.size()) + 1);
  frame_done_ = 1;
  data_left_ = rest.size();
}

std::vector<std::uint8_t> Outbox::take_all() {
  std::vector<std::uint8_t> all;
  all.reserve(size());
  std::vector<base::Bytes> parts(pieces_.size() - first_piece_ + 3 + 2 * places_.size());
  const std::size_t count = gather(parts);
  for (std::size_t i = 0; i < count; ++i) all.insert(all.end(), parts[i].begin(), parts[i].end());
  control_.clear();
  control_done_ = 0;
  places_.clear();
  reset_data();
  return all;
}

}  // namespace vigil::broker
