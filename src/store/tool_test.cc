#include "store/tool.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "base/random.h"
#include "broker/presence_record.h"
#include "store/json_records.h"
#include "store/record_codec.h"
#include "store/run_record.h"
#include "store/store_driver_test.h"

namespace vigil::store {
namespace {

using Command = ToolRequest::Command;

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

Result use(Command command, const std::filesystem::path& directory, const std::string& input = {}) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  const int status = run({command, directory, {}}, in, out, err);
  return {status, out.str(), err.str()};
}

// The last line of an export of so many records.
std::string end_line(std::uint64_t records) { return to_json(ExportEnd{.records = records}).dump() + "\n"; }

std::vector<std::string> sorted(const std::string& lines) {
  std::vector<std::string> all;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) all.push_back(line);
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::uint8_t> presence(const std::string& client_id) {
  broker::PresenceRecord record;
  record.client_id = client_id;
  record.incarnation = 5;
  std::vector<std::uint8_t> bytes;
  broker::encode_presence(record, bytes);
  return bytes;
}

// One of everything.
void fill(const std::filesystem::path& directory) {
  Driver store(directory);
  EXPECT_TRUE(store.store().kept_time().has_value());
  EXPECT_TRUE(store.store().start_ms({.unix_ms = kNoon}).has_value());
  broker::KeptTime time{.reached_ms = kNoon, .boot = 77, .boot_began_ms = kNoon - 5'000};
  time.wall.set({.from_ms = kNoon - 9'000, .ahead_ms = 2'592'000'000});
  time.wall.set({.from_ms = kNoon, .ahead_ms = -1'000});
  store.store().keep_time(time);
  store.start();
  broker::PutSession with_will = session(1, "a");
  with_will.will = {{.topic = "w", .payload = {0xFF, 0}, .has_message_expiry = true, .message_expiry_s = 4}};
  const broker::MessagePtr shared = message("shared", "for two", 40);
  const broker::MessagePtr binary = message("binary", std::string("\x00\xFF\x01", 3), 41, kNow.at + base::seconds(9));
  store.write({with_will, session(2, "b"),
               broker::PutSubscription{session_key(1), 1, 9, {.qos = mqtt::QoS::AtLeastOnce}, "x/#"},
               broker::PutUnreleased{session_key(2), 77}, broker::Enqueue{session_key(1), 1, shared, {}},
               broker::Enqueue{session_key(2), 1, shared, {.subscription_ids = {4, 5}}},
               broker::Enqueue{session_key(2), 2, binary, {.qos = mqtt::QoS::ExactlyOnce, .share = 3}},
               broker::Enqueue{session_key(2), 3, message("r", "r", 42), {}},
               broker::PutRetained{message("kept", "yes", 43)}, broker::PutPresence{"a", presence("a")}});
  store.write({broker::Release{session_key(2), 3, {42, 3}}, broker::PutPacketId{session_key(2), 2, 9}});
}

TEST(StoreTool, InspectsAStore) {
  const TempDirectory directory;
  fill(directory.path());
  const Result result = use(Command::Inspect, directory.path());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find(fmt::format("format               {}\n", kFormat)), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("sessions             2\n"), std::string::npos);
  EXPECT_NE(result.out.find("queued messages      4 ("), std::string::npos);
  EXPECT_NE(result.out.find("2 shared, 1 released; 2 in 1 runs"), std::string::npos);
  EXPECT_NE(result.out.find("oldest and newest    40/3 41/3\n"), std::string::npos);
}

TEST(StoreTool, ImportsWhatItExported) {
  const TempDirectory directory;
  fill(directory.path() / "from");
  const Result exported = use(Command::Export, directory.path() / "from");
  ASSERT_EQ(exported.status, 0) << exported.err;
  EXPECT_NE(exported.out.find(R"("payload":"for two")"), std::string::npos) << exported.out;
  EXPECT_NE(exported.out.find(R"("payload":{"base64":"AP8B"})"), std::string::npos) << exported.out;
  const Result imported = use(Command::Import, directory.path() / "to", exported.out);
  ASSERT_EQ(imported.status, 0) << imported.err;
  // (Its entries are records of their own now, so they come earlier.)
  EXPECT_EQ(sorted(use(Command::Export, directory.path() / "to").out), sorted(exported.out));
  EXPECT_EQ(records(directory.path() / "to"), records(directory.path() / "from"));
  EXPECT_EQ(use(Command::Check, directory.path() / "to").status, 0);
}

TEST(StoreTool, ImportsIntoNothingButAnEmptyDirectory) {
  const TempDirectory directory;
  std::ofstream(directory.path() / "file") << "mine";
  const Result result = use(Command::Import, directory.path());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("is not empty"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "file"));
}

TEST(StoreTool, ImportsAllOrNothing) {
  const TempDirectory directory;
  const auto to = directory.path() / "to";
  const std::string good = R"({"kind":"unreleased","session":[1,2],"packetId":3})";
  EXPECT_EQ(use(Command::Import, to, good + "\n{broken\n").err, "Line 2 is no JSON. Nothing was imported.\n");
  EXPECT_FALSE(std::filesystem::exists(to));
  for (const char* bad :
       {R"({"kind":"no such"})", R"({"kind":"unreleased"})", R"({"kind":"unreleased","session":[1],"packetId":3})",
        R"({"kind":"store","name":"format","value":4})",
        R"({"kind":"presence","clientId":"a","record":{"base64":"AA=="}})",
        R"({"kind":"presence","clientId":"a","record":{"base64":"*"}})", "[]", "1"}) {
    const Result result = use(Command::Import, to, good + "\n" + bad);
    EXPECT_EQ(result.status, 1) << bad;
    EXPECT_NE(result.err.find("Line 2 is no record of a store"), std::string::npos) << bad << result.err;
  }
}

// The export ends with a line that counts what came before; nothing is imported without it.
TEST(StoreTool, ImportsWholeExportsOnly) {
  const TempDirectory directory;
  const auto to = directory.path() / "to";
  const auto empty = directory.path() / "empty";
  std::filesystem::create_directory(empty);
  fill(directory.path() / "from");
  const std::string whole = use(Command::Export, directory.path() / "from").out;
  const std::size_t end = whole.rfind('\n', whole.size() - 2) + 1;
  const std::string records = whole.substr(0, end);
  const auto count = static_cast<std::uint64_t>(std::count(records.begin(), records.end(), '\n'));
  ASSERT_EQ(whole.substr(end), end_line(count));
  const std::string first = whole.substr(0, whole.find('\n') + 1);
  const std::pair<std::string, std::string> bad[] = {
      {"", "The input is empty"},
      {records, "without the line that ends every export"},
      {first, fmt::format("append this line: {}", end_line(1).substr(0, end_line(1).size() - 1))},
      {whole.substr(0, end - 5), "is no JSON: the input was cut short there"},
      {whole.substr(0, whole.size() - 5), "is no JSON: the input was cut short there"},
      {whole.substr(first.size()), fmt::format("had {} records, and the input has {}", count, count - 1)},
      {first + whole, fmt::format("had {} records, and the input has {}", count, count + 1)},
      {whole + first, "stands behind the line that ends the export"},
      {whole + whole, "stands behind the line that ends the export"},
      {records + R"({"kind":"end","format":"another","records":1,"leftOut":0})", "is of the form \"another\""},
      {records + R"({"kind":"end"})", "does not end an export"},
  };
  for (const auto& [input, said] : bad) {
    const Result result = use(Command::Import, to, input);
    EXPECT_EQ(result.status, 1) << said;
    EXPECT_NE(result.err.find(said), std::string::npos) << said << "\n" << result.err;
    EXPECT_TRUE(result.err.ends_with("Nothing was imported.\n")) << result.err;
    EXPECT_FALSE(std::filesystem::exists(to)) << said;
  }
  EXPECT_EQ(use(Command::Import, empty, records).status, 1);
  EXPECT_TRUE(std::filesystem::is_empty(empty));
  const Result imported = use(Command::Import, empty, whole);
  EXPECT_EQ(imported.status, 0) << imported.err;
  EXPECT_EQ(imported.err, fmt::format("{} records imported into {}\n", count, empty.string()));
  EXPECT_FALSE(std::filesystem::exists(empty / kImportDirectory));
  EXPECT_EQ(use(Command::Check, empty).status, 0);
}

// An import that is at work, or was killed, leaves nothing that is taken for a store, not even for an empty one.
TEST(StoreTool, AnImportThatIsNotOverIsNoStore) {
  const TempDirectory directory;
  {
    Driver(directory.path() / kImportDirectory).start().write({session(1, "a")});
  }
  EXPECT_NE(use(Command::Check, directory.path()).err.find("There is no store in"), std::string::npos);
  EXPECT_NE(use(Command::Import, directory.path(), end_line(0)).err.find("is not empty"), std::string::npos);
  const auto refused = RocksdbStore::open({.directory = directory.path()});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().find("`vigilmq store import` is at work there"), std::string::npos) << refused.error();
}

TEST(StoreTool, ChecksASoundStore) {
  const TempDirectory directory;
  fill(directory.path());
  const Result result = use(Command::Check, directory.path());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("the store is sound"), std::string::npos);
}

