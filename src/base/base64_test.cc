#include "base/base64.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace vigil::base {
namespace {

// RFC 4648, section 10.
constexpr std::pair<std::string_view, std::string_view> kExamples[] = {{"", ""},
                                                                       {"f", "Zg=="},
                                                                       {"fo", "Zm8="},
                                                                       {"foo", "Zm9v"},
                                                                       {"foob", "Zm9vYg=="},
                                                                       {"fooba", "Zm9vYmE="},
                                                                       {"foobar", "Zm9vYmFy"}};

TEST(Base64, EncodesTheExamplesOfTheStandard) {
  for (const auto& [plain, encoded] : kExamples) EXPECT_EQ(to_base64(as_bytes(plain)), encoded);
}

TEST(Base64, DecodesTheExamplesOfTheStandard) {
  for (const auto& [plain, encoded] : kExamples) {
    const auto bytes = from_base64(encoded);
    ASSERT_TRUE(bytes) << encoded;
    EXPECT_EQ(as_text(*bytes), plain);
  }
}

TEST(Base64, DecodesWhatItEncoded) {
  Random random(1);
  for (std::size_t size = 0; size < 100; ++size) {
    std::vector<std::uint8_t> bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
    EXPECT_EQ(from_base64(to_base64(bytes)), bytes) << size;
  }
}

TEST(Base64, RefusesOtherCharactersAndLengths) {
  for (const char* wrong : {"A", "AA", "AAA", "AAAAA", "AA A", "AA-_", "A=AA", "*", "AAA\n"}) {
    EXPECT_EQ(from_base64(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace vigil::base
