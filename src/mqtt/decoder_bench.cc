#include "mqtt/decoder.h"

#include <benchmark/benchmark.h>

#include <string>

#include "mqtt/encoder.h"

namespace vigil::mqtt {
namespace {

constexpr std::string_view kTopic = "plant/line-4/press/temperature";
constexpr std::string_view kPayload = "{\"t\":21.5,\"unit\":\"C\",\"at\":1700000000,\"seq\":123456,\"ok\":true}";

Publish sample(bool with_properties) {
  Publish publish{.topic = kTopic, .payload = base::as_bytes(kPayload)};
  if (with_properties) {
    publish.properties.set_number(Property::MessageExpiryInterval, 60);
    publish.properties.set_text(Property::ContentType, "application/json");
    publish.properties.user.push_back({"site", "north"});
  }
  return publish;
}

void run_decode(benchmark::State& state, Version version, bool with_properties) {
  Buffer bytes;
  encode_publish(bytes, version, sample(with_properties));
  for (auto _ : state) {
    const auto header = decode_header(bytes, kMaxRemainingLength, version);
    const auto publish =
        decode_publish(**header, base::Bytes(bytes).subspan((*header)->header_size), version, Sender::Client);
    benchmark::DoNotOptimize(publish->payload.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * bytes.size()));
}

void run_encode(benchmark::State& state, Version version, bool with_properties) {
  const Publish publish = sample(with_properties);
  Buffer out;
  for (auto _ : state) {
    out.clear();
    encode_publish(out, version, publish);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * out.size()));
}

BENCHMARK_CAPTURE(run_decode, publish_v311, Version::V311, false);
BENCHMARK_CAPTURE(run_decode, publish_v5, Version::V5, false);
BENCHMARK_CAPTURE(run_decode, publish_v5_properties, Version::V5, true);
BENCHMARK_CAPTURE(run_encode, publish_v311, Version::V311, false);
BENCHMARK_CAPTURE(run_encode, publish_v5, Version::V5, false);
BENCHMARK_CAPTURE(run_encode, publish_v5_properties, Version::V5, true);

}  // namespace
}  // namespace vigil::mqtt
