// Bytes on their way to one connection, in two lanes: control packets (acknowledgements, PINGRESP, DISCONNECT), which
// are never dropped, and application messages, which are bounded.
//
// While the peer keeps up, everything leaves in the order in which it was added. Once the connection is congested,
// control packets pass the messages that wait. A frame once begun is finished first.
//
// Owned by its connection, on its shard. The socket's side takes with gather() and consume().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/compact.h"
#include "broker/message.h"

namespace vigil::broker {

class Outbox {
 public:
  bool empty() const { return control_left() == 0 && data_left_ == 0; }
  std::size_t size() const { return control_left() + data_left_; }
  std::size_t data_size() const { return data_left_; }
  std::size_t control_size() const { return control_left(); }
  // What it occupies, in bytes, also while it is empty.
  std::size_t memory() const {
    return sizeof(Outbox) + control_.capacity() + bytes_.capacity() + pieces_.capacity() * sizeof(Piece) +
           frames_.capacity() * sizeof(std::uint32_t) + places_.capacity() * sizeof(Place);
  }

  // For control packets: append whole packets to this buffer, at once.
  std::vector<std::uint8_t>& control() {
    if (data_left_ > 0 && !congested_) keep_place();
    return control_;
  }
  // The socket did not accept everything: until the outbox is empty, control packets pass the messages.
  void congested() {
    congested_ = true;
    places_.clear();
  }

  // Room for a frame of the data lane, to be filled at once. (Until the next change.)
  std::uint8_t* add_frame(std::size_t size) { return add_frame(size, kNobody, {}); }
  // The same, and it ends with a payload that is not copied.
  std::uint8_t* add_frame(std::size_t size, const MessagePtr& owner, base::Bytes payload);

  // The bytes to write now, at most out.size() pieces; returns how many pieces. They stay valid until the next change.
  std::size_t gather(std::span<base::Bytes> out) const;
  // `written` bytes of what gather() gave have gone.
  void consume(std::size_t written);

  // Drops the messages that wait; the rest of a frame already begun stays, so that what follows it can be read by the
  // peer.
  void drop_messages();
  // Everything left, in writing order, as one buffer; the outbox is then empty.
  std::vector<std::uint8_t> take_all();

 private:
  // A run of the data lane: copied bytes, or a part of a shared message.
  struct Piece {
    MessagePtr owner;  // null: in bytes_
    const std::uint8_t* data = nullptr;
    std::size_t offset = 0;  // into bytes_
    std::size_t size = 0;
  };

  // Control bytes from here on stay behind that much of the data lane.
  struct Place {
    std::size_t control = 0;  // offset into control_
    std::size_t data = 0;     // as data_end() counts
  };

  std::size_t control_left() const { return control_.size() - control_done_; }
  std::size_t data_end() const { return data_done_ + data_left_; }
  void keep_place();
  inline static const MessagePtr kNobody;
  base::Bytes view(const Piece& piece) const {
    return piece.owner ? base::Bytes(piece.data, piece.size) : base::Bytes(bytes_.data() + piece.offset, piece.size);
  }
  void consume_in_order(std::size_t written);
  void consume_data(std::size_t n);
  void reset_data();

  std::vector<std::uint8_t> control_;
  std::size_t control_done_ = 0;
  base::CompactVector<Place> places_;  // in order; those that are passed go at the next change
  bool congested_ = false;

  base::CompactVector<std::uint8_t> bytes_;
  std::vector<Piece> pieces_;
  std::vector<std::uint32_t> frames_;  // sizes
  std::size_t first_piece_ = 0;
  std::size_t piece_done_ = 0;  // bytes of the first piece
  std::size_t first_frame_ = 0;
  std::size_t frame_done_ = 0;  // bytes of the first frame
  std::size_t data_left_ = 0;
  std::size_t data_done_ = 0;  // bytes written since the data lane was empty
};

}  // namespace vigil::broker