TEST(StoreTool, FindsWhatIsDamaged) {
  const TempDirectory directory;
  fill(directory.path());
  {
    auto database = Database::open({.directory = directory.path()}, Access::Write);
    rocksdb::WriteBatch batch;
    batch.Put((*database)->family(Family::Sessions), slice(position_key(session_key(1))), "?");
    batch.Delete((*database)->family(Family::Messages), slice(position_key({40, 3})));
    ASSERT_TRUE((*database)->write(batch).ok());
  }
  const Result result = use(Command::Check, directory.path());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("sessions: the record of a session has version 63"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("waits for the message 40/3, which is not there"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("vigilmq store export"), std::string::npos);
  // The broker serves what is left.
  Driver store(directory.path());
  EXPECT_EQ(store.recover().sessions.size(), 1U);
  store.start();
  EXPECT_EQ(store.load({.key = session_key(2), .most = 10, .most_bytes = 1'000}).messages.size(), 2U);
  EXPECT_EQ(store.notices().size(), 2U);
}

// All that can be read is exported, on both sides of a damaged block.
TEST(StoreTool, ExportsWhatIsReadable) {
  const TempDirectory directory;
  constexpr std::uint64_t kMessages = 2'000;
  base::Random random(5);
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), session(2, "b")});
    for (std::uint64_t number = 1; number <= kMessages; ++number) {
      std::string payload;
      while (payload.size() < 300) payload += static_cast<char>(random.below(256));  // nothing to compress
      const auto one = message("t", payload, number);
      store.write({broker::Enqueue{session_key(1), number, one, {.qos = mqtt::QoS::AtLeastOnce}}});
    }
    store.write(
        {broker::Enqueue{session_key(2), 1, message("t", "behind it", 5'000), {.qos = mqtt::QoS::AtLeastOnce}}});
  }
  {
    auto database = Database::open({.directory = directory.path()}, Access::Write);
    ASSERT_TRUE((*database)->db().Flush({}, (*database)->family(Family::Queue)).ok());
  }
  std::filesystem::path largest;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    if (entry.path().extension() != ".sst") continue;
    if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) largest = entry.path();
  }
  {
    std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(largest) / 2));
    file << "damage";
  }
  const Result checked = use(Command::Check, directory.path());
  EXPECT_EQ(checked.status, 1);
  EXPECT_NE(checked.err.find("a part of queue cannot be read"), std::string::npos) << checked.err;
  const auto refused = RocksdbStore::open({.directory = directory.path()});
  ASSERT_TRUE(refused.has_value());
  const auto recovered = (*refused)->recover(kNow, [](broker::RecoveredFact&&) {}, {});
  ASSERT_FALSE(recovered.has_value());
  EXPECT_NE(recovered.error().find("vigilmq store export"), std::string::npos) << recovered.error();
  (*refused)->stop(kPatience);

  const Result exported = use(Command::Export, directory.path());
  EXPECT_EQ(exported.status, 1);
  EXPECT_NE(exported.err.find("left out, of queue"), std::string::npos) << exported.err;
  const TempDirectory parent;
  const Result imported = use(Command::Import, parent.path() / "new", exported.out);
  EXPECT_EQ(imported.status, 0) << imported.err;
  EXPECT_NE(imported.err.find("could not be read when they were exported, and are lost"), std::string::npos);
  Driver store(parent.path() / "new");
  const Contents contents = store.recover();
  EXPECT_GT(contents.sessions.at("a").queued, kMessages - 100);
  EXPECT_LT(contents.sessions.at("a").queued, kMessages);
  EXPECT_EQ(contents.sessions.at("b").queued, 1U);
  // The same message twice would come back from the dead.
  std::string twice = exported.out.substr(0, exported.out.rfind("{\"kind\":\"end\""));
  twice += exported.out.substr(exported.out.find(R"({"kind":"queued")"));
  const Result again = use(Command::Import, parent.path() / "other", twice);
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.err.find("says again"), std::string::npos) << again.err;
}

