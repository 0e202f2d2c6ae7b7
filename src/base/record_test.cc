#include "base/record.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace vigil::base {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

TEST(Record, ReadsWhatWasWritten) {
  std::vector<std::uint8_t> bytes;
  RecordWriter out(bytes);
  out.u8(7);
  out.u32(0x01020304);
  out.u64(UINT64_MAX);
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, UINT64_MAX}) {
    out.varint(value);
  }
  out.when_ms(kNever);
  out.when_ms(0);
  out.text("text");
  RecordReader in(bytes);
  EXPECT_EQ(in.u8(), 7);
  EXPECT_EQ(in.u32(), 0x01020304U);
  EXPECT_EQ(in.u64(), UINT64_MAX);
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, UINT64_MAX}) {
    EXPECT_EQ(in.varint(), value);
  }
  EXPECT_EQ(in.when_ms(), kNever);
  EXPECT_EQ(in.when_ms(), 0);
  EXPECT_EQ(in.text(), "text");
  EXPECT_TRUE(in.done());
}

TEST(Record, FailsForGoodWhereTheInputEnds) {
  std::vector<std::uint8_t> bytes;
  RecordWriter(bytes).text("text");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    RecordReader in(Bytes(bytes).first(size));
    EXPECT_EQ(in.text(), "");
    EXPECT_FALSE(in.ok());
    EXPECT_EQ(in.u8(), 0);
  }
}

TEST(Record, RefusesVarintsThatDoNotFit) {
  const std::vector<std::uint8_t> bytes(11, 0xFF);
  RecordReader endless(bytes);
  endless.varint();
  EXPECT_FALSE(endless.ok());
  const std::vector<std::uint8_t> small = {0x80, 0x02};
  RecordReader bounded(small);
  bounded.varint(255);
  EXPECT_FALSE(bounded.ok());
}

TEST(Record, ReportsWhatIsLeftOver) {
  const std::vector<std::uint8_t> bytes = {1, 2};
  RecordReader in(bytes);
  in.u8();
  EXPECT_TRUE(in.ok());
  EXPECT_FALSE(in.done());
}

}  // namespace
}  // namespace vigil::base
