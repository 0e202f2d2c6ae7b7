// Every decoder of stored records against arbitrary bytes: the first byte says which. What is decoded is encoded, and
// decoded again to the same.
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "base/record.h"
#include "broker/presence_record.h"
#include "store/record_codec.h"
#include "store/run_record.h"

namespace {

using namespace vigil;
using namespace vigil::store;
using base::Bytes;
using Buffer = std::vector<std::uint8_t>;

const broker::SessionKey kKey{.sequence = 77, .shard = 5};

bool same(const MessageView& a, const MessageView& b) {
  return a.topic == b.topic && base::as_text(a.properties) == base::as_text(b.properties) &&
         base::as_text(a.payload) == base::as_text(b.payload) && a.qos == b.qos && a.retain == b.retain &&
         a.expires_ms == b.expires_ms && a.position == b.position;
}

void session(Bytes in) {
  const auto first = decode_session(kKey, in);
  if (!first) return;
  Buffer out;
  encode_session(*first, out);
  CHECK(decode_session(kKey, out) == first);
}

void subscription(Bytes in) {
  const SubscriptionBytes key = subscription_key(kKey, 3);
  const auto first = decode_subscription(key, in);
  if (!first) return;
  Buffer out;
  encode_subscription(*first, out);
  const auto second = decode_subscription(key, out);
  CHECK(second && second->session == kKey && second->number == 3 && second->text == first->text &&
        second->options == first->options && second->subscription_id == first->subscription_id);
}

void message(Bytes in) {
  const auto first = decode_message(in);
  if (!first) return;
  Buffer out;
  encode_message(*first, out);
  const auto second = decode_message(out);
  CHECK(second && same(*first, *second));
  const broker::Moment now{.at = base::Instant::from_ns(1), .unix_ms = 1'900'000'000'000};
  CHECK(to_message(*first, now)->topic() == first->topic);
}

void entry(Bytes in) {
  const auto head = decode_entry_head(in);
  const auto first = decode_entry(in);
  if (!first) return;
  CHECK(head == first->head);
  Buffer out;
  if (first->head.released) {
    encode_released(out);
    CHECK(decode_entry(out)->head.released);
    return;
  }
  if (first->head.shared) {
    encode_shared_entry(first->terms(), first->position, first->head.content_bytes, first->head.expires_ms, out);
  } else {
    encode_entry(first->terms(), first->message, Placing::Inline, out);
  }
  const auto second = decode_entry(out);
  CHECK(second && second->head == first->head && second->share == first->share);
  CHECK(second->subscription_ids == first->subscription_ids && second->position == first->position);
  CHECK(same(first->message, second->message));
}

void run(Bytes in) {
  const auto first = decode_run(in);
  if (!first) return;
  for (const Bytes one : *first) entry(one);
  Buffer out;
  encode_run(*first, out);
  const auto second = decode_run(out);
  CHECK(second && second->size() == first->size());
  for (std::size_t i = 0; i < first->size(); ++i) CHECK(base::as_text((*first)[i]) == base::as_text((*second)[i]));
}

void presence(Bytes in) {
  const auto first = broker::decode_presence(in);
  if (!first) return;
  Buffer once;
  broker::encode_presence(*first, once);
  const auto second = broker::decode_presence(once);
  CHECK(second.has_value());
  Buffer twice;
  broker::encode_presence(*second, twice);
  CHECK(once == twice);
}

void keys(Bytes in) {
  if (const auto key = read_position_key(in)) CHECK(base::as_text(position_key(*key)) == base::as_text(in));
  if (const auto key = read_entry_key(in)) CHECK(base::as_text(entry_key(*key)) == base::as_text(in));
  if (const auto key = read_subscription_key(in)) {
    CHECK(base::as_text(subscription_key(key->session, key->number)) == base::as_text(in));
  }
  if (const auto key = read_unreleased_key(in)) {
    CHECK(base::as_text(unreleased_key(key->session, key->packet_id)) == base::as_text(in));
  }
  decode_number(in);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes in(data + 1, size - 1);
  switch (data[0] % 7) {
    case 0: session(in); break;
    case 1: subscription(in); break;
    case 2: message(in); break;
    case 3: entry(in); break;
    case 4: presence(in); break;
    case 6: run(in); break;
    default: keys(in); break;
  }
  return 0;
}