// What no broker writes, but a damaged store may hold: runs with the same numbers, and at the end of all numbers; an
// entry in a run that is released.
TEST(StoreTool, FindsRunsThatCannotBe) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a")});
  }
  {
    auto database = Database::open({.directory = directory.path()}, Access::Write);
    rocksdb::WriteBatch batch;
    const auto put = [&](std::uint64_t first, std::uint64_t count) {
      std::vector<std::vector<std::uint8_t>> entries(count);
      std::vector<base::Bytes> views;
      for (std::vector<std::uint8_t>& entry : entries) {
        encode_entry({.qos = mqtt::QoS::AtLeastOnce}, view(*message("t", "p", 50), kNow), Placing::Inline, entry);
        views.emplace_back(entry);
      }
      std::vector<std::uint8_t> record;
      encode_run(views, record);
      batch.Put((*database)->family(Family::Runs), slice(entry_key({session_key(1), first})), slice(record));
    };
    put(1, 64);
    put(10, 3);
    put(65, 2);
    put(UINT64_MAX, 2);
    std::vector<std::uint8_t> released;
    encode_released(released);
    std::vector<std::uint8_t> record;
    encode_run(std::vector<base::Bytes>{released}, record);
    batch.Put((*database)->family(Family::Runs), slice(entry_key({session_key(1), 70})), slice(record));
    std::vector<std::uint8_t> state;
    encode_number(1, state);
    batch.Put((*database)->family(Family::RunStates), slice(entry_key({session_key(9), 1})), slice(state));
    ASSERT_TRUE((*database)->write(batch).ok());
  }
  const Result result = use(Command::Check, directory.path());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("4 findings"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("has numbers that another one has, too"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("the run is not there"), std::string::npos) << result.err;
  // The broker serves those that can be, and takes acknowledgements of any number.
  Driver store(directory.path());
  EXPECT_EQ(store.recover().sessions.at("a").queued, 66U);
  EXPECT_EQ(store.notices().size(), 3U);
  store.start();
  EXPECT_EQ(store.load({.key = session_key(1), .most = 100, .most_bytes = 1'000'000}).messages.size(), 66U);
  std::vector<broker::Change> changes;
  for (const std::uint64_t number : {1U, 12U, 64U, 65U}) {
    changes.emplace_back(broker::Dequeue{.session = session_key(1), .number = number});
  }
  changes.emplace_back(broker::Dequeue{.session = session_key(1), .number = UINT64_MAX});
  store.write(std::move(changes));
  EXPECT_EQ(store.load({.key = session_key(1), .most = 100, .most_bytes = 1'000'000}).messages.size(), 62U);
}

