#include "net/listening.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vigil::net {
namespace {

using testing::HasSubstr;

TEST(ListenFailure, SaysWhatHelps) {
  const io::Endpoint low = io::Endpoint::parse("127.0.0.1:80").value();
  const auto sentence = [&](std::errc error) { return listen_failure(low, std::make_error_code(error)); };
  EXPECT_THAT(sentence(std::errc::permission_denied), HasSubstr("CAP_NET_BIND_SERVICE"));
  EXPECT_THAT(sentence(std::errc::address_not_available), HasSubstr("does not have the address 127.0.0.1"));
  EXPECT_THAT(sentence(std::errc::too_many_files_open), HasSubstr("LimitNOFILE"));
  EXPECT_THAT(sentence(std::errc::io_error), HasSubstr("Cannot listen on 127.0.0.1:80"));
}

TEST(ListenFailure, SpeaksOfThePathOfAUnixSocket) {
  const io::Endpoint path = io::Endpoint::parse("unix:/run/nowhere/v.sock").value();
  for (const std::errc error : {std::errc::address_in_use, std::errc::permission_denied, std::errc::io_error,
                                std::errc::no_such_file_or_directory}) {
    const std::string sentence = listen_failure(path, std::make_error_code(error));
    EXPECT_THAT(sentence, HasSubstr("/run/nowhere/v.sock"));
    EXPECT_THAT(sentence, testing::Not(HasSubstr("ort 0")));
  }
}

TEST(ListenFailure, SpeaksOfTheGroupOfAUnixSocket) {
  const io::Endpoint path = io::Endpoint::parse("unix:/run/vigilmq/v.sock").value();
  const std::string sentence = listen_failure(path, std::make_error_code(std::errc::operation_not_permitted), "mqtt");
  EXPECT_THAT(sentence, HasSubstr("to the group mqtt"));
  EXPECT_THAT(sentence, HasSubstr("SupplementaryGroups=mqtt"));
}

TEST(OpenListeners, AGroupThatIsNotThereIsSaidPlainly) {
  ListenerSettings listener;
  listener.bind = {*BindAddress::parse("unix:/tmp/never-made.sock")};
  listener.socket_group = "no-such-group-here";
  const auto opened = open_listeners({&listener, 1});
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error(), HasSubstr("no group no-such-group-here"));
}

TEST(OpenListeners, AllInterfacesAreCalledSo) {
  ListenerSettings listener;
  listener.bind = {*BindAddress::parse("*:0")};
  const auto opened = open_listeners({&listener, 1});
  ASSERT_TRUE(opened.has_value());
  // Where this machine has no IPv6, it is IPv4 alone.
  const std::string text = opened->at(0).endpoint.text();
  EXPECT_TRUE(text.starts_with("*:") || text.starts_with("0.0.0.0:")) << text;
  EXPECT_FALSE(text.ends_with(":0")) << text;
}

}  // namespace
}  // namespace vigil::net
