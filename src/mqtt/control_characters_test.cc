#include "mqtt/control_characters.h"

#include <gtest/gtest.h>

#include "mqtt/wire_test.h"

namespace vigil::mqtt {
namespace {

using enum Version;
using enum Sender;
using enum ReasonCode;

// What is said of the packet, or nullopt where it has no name with control characters.
std::optional<DecodeError> said_of(const Parsed& parsed) {
  if (!parsed.packet) {
    ADD_FAILURE() << parsed.packet.error().field << ": " << parsed.packet.error().detail;
    return std::nullopt;
  }
  return std::visit(
      [](const auto& packet) -> std::optional<DecodeError> {
        if constexpr (requires { find_control_characters(packet); }) {
          const auto found = find_control_characters(packet);
          EXPECT_EQ(packet.control_characters, found.has_value()) << "the decoder's mark";
          return found;
        } else {
          ADD_FAILURE() << "no packet with names";
          return std::nullopt;
        }
      },
      *parsed.packet);
}

TEST(ControlCharacters, AreFoundInEveryName) {
  struct Case {
    std::string_view wire;
    std::string_view field;
    ReasonCode code;
  };
  for (const Case& c : {
           Case{R"(10 ~ "MQTT" 05 02 003C 00 0002 6101)", "Client Identifier", ClientIdentifierNotValid},
           Case{R"(10 ~ "MQTT" 05 82 003C 00 "c" 0003 61C285)", "User Name", BadUserNameOrPassword},
           Case{R"(10 ~ "MQTT" 05 06 003C 00 "c" 00 0002 617F "bye")", "Will Topic", TopicNameInvalid},
           Case{R"(10 ~ "MQTT" 05 06 003C 00 "c" 05 08 0002 611F "w" "bye")", "Response Topic", TopicNameInvalid},
           Case{"30 ~ 0002 610A 00", "Topic Name", TopicNameInvalid},
           Case{R"(30 ~ "t" 05 08 0002 611F)", "Response Topic", TopicNameInvalid},
           Case{R"(82 ~ 0001 00 "a" 00 0002 6101 00)", "Topic Filter", TopicFilterInvalid},
           Case{R"(A2 ~ 0001 00 "a" 0002 6101)", "Topic Filter", TopicFilterInvalid},
       }) {
    SCOPED_TRACE(c.wire);
    const Parsed parsed = parse(wire(c.wire), V5, Client);
    const auto found = said_of(parsed);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->field, c.field);
    EXPECT_EQ(found->code, c.code);
    EXPECT_FALSE(found->text.empty());
  }
}

// They are the business of whoever reads them: payloads, properties that are no names, passwords.
TEST(ControlCharacters, AreNotLookedForElsewhere) {
  for (const std::string_view text : {
           R"(10 ~ "MQTT" 05 C6 003C {26 0001 01 "v"} "c" 00 "w" 0001 01 "u" 0001 01)",
           R"(30 ~ "t" {03 0001 09 26 "n" 0002 0D0A 09 0001 01} 01 02)",
           R"(82 ~ 0001 {26 "n" 0001 0A} "a" 00)",
           R"(A2 ~ 0001 {26 "n" 0001 0A} "a")",
       }) {
    SCOPED_TRACE(text);
    const Parsed parsed = parse(wire(text), V5, Client);
    EXPECT_FALSE(said_of(parsed));
  }
}

}  // namespace
}  // namespace vigil::mqtt