// To repair is to write; all else reads what the store is at one moment.
TEST(StoreTool, RepairsNothingUnderARunningBroker) {
  const TempDirectory directory;
  fill(directory.path());
  // Locks are those of a process, so it takes another one to hold it.
  int ready[2];
  int done[2];
  ASSERT_EQ(::pipe(ready) | ::pipe(done), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    const int fd = ::open((directory.path() / "LOCK").c_str(), O_RDWR);
    char byte = ::fcntl(fd, F_SETLK, &lock) == 0 ? 'y' : 'n';
    ::close(done[1]);
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(done[0], &byte, 1);
    ::_exit(0);
  }
  char byte = 'n';
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const Result result = use(Command::Repair, directory.path());
  const Result inspected = use(Command::Inspect, directory.path());
  const Result exported = use(Command::Export, directory.path());
  ::close(done[1]);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_EQ(exported.status, 0) << exported.err;
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("A broker is running"), std::string::npos) << result.err;
}

TEST(StoreTool, SaysThatThereIsNoStore) {
  const TempDirectory directory;
  const Result result = use(Command::Check, directory.path());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("There is no store in"), std::string::npos);
  EXPECT_NE(use(Command::Repair, directory.path()).err.find("There is no store in"), std::string::npos);
  EXPECT_NE(use(Command::Export, directory.path() / "nowhere").err.find("There is no store in"), std::string::npos);
}

