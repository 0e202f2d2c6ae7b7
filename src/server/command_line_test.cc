#include "server/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace vigil::server {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Command = store::ToolRequest::Command;

base::Result<CommandLine, CommandLineEnd> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "vigilmq");
  return parse_command_line(static_cast<int>(words.size()), words.data(), "1.2.3");
}

// The first line of what is said about a wrong command line.
std::string wrong(std::vector<const char*> words) {
  const auto line = parse(std::move(words));
  if (line) return "nothing is wrong";
  EXPECT_EQ(line.error().exit_code, 2);
  EXPECT_THAT(line.error().text, HasSubstr("--help` lists what there is."));
  return line.error().text.substr(0, line.error().text.find('\n'));
}

std::string help(std::vector<const char*> words) {
  words.push_back("--help");
  const auto line = parse(std::move(words));
  EXPECT_FALSE(line.has_value());
  if (line) return "";
  EXPECT_EQ(line.error().exit_code, 0);
  return line.error().text;
}

TEST(CommandLineTest, SuggestsWhatWasMeant) {
  EXPECT_EQ(wrong({"--lisen", "127.0.0.1:1"}), "vigilmq: unknown option --lisen, did you mean --listen?");
  EXPECT_EQ(wrong({"--lisen=127.0.0.1:1"}), "vigilmq: unknown option --lisen, did you mean --listen?");
  EXPECT_EQ(wrong({"--print-confg"}), "vigilmq: unknown option --print-confg, did you mean --print-config?");
  EXPECT_EQ(wrong({"store", "inspect", "--dirctory", "x"}),
            "vigilmq: unknown option --dirctory, did you mean --directory?");
  EXPECT_EQ(wrong({"stroe", "inspect"}), "vigilmq: unknown command stroe, did you mean store?");
  EXPECT_EQ(wrong({"store", "exprot"}), "vigilmq: unknown command store exprot, did you mean export?");
  EXPECT_EQ(wrong({"export"}), "vigilmq: unknown command export, did you mean store export?");
  EXPECT_EQ(wrong({"my.toml"}), "vigilmq: unexpected my.toml, did you mean --config my.toml?");
  EXPECT_EQ(wrong({"--nothing-like-it"}), "vigilmq: unknown option --nothing-like-it");
  EXPECT_EQ(wrong({"zzz"}), "vigilmq: unknown command zzz");
}

TEST(CommandLineTest, AnswersTheHabitsOfMosquitto) {
  EXPECT_THAT(wrong({"-p", "1884"}), HasSubstr("use --listen 127.0.0.1:1884"));
  EXPECT_THAT(wrong({"-p1884"}), HasSubstr("use --listen 127.0.0.1:1884"));
  EXPECT_THAT(wrong({"-c", "my.toml", "-p", "1884", "-v"}), HasSubstr("use --listen 127.0.0.1:1884"));
  EXPECT_THAT(wrong({"--port"}), HasSubstr("use --listen 127.0.0.1:1883"));
  EXPECT_THAT(wrong({"-v"}), HasSubstr("VIGILMQ_LOG__LEVEL=debug"));
  EXPECT_THAT(wrong({"-d"}), HasSubstr("the broker stays in the foreground; systemd, or & in a shell"));
  const auto line = parse({"-c", "my.toml"});
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->sources.file, "my.toml");
}

TEST(CommandLineTest, ReadsCommandsForTheStore) {
  const std::pair<const char*, Command> commands[] = {{"inspect", Command::Inspect},
                                                      {"check", Command::Check},
                                                      {"export", Command::Export},
                                                      {"import", Command::Import},
                                                      {"repair", Command::Repair}};
  for (const auto& [name, which] : commands) {
    for (const auto& words : {std::vector<const char*>{"store", name, "-d", "x"}, {"store", "-d", "x", name}}) {
      const auto line = parse(words);
      ASSERT_TRUE(line.has_value()) << line.error().text;
      EXPECT_EQ(line->action, CommandLine::Action::Store);
      EXPECT_EQ(line->store.command, which);
      EXPECT_EQ(line->store.directory, "x");
    }
  }
  const auto backup = parse({"store", "backup", "-d", "x", "export"});
  ASSERT_TRUE(backup.has_value()) << backup.error().text;
  EXPECT_EQ(backup->store.command, Command::Backup);
  EXPECT_EQ(backup->store.directory, "x");
  EXPECT_EQ(backup->store.copy, "export");
  const auto with_config = parse({"store", "inspect", "--config", "my.toml"});
  ASSERT_TRUE(with_config.has_value());
  EXPECT_EQ(with_config->sources.file, "my.toml");
}

TEST(CommandLineTest, SaysWhatTheStoreNeeds) {
  EXPECT_THAT(wrong({"store"}), HasSubstr("store needs a command: inspect, check, backup"));
  EXPECT_EQ(wrong({"store", "backup"}), "vigilmq: TO is required");
  EXPECT_EQ(wrong({"store", "backup", "a", "b"}), "vigilmq: one word too many: b");
  EXPECT_EQ(wrong({"store", "inspect", "check"}), "vigilmq: one word too many: check");
  EXPECT_THAT(wrong({"store", "-d"}), HasSubstr("DIR"));
  EXPECT_THAT(wrong({"-d", "x", "store", "inspect"}), HasSubstr("it belongs behind the word store"));
}

TEST(CommandLineTest, EveryStoreCommandHasAShortHelp) {
  for (const char* name : {"inspect", "check", "backup", "export", "import", "repair"}) {
    const std::string text = help({"store", name});
    EXPECT_THAT(text, HasSubstr("-d,--directory DIR")) << name;
    EXPECT_THAT(text, Not(HasSubstr("mosquitto_sub"))) << name;
    EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 16) << name << '\n' << text;
    EXPECT_THAT(help({"store"}), HasSubstr(name));
  }
  EXPECT_THAT(help({"store"}), HasSubstr("Exit status: 0 "));
  EXPECT_THAT(help({}), HasSubstr("Exit status: 0 "));
}

// Nothing has to be scrolled sideways.
TEST(CommandLineTest, HelpFitsATerminal) {
  for (const auto& words : {std::vector<const char*>{}, {"store"}, {"store", "backup"}, {"store", "export"}}) {
    std::istringstream lines(help(words));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 120U) << line;
  }
}

}  // namespace
}  // namespace vigil::server
