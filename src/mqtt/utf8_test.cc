#include "mqtt/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using namespace std::string_literals;

bool valid(const std::string& text) {
  const Exact copy(base::as_bytes(text));
  return valid_utf8(base::as_text(copy.bytes()));
}

std::string encode_scalar(std::uint32_t c) {
  std::string s;
  if (c < 0x80) {
    s += static_cast<char>(c);
  } else if (c < 0x800) {
    s += static_cast<char>(0xC0U | (c >> 6U));
    s += static_cast<char>(0x80U | (c & 0x3FU));
  } else if (c < 0x10000) {
    s += static_cast<char>(0xE0U | (c >> 12U));
    s += static_cast<char>(0x80U | ((c >> 6U) & 0x3FU));
    s += static_cast<char>(0x80U | (c & 0x3FU));
  } else {
    s += static_cast<char>(0xF0U | (c >> 18U));
    s += static_cast<char>(0x80U | ((c >> 12U) & 0x3FU));
    s += static_cast<char>(0x80U | ((c >> 6U) & 0x3FU));
    s += static_cast<char>(0x80U | (c & 0x3FU));
  }
  return s;
}

// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT3-1.5.3-1] [MQTT3-1.5.3-2]
TEST(Utf8, AcceptsEveryCodePointButSurrogatesAndZero) {
  for (std::uint32_t c = 0; c <= 0x10FFFF; ++c) {
    const bool legal = c != 0 && (c < 0xD800 || c > 0xDFFF);
    ASSERT_EQ(valid_utf8(encode_scalar(c)), legal) << c;
  }
  EXPECT_FALSE(valid(encode_scalar(0x110000)));
  EXPECT_TRUE(valid(""));
}

TEST(Utf8, RefusesWhatIsNotWellFormed) {
  for (const std::string& bad : {"\x80"s,
                                 "\xBF"s,
                                 "\xC0\x80"s,
                                 "\xC1\xBF"s,
                                 "\xC2"s,
                                 "\xC2\x41"s,
                                 "\xE0\x80\x80"s,
                                 "\xE0\x9F\xBF"s,
                                 "\xE1\x80"s,
                                 "\xE1\x41\x80"s,
                                 "\xE1\x80\x41"s,
                                 "\xED\xA0\x80"s,
                                 "\xED\xBF\xBF"s,
                                 "\xF0\x80\x80\x80"s,
                                 "\xF0\x8F\xBF\xBF"s,
                                 "\xF1\x80\x80"s,
                                 "\xF1\x41\x80\x80"s,
                                 "\xF1\x80\x41\x80"s,
                                 "\xF1\x80\x80\x41"s,
                                 "\xF4\x90\x80\x80"s,
                                 "\xF5\x80\x80\x80"s,
                                 "\xFE"s,
                                 "\xFF"s}) {
    EXPECT_FALSE(valid(bad)) << testing::PrintToString(bad);
  }
}

// 1.5.4: U+0001..U+001F and U+007F..U+009F should not be there, but are legal. Nothing else is one of them.
TEST(Utf8, TellsControlCharactersFromOthers) {
  for (std::uint32_t c = 1; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const bool control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
    ASSERT_EQ(check_utf8(encode_scalar(c)), control ? Utf8::WithControls : Utf8::Plain) << c;
    ASSERT_EQ(has_control_characters(encode_scalar(c)), control) << c;
  }
  EXPECT_EQ(check_utf8(""), Utf8::Plain);
}

TEST(Utf8, SeesAControlCharacterAtEveryOffset) {
  for (const std::string& control : {"\x01"s, "\x1F"s, "\x7F"s, "\xC2\x80"s, "\xC2\x9F"s}) {
    for (std::size_t length = 1; length <= 40; ++length) {
      for (std::size_t at = 0; at < length; ++at) {
        std::string text(length, '~');
        text.replace(at, 1, control);
        EXPECT_EQ(check_utf8(text), Utf8::WithControls) << length << " " << at;
        // What is wrong behind it is not overlooked.
        EXPECT_EQ(check_utf8(text + "abcdefgh\xFF"), Utf8::Illegal) << length << " " << at;
      }
    }
  }
}

// The fast path takes eight bytes at once: the result may not depend on where a byte stands.
TEST(Utf8, SeesABadByteAtEveryOffset) {
  for (std::size_t length = 1; length <= 40; ++length) {
    for (std::size_t at = 0; at < length; ++at) {
      std::string text(length, 'a');
      EXPECT_TRUE(valid(text));
      text[at] = '\0';
      EXPECT_FALSE(valid(text)) << length << " " << at;
      text[at] = '\xFF';
      EXPECT_FALSE(valid(text)) << length << " " << at;
      text[at] = '\x01';
      EXPECT_TRUE(valid(text)) << length << " " << at;
      text.replace(at, 1, "\xE2\x82\xAC");
      EXPECT_TRUE(valid(text)) << length << " " << at;
    }
  }
}

// [MQTT-1.5.4-3] [MQTT3-1.5.3-3]
TEST(Utf8, KeepsTheByteOrderMark) {
  const Parsed parsed = parse(wire("30 ~ 0004 EFBBBF 'a'"), Version::V311, Sender::Client);
  ASSERT_TRUE(parsed.packet);
  EXPECT_EQ(std::get<Publish>(*parsed.packet).topic,
            "\xEF\xBB\xBF"
            "a");
}

}  // namespace
}  // namespace vigil::mqtt