// As another user than the one whom the directory belongs to. Root may read everything, so root becomes nobody.
TEST(StoreTool, SaysThatItMayNotRead) {
  const TempDirectory directory;
  fill(directory.path() / "store");
  std::filesystem::permissions(directory.path() / "store", std::filesystem::perms::none);
  constexpr uid_t kNobody = 65'534;
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(directory.path().c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const Result checked = use(Command::Check, directory.path() / "store");
  const Result repaired = use(Command::Repair, directory.path() / "store");
  const Result imported = use(Command::Import, directory.path() / "store", end_line(0));
  if (::getuid() == 0) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  std::filesystem::permissions(directory.path() / "store", std::filesystem::perms::owner_all);
  for (const Result& result : {checked, repaired, imported}) {
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.err.find("permission denied"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find((directory.path() / "store").string()), std::string::npos) << result.err;
  }
}

// A store of every format that was ever released opens, and holds what was put into it.
void open_store_of(const std::string& version) {
  const TempDirectory directory;
  const std::filesystem::path released = std::filesystem::path(VIGIL_SOURCE_DIR) / "test/store" / version;
  std::filesystem::copy(released / "store", directory.path() / "store", std::filesystem::copy_options::recursive);
  // As it is it can be read, and is exported as it was then, when the line at the end did not exist.
  std::ifstream lines(released / "export.jsonl");
  const std::string expected((std::istreambuf_iterator<char>(lines)), std::istreambuf_iterator<char>());
  const auto records = static_cast<std::uint64_t>(std::count(expected.begin(), expected.end(), '\n'));
  EXPECT_EQ(use(Command::Export, directory.path() / "store").out, expected + end_line(records));
  EXPECT_EQ(use(Command::Check, directory.path() / "store").status, 0);
  Driver store(directory.path() / "store");
  const Contents contents = store.recover();
  EXPECT_EQ(contents.sessions.size(), 2U);
  EXPECT_EQ(contents.sessions.at("a").session.will.at(0).payload, (std::vector<std::uint8_t>{0xFF, 0}));
  EXPECT_EQ(contents.sessions.at("a").subscriptions.at(0).text, "x/#");
  EXPECT_EQ(contents.sessions.at("b").unreleased, std::vector<mqtt::PacketId>{77});
  EXPECT_EQ(contents.sessions.at("b").queued, 3U);
  EXPECT_EQ(base::as_text(contents.retained.at("kept")->payload()), "yes");
  EXPECT_EQ(broker::decode_presence(contents.presence.at("a"))->incarnation, 5U);
  store.start();
  const broker::Loaded loaded = store.load({.key = session_key(2), .most = 10, .most_bytes = 10'000});
  ASSERT_EQ(loaded.messages.size(), 3U);
  EXPECT_EQ(base::as_text(loaded.messages[0].message->payload()), "for two");
  EXPECT_EQ(base::as_text(loaded.messages[1].message->payload()), std::string_view("\x00\xFF\x01", 3));
  EXPECT_EQ(loaded.messages[1].terms.share, 3U);
  EXPECT_TRUE(loaded.messages[2].released);
  store.stop();
  // From now on it is of the newest format, with the same in it.
  const Result inspected = use(Command::Inspect, directory.path() / "store");
  EXPECT_NE(inspected.out.find(fmt::format("format               {}\n", kFormat)), std::string::npos) << inspected.out;
  EXPECT_NE(inspected.out.find("queued messages      4 ("), std::string::npos) << inspected.out;
}

TEST(StoreFormats, OpensAStoreOfVersion1) { open_store_of("v1"); }
TEST(StoreFormats, OpensAStoreOfVersion2) { open_store_of("v2"); }
TEST(StoreFormats, OpensAStoreOfVersion3) {
  open_store_of("v3");
  const TempDirectory directory;
  std::filesystem::copy(std::filesystem::path(VIGIL_SOURCE_DIR) / "test/store/v3/store", directory.path(),
                        std::filesystem::copy_options::recursive);
  Driver store(directory.path());
  const Contents contents = store.recover();
  ASSERT_EQ(contents.sessions.at("b").packet_ids.size(), 1U);
  EXPECT_EQ(contents.sessions.at("b").packet_ids[0].packet_id, 9);
}

}  // namespace
}  // namespace vigil::store
