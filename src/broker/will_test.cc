#include "broker/will.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "mqtt/encoder.h"

namespace vigil::broker {
namespace {

using mqtt::Property;

constexpr base::Instant kNow = base::Instant::from_ns(1'000'000'000);

mqtt::Will last_words() {
  return {.topic = "last/words",
          .payload = base::as_bytes("gone"),
          .qos = mqtt::QoS::ExactlyOnce,
          .retain = true,
          .properties = {}};
}

TEST(Will, IsWhatTheClientAskedFor) {
  const Will will = will_of(last_words(), {});
  EXPECT_EQ(will.topic, "last/words");
  EXPECT_EQ(base::as_text(will.payload), "gone");
  EXPECT_EQ(will.qos, mqtt::QoS::ExactlyOnce);
  EXPECT_TRUE(will.retain);
  EXPECT_FALSE(will.has_message_expiry);
  EXPECT_EQ(will.delay_s, 0U);
}

TEST(Will, PassesOnItsPropertiesButNotThoseOfTheWillItself) {
  mqtt::Will asked = last_words();
  asked.properties.set_text(Property::ContentType, "text/plain");
  std::vector<std::uint8_t> passed_on;
  mqtt::encode_properties(passed_on, asked.properties);
  asked.properties.set_number(Property::WillDelayInterval, 5);
  asked.properties.set_number(Property::MessageExpiryInterval, 60);
  const Will will = will_of(asked, {});
  EXPECT_EQ(will.properties, passed_on);
  EXPECT_EQ(will.delay_s, 5U);
  EXPECT_TRUE(will.has_message_expiry);
  EXPECT_EQ(will.message_expiry_s, 60U);
}

TEST(Will, KeepsToTheLimits) {
  Limits limits;
  limits.max_will_delay_s = 10;
  limits.max_message_expiry_s = 30;
  mqtt::Will asked = last_words();
  EXPECT_TRUE(will_of(asked, limits).has_message_expiry);
  EXPECT_EQ(will_of(asked, limits).message_expiry_s, 30U);
  asked.properties.set_number(Property::WillDelayInterval, 11);
  asked.properties.set_number(Property::MessageExpiryInterval, 31);
  EXPECT_EQ(will_of(asked, limits).delay_s, 10U);
  EXPECT_EQ(will_of(asked, limits).message_expiry_s, 30U);
  asked.properties.set_number(Property::WillDelayInterval, 9);
  asked.properties.set_number(Property::MessageExpiryInterval, 29);
  EXPECT_EQ(will_of(asked, limits).delay_s, 9U);
  EXPECT_EQ(will_of(asked, limits).message_expiry_s, 29U);
}

TEST(Will, BecomesAMessage) {
  mqtt::Will asked = last_words();
  asked.properties.set_text(Property::ContentType, "text/plain");
  const Will will = will_of(asked, {});
  const Message::Spec spec = will_message(will, kNow);
  EXPECT_EQ(spec.topic, "last/words");
  EXPECT_EQ(base::as_text(spec.payload), "gone");
  EXPECT_EQ(base::as_text(spec.properties), base::as_text(will.properties));
  EXPECT_EQ(spec.qos, mqtt::QoS::ExactlyOnce);
  EXPECT_TRUE(spec.retain);
  EXPECT_TRUE(spec.expires.is_never());
}

TEST(Will, ExpiresFromItsPublicationOn) {
  EXPECT_EQ(will_message({.has_message_expiry = true, .message_expiry_s = 60}, kNow).expires, kNow + base::seconds(60));
  EXPECT_EQ(will_message({.has_message_expiry = true, .message_expiry_s = 0}, kNow).expires, kNow);
}

}  // namespace
}  // namespace vigil::broker
