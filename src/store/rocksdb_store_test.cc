#include "store/rocksdb_store.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/record_codec.h"
#include "store/store_driver_test.h"

namespace vigil::store {
namespace {

using broker::Change;
using broker::Dequeue;
using broker::EndSession;
using broker::Enqueue;
using broker::LoadRequest;
using broker::MessagePtr;
using broker::Release;
using broker::StoreBatch;

Enqueue enqueue(std::uint64_t session, std::uint64_t number, const MessagePtr& message) {
  return {.session = session_key(session),
          .number = number,
          .message = message,
          .terms = {.qos = mqtt::QoS::AtLeastOnce, .share = 4, .subscription_ids = {7, 300}}};
}

LoadRequest load_all(std::uint64_t session) {
  return {.key = session_key(session), .from = 0, .most = 1'000, .most_bytes = 1U << 20U};
}

std::vector<std::uint64_t> numbers(const broker::Loaded& loaded) {
  std::vector<std::uint64_t> all;
  for (const broker::StoredMessage& m : loaded.messages) all.push_back(m.number);
  return all;
}

TEST(RocksdbStore, BeginsEmpty) {
  const TempDirectory directory;
  Driver store(directory.path() / "made" / "when needed");
  const Contents contents = store.recover();
  EXPECT_TRUE(contents.sessions.empty());
  EXPECT_TRUE(contents.retained.empty());
  EXPECT_TRUE(contents.presence.empty());
}

TEST(RocksdbStore, GivesBackSessionsWithAllThatIsTheirs) {
  const TempDirectory directory;
  broker::PutSession full = session(20, "full");
  full.user_name = "user";
  full.epoch = 9;
  full.connected = true;
  full.expires_ms = kNoon + 5;
  full.sent_below = 12;
  full.next_subscription = 4;
  full.will = {{.topic = "last/words",
                .payload = {1, 2},
                .properties = {3},
                .qos = mqtt::QoS::ExactlyOnce,
                .retain = true,
                .has_message_expiry = true,
                .message_expiry_s = 60,
                .delay_s = 10}};
  full.will_due_ms = kNoon + 10'000;
  const mqtt::SubscriptionOptions options{.qos = mqtt::QoS::AtLeastOnce,
                                          .no_local = true,
                                          .retain_as_published = true,
                                          .retain_handling = mqtt::RetainHandling::DoNotSend};
  {
    Driver store(directory.path());
    store.start();
    store.write({full, session(3, "first"), broker::PutSubscription{session_key(20), 1, 77, options, "$share/g/a/+"},
                 broker::PutSubscription{session_key(20), 2, 0, {}, "gone"},
                 broker::PutUnreleased{session_key(20), 500}, broker::PutUnreleased{session_key(20), 501},
                 broker::PutPacketId{session_key(20), 70'000, 9}, broker::PutPacketId{session_key(20), 70'001, 10}});
    store.write({broker::DropSubscription{session_key(20), 2}, broker::DropUnreleased{session_key(20), 501},
                 broker::DropPacketId{session_key(20), 70'001}});
  }
  Driver again(directory.path());
  const Contents contents = again.recover();
  EXPECT_EQ(contents.order, (std::vector{session_key(3), session_key(20)}));
  const broker::RecoveredSession& got = contents.sessions.at("full");
  EXPECT_EQ(got.session, full);
  ASSERT_EQ(got.subscriptions.size(), 1U);
  EXPECT_EQ(got.subscriptions[0].text, "$share/g/a/+");
  EXPECT_EQ(got.subscriptions[0].options, options);
  EXPECT_EQ(got.subscriptions[0].subscription_id, 77U);
  EXPECT_EQ(got.subscriptions[0].number, 1U);
  EXPECT_EQ(got.unreleased, std::vector<mqtt::PacketId>{500});
  ASSERT_EQ(got.packet_ids.size(), 1U);
  EXPECT_EQ(got.packet_ids[0].number, 70'000U);
  EXPECT_EQ(got.packet_ids[0].packet_id, 9);
  EXPECT_EQ(got.queued, 0U);
}

TEST(RocksdbStore, GivesBackPresenceAndRetainedMessages) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    const base::Instant soon = kNow.at + base::seconds(10);
    store.write({broker::PutRetained{message("a", "1", 1)}, broker::PutRetained{message("b", "2", 2)},
                 broker::PutRetained{message("old", "2", 3, soon)}, broker::PutPresence{"c1", {1, 2, 3}},
                 broker::PutPresence{"c2", {}}});
    store.write({broker::DropRetained{"b"}, broker::DropPresence{"c2"}, broker::PutRetained{message("a", "new", 4)}});
  }
  const broker::Moment later{.at = base::Instant::from_ns(77), .unix_ms = kNoon + 10'000};
  Driver again(directory.path());
  const Contents contents = again.recover(later);
  ASSERT_EQ(contents.retained.size(), 1U);
  EXPECT_EQ(base::as_text(contents.retained.at("a")->payload()), "new");
  EXPECT_EQ(contents.retained.at("a")->position(), (broker::Position{4, 3}));
  EXPECT_EQ(contents.presence, (std::map<std::string, std::vector<std::uint8_t>>{{"c1", {1, 2, 3}}}));
  again.store().stop({});
}

TEST(RocksdbStore, DeletesRetainedMessagesThatExpired) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({broker::PutRetained{message("old", "2", 3, kNow.at + base::seconds(1))}});
  }
  {
    Driver(directory.path()).recover({.at = {}, .unix_ms = kNoon + 1'000});
  }
  EXPECT_EQ(records(directory.path())["retained"], 0U);
}

TEST(RocksdbStore, SummarisesQueuesAndLoadsThemInPages) {
  const TempDirectory directory;
  std::uint64_t bytes = 0;
  {
    Driver store(directory.path());
    store.start();
    std::vector<Change> changes = {session(1, "a"), session(2, "b")};
    for (std::uint64_t n = 10; n < 20; ++n) {
      const MessagePtr one = message("t", "payload " + std::to_string(n), n, kNow.at + base::seconds(60));
      bytes += one->size();
      changes.emplace_back(enqueue(1, n, one));
    }
    store.write(std::move(changes));
  }
  Driver store(directory.path());
  const Contents contents = store.recover();
  const broker::RecoveredSession& got = contents.sessions.at("a");
  EXPECT_EQ(got.queued, 10U);
  EXPECT_EQ(got.queued_bytes, bytes);
  EXPECT_EQ(got.first_number, 10U);
  EXPECT_EQ(got.last_number, 19U);
  store.start();

  LoadRequest page{.session = {5, 6}, .key = session_key(1), .from = 0, .most = 4, .most_bytes = 1U << 20U};
  broker::Loaded loaded = store.load(page);
  EXPECT_EQ(loaded.session, (broker::SessionId{5, 6}));
  EXPECT_EQ(numbers(loaded), (std::vector<std::uint64_t>{10, 11, 12, 13}));
  const broker::StoredMessage& first = loaded.messages[0];
  EXPECT_EQ(first.message->topic(), "t");
  EXPECT_EQ(base::as_text(first.message->payload()), "payload 10");
  EXPECT_EQ(first.message->position(), (broker::Position{10, 3}));
  EXPECT_EQ(first.message->expires(), kNow.at + base::seconds(60));
  EXPECT_EQ(first.terms.qos, mqtt::QoS::AtLeastOnce);
  EXPECT_EQ(first.terms.share, 4U);
  EXPECT_EQ(first.terms.subscription_ids, (broker::SubscriptionIds{7, 300}));

  page.from = loaded.next;
  page.most = 6;
  loaded = store.load(page);
  EXPECT_EQ(numbers(loaded), (std::vector<std::uint64_t>{14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(loaded.next, 0U);
  // At least one message, however little is asked for; and nothing of an empty queue.
  loaded = store.load({.key = session_key(1), .from = 18, .most = 5, .most_bytes = 1});
  EXPECT_EQ(numbers(loaded), std::vector<std::uint64_t>{18});
  EXPECT_EQ(loaded.next, 19U);
  EXPECT_TRUE(store.load(load_all(2)).messages.empty());
}

TEST(RocksdbStore, TranslatesExpiryToTheClockOfALaterRun) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), enqueue(1, 1, message("t", "p", 1, kNow.at + base::seconds(60)))});
  }
  Driver store(directory.path());
  store.recover();
  store.start();
  const broker::Moment later{.at = base::Instant::from_ns(1'000), .unix_ms = kNoon + 50'000};
  store.submit({.at = later, .loads = {load_all(1)}});
  EXPECT_EQ(store.load(load_all(1)).messages.at(0).message->expires(), later.at + base::seconds(10));
}

TEST(RocksdbStore, ForgetsWhatIsDequeuedAndKeepsTheNumberOfWhatIsReleased) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), enqueue(1, 1, message("t", "1", 1)), enqueue(1, 2, message("t", "2", 2)),
                 enqueue(1, 3, message("t", "3", 3)), enqueue(1, 4, message("t", "4", 4))});
    store.write(
        {Dequeue{session_key(1), 1, {1, 3}}, Release{session_key(1), 2, {2, 3}}, Release{session_key(1), 3, {3, 3}}});
    store.write({Dequeue{session_key(1), 3, {}, true}});
    // Of what is not there: no harm.
    store.write({Dequeue{session_key(1), 1, {1, 3}}, Dequeue{session_key(1), 99, {99, 3}}});
  }
  Driver store(directory.path());
  const Contents contents = store.recover();
  EXPECT_EQ(contents.sessions.at("a").queued, 2U);
  EXPECT_EQ(contents.sessions.at("a").first_number, 2U);
  store.start();
  const broker::Loaded loaded = store.load(load_all(1));
  ASSERT_EQ(numbers(loaded), (std::vector<std::uint64_t>{2, 4}));
  EXPECT_TRUE(loaded.messages[0].released);
  EXPECT_FALSE(loaded.messages[0].message);
  EXPECT_FALSE(loaded.messages[1].released);
}

TEST(RocksdbStore, StoresAMessageForManyOnceAndFreesItWithTheLast) {
  const TempDirectory directory;
  const MessagePtr one = message("t", "for all", 50);
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), session(2, "b"), session(3, "c")});
    // Not next to each other, and once more in a later batch.
    store.write({enqueue(1, 1, one), enqueue(2, 7, message("t", "other", 51)), enqueue(2, 8, one)});
    store.write({enqueue(3, 1, one)});
  }
  EXPECT_EQ(records(directory.path())["messages"], 1U);
  {
    Driver store(directory.path());
    const Contents contents = store.recover();
    EXPECT_EQ(contents.sessions.at("b").queued, 2U);
    EXPECT_EQ(contents.sessions.at("a").queued_bytes, one->size());
    store.start();
    EXPECT_EQ(base::as_text(store.load(load_all(3)).messages.at(0).message->payload()), "for all");
    store.write({Dequeue{session_key(1), 1, one->position()}, Release{session_key(2), 8, one->position()}});
    // Twice the same: the reference is given up once.
    store.write({Dequeue{session_key(1), 1, one->position()}, Dequeue{session_key(1), 1, one->position()}});
    EXPECT_EQ(store.load(load_all(3)).messages.size(), 1U);
    store.stop();
    EXPECT_EQ(records(directory.path())["messages"], 1U);
  }
  {
    Driver store(directory.path());
    store.recover();
    store.start();
    store.write({Dequeue{session_key(3), 1, one->position()}});
  }
  EXPECT_EQ(records(directory.path())["messages"], 0U);
  EXPECT_EQ(records(directory.path())["queue"], 2U);
}

TEST(RocksdbStore, TellsAnEntryWithItsOwnCopyFromThoseThatShareTheMessage) {
  const TempDirectory directory;
  const MessagePtr one = message("t", "payload", 50);
  Driver store(directory.path());
  store.start();
  store.write({session(1, "a"), session(2, "b"), session(3, "c"), enqueue(1, 1, one)});
  store.write({enqueue(2, 1, one), enqueue(3, 1, one)});
  // The first entry holds no reference, so its end must not cost the others theirs.
  store.write({Dequeue{session_key(1), 1, one->position()}});
  store.write({Dequeue{session_key(2), 1, one->position()}});
  EXPECT_EQ(store.load(load_all(3)).messages.size(), 1U);
  EXPECT_TRUE(store.notices().empty());
}

TEST(RocksdbStore, SaysOfALoadedEntryWhereItsMessageIs) {
  const TempDirectory directory;
  const MessagePtr shared = message("t", "for all", 50);
  const MessagePtr alone = message("t", "for one", 51);
  Driver store(directory.path());
  store.start();
  store.write({session(1, "a"), session(2, "b"), enqueue(1, 1, shared), enqueue(2, 1, shared), enqueue(1, 2, alone)});
  const broker::Loaded loaded = store.load(load_all(1));
  ASSERT_EQ(loaded.messages.size(), 2U);
  EXPECT_EQ(loaded.messages[0].kept, broker::Kept::Apart);
  EXPECT_EQ(loaded.messages[1].kept, broker::Kept::WithEntry);
  // Who says so is believed; twice the same gives up one reference all the same.
  const Dequeue gone{session_key(1), 1, shared->position(), false, broker::Kept::Apart};
  store.write({gone, gone, Dequeue{session_key(1), 2, alone->position(), false, broker::Kept::WithEntry}});
  EXPECT_EQ(store.load(load_all(2)).messages.size(), 1U);
  store.write({Dequeue{session_key(2), 1, shared->position(), false, broker::Kept::Apart}});
  store.stop();
  EXPECT_EQ(records(directory.path())["messages"], 0U);
  EXPECT_EQ(records(directory.path())["queue"], 0U);
}

TEST(RocksdbStore, EnqueuesAndDequeuesInOneGroup) {
  const TempDirectory directory;
  const MessagePtr one = message("t", std::string(5'000, 'x'), 50);
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), enqueue(1, 1, one), Dequeue{session_key(1), 1, one->position()}});
    store.write({enqueue(1, 2, one)});
    EXPECT_EQ(store.load(load_all(1)).messages.at(0).message->payload().size(), 5'000U);
    store.write({Release{session_key(1), 2, one->position()}, Dequeue{session_key(1), 2, one->position(), true}});
  }
  auto counts = records(directory.path());
  EXPECT_EQ(counts["messages"], 0U);
  EXPECT_EQ(counts["queue"], 0U);
}

TEST(RocksdbStore, WritesThePartsOfAJointWithItsCommitOrNotAtAll) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), session(2, "b")});
    // Shard 1 holds a part of joint 5 and one of joint 6; shard 0 commits 5 only.
    store.write({.parts = {{5, {enqueue(1, 1, message("t", "5", 5))}}, {6, {enqueue(1, 2, message("t", "6", 6))}}}}, 1);
    EXPECT_TRUE(store.stored(1).joints.empty());
    EXPECT_TRUE(store.load(load_all(1)).messages.empty());
    store.write({.changes = {enqueue(2, 1, message("t", "5", 5))}, .commits = {5}}, 0);
    store.wait_until([&] { return true; });
    EXPECT_EQ(store.stored(0).joints, std::vector<broker::JointId>{5});
    EXPECT_EQ(numbers(store.load(load_all(1), 1)), std::vector<std::uint64_t>{1});
    EXPECT_EQ(store.stored(1).joints, std::vector<broker::JointId>{5});
    EXPECT_EQ(store.stored(1).number, 1U);
  }
  Driver store(directory.path());
  const Contents contents = store.recover();
  EXPECT_EQ(contents.sessions.at("a").queued, 1U);
  EXPECT_EQ(contents.sessions.at("b").queued, 1U);
}

TEST(RocksdbStore, DropsThePartForASessionThatEndedMeanwhile) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a")});
    store.write({.parts = {{5, {enqueue(1, 1, message("t", "5", 5))}}}}, 1);
    store.write({EndSession{session_key(1)}});
    store.write(StoreBatch{.commits = {5}}, 0);
  }
  EXPECT_EQ(records(directory.path())["queue"], 0U);
}

TEST(RocksdbStore, SweepsWhatHasExpired) {
  const TempDirectory directory;
  Driver store(directory.path());
  store.start();
  std::vector<Change> changes = {session(1, "a")};
  std::uint64_t bytes = 0;
  for (std::uint64_t n = 1; n <= 2'000; ++n) {
    const bool expires = n % 2 == 0;
    const MessagePtr one = message("t", "p", n, expires ? kNow.at + base::seconds(5) : base::Instant::never());
    if (expires && n >= 1'000) bytes += one->size();
    changes.emplace_back(enqueue(1, n, one));
  }
  store.write(std::move(changes));
  const broker::Moment later{.at = kNow.at + base::seconds(5), .unix_ms = kNoon + 5'000};
  const broker::Swept swept = store.sweep({.session = {8, 9}, .key = session_key(1), .from = 1'000}, later);
  EXPECT_EQ(swept.session, (broker::SessionId{8, 9}));
  EXPECT_EQ(swept.messages, 501U);
  EXPECT_EQ(swept.bytes, bytes);
  store.stop();
  EXPECT_EQ(records(directory.path())["queue"], 1'499U);
}

TEST(RocksdbStore, PurgesWhatAnEndedSessionLeaves) {
  const TempDirectory directory;
  const MessagePtr one = message("t", "shared", 9'000);
  Driver store(directory.path());
  store.start();
  std::vector<Change> changes = {session(1, "a"),
                                 session(2, "b"),
                                 broker::PutSubscription{session_key(1), 1, 0, {}, "t"},
                                 broker::PutSubscription{session_key(2), 1, 0, {}, "t"},
                                 broker::PutUnreleased{session_key(1), 1},
                                 broker::PutPacketId{session_key(1), 1, 7}};
  for (std::uint64_t n = 1; n <= 1'000; ++n) changes.emplace_back(enqueue(1, n, message("t", "p", n)));
  changes.emplace_back(enqueue(1, 1'001, one));
  changes.emplace_back(enqueue(2, 1, one));
  store.write(std::move(changes));
  store.write({EndSession{session_key(1)}});
  // A sweep is answered between the steps of the purge: after a few of them it is done.
  const broker::SweepRequest nothing{.key = session_key(77)};
  for (int i = 0; i < 20; ++i) store.sweep(nothing, kNow);
  EXPECT_TRUE(store.load(load_all(1)).messages.empty());
  EXPECT_EQ(store.load(load_all(2)).messages.size(), 1U);
  store.stop();
  auto counts = records(directory.path());
  EXPECT_EQ(counts["queue"], 1U);
  EXPECT_EQ(counts["messages"], 1U);
  EXPECT_EQ(counts["subscriptions"], 1U);
  EXPECT_EQ(counts["unreleased"], 0U);
  EXPECT_EQ(counts["packet_ids"], 0U);
}

TEST(RocksdbStore, SweepsOrphansWhenItStarts) {
  const TempDirectory directory;
  const MessagePtr one = message("t", "shared", 9'000);
  {
    Driver store(directory.path());
    store.start();
    // What a purge that was cut short leaves: before, between and behind the sessions that live.
    store.write({session(5, "a"), session(7, "b"), enqueue(5, 1, one)});
    for (const std::uint64_t gone : {4U, 6U, 8U}) {
      store.write({enqueue(gone, 1, one), broker::PutUnreleased{session_key(gone), 1},
                   broker::PutSubscription{session_key(gone), 1, 0, {}, "t"},
                   enqueue(gone, 2, message("t", std::string(2'000, 'x'), 100 + gone))});
    }
  }
  {
    Driver store(directory.path());
    const Contents contents = store.recover();
    EXPECT_EQ(contents.sessions.at("a").queued, 1U);
    EXPECT_EQ(contents.sessions.at("b").queued, 0U);
  }
  auto counts = records(directory.path());
  EXPECT_EQ(counts["queue"], 1U);
  EXPECT_EQ(counts["subscriptions"], 0U);
  EXPECT_EQ(counts["unreleased"], 0U);
  // The message that was enqueued for one session alone is inline there.
  EXPECT_EQ(counts["messages"], 0U);
}

TEST(RocksdbStore, RefusesADirectoryThatIsInUse) {
  const TempDirectory directory;
  Driver first(directory.path());
  const auto second = RocksdbStore::open({.directory = directory.path()});
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().find("in use by another process"), std::string::npos) << second.error();
}

TEST(RocksdbStore, RefusesANewerFormat) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
  }
  {
    auto database = Database::open({.directory = directory.path()}, Access::Write);
    std::vector<std::uint8_t> record;
    encode_number(kFormat + 1, record);
    rocksdb::WriteBatch batch;
    batch.Put((*database)->family(Family::Meta), slice(kFormatKey), slice(record));
    ASSERT_TRUE((*database)->write(batch).ok());
  }
  const auto opened = RocksdbStore::open({.directory = directory.path()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_NE(opened.error().find("newer version of the broker"), std::string::npos) << opened.error();
}

TEST(RocksdbStore, SaysWhatIsWrongWithItsDirectory) {
  const TempDirectory directory;
  const auto file = directory.path() / "file";
  ASSERT_NE(std::fopen(file.c_str(), "w"), nullptr);
  const auto opened = RocksdbStore::open({.directory = file});
  ASSERT_FALSE(opened.has_value());
  EXPECT_NE(opened.error().find("Not a directory"), std::string::npos) << opened.error();
  EXPECT_NE(opened.error().find(file.string()), std::string::npos);
}

TEST(RocksdbStore, SaysThatItIsDamaged) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
  }
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    if (entry.path().filename().string().starts_with("MANIFEST")) std::filesystem::resize_file(entry.path(), 10);
  }
  const auto opened = RocksdbStore::open({.directory = directory.path()});
  ASSERT_FALSE(opened.has_value());
  EXPECT_NE(opened.error().find("vigilmq store repair"), std::string::npos) << opened.error();
}

// A store whose queue of session 1 has so many messages, in files.
void make_long_queue(const std::filesystem::path& directory, std::uint64_t messages) {
  base::Random random(7);
  {
    Driver store(directory);
    store.start();
    store.write({session(1, "a")});
    for (std::uint64_t number = 1; number <= messages; ++number) {
      std::string payload;
      while (payload.size() < 300) payload += static_cast<char>(random.below(256));  // nothing to compress
      store.write({enqueue(1, number, message("t", payload, number))});
    }
    store.write({session(2, "b"), enqueue(2, 1, message("t", "last", messages + 1))});
  }
  auto database = Database::open({.directory = directory}, Access::Write);
  ASSERT_TRUE((*database)->db().Flush({}, (*database)->family(Family::Queue)).ok());
}

void damage_largest_file(const std::filesystem::path& directory) {
  std::filesystem::path largest;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".sst") continue;
    if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest)) largest = entry.path();
  }
  std::fstream file(largest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(largest) / 2));
  file << "damage";
}

// A block in the middle of a queue is damaged while the broker runs: what lies before it and behind it is served.
TEST(RocksdbStore, GoesOnBehindADamagedBlock) {
  constexpr std::uint64_t kMessages = 2'000;
  const TempDirectory directory;
  make_long_queue(directory.path(), kMessages);
  Driver store(directory.path());
  EXPECT_EQ(store.recover().sessions.at("a").queued, kMessages);
  store.start();
  damage_largest_file(directory.path());

  std::set<std::uint64_t> got;
  std::uint64_t from = 1;
  do {
    const broker::Loaded page =
        store.load({.key = session_key(1), .from = from, .most = 512, .most_bytes = 1'000'000'000});
    EXPECT_FALSE(page.failed);
    for (const broker::StoredMessage& one : page.messages) got.insert(one.number);
    from = page.next;
  } while (from != 0);
  EXPECT_TRUE(got.contains(1));
  EXPECT_TRUE(got.contains(kMessages));
  // A block is 16 KiB.
  EXPECT_LT(got.size(), kMessages);
  EXPECT_GT(got.size(), kMessages - 100);
  const auto notices = store.notices();
  ASSERT_FALSE(notices.empty());
  EXPECT_EQ(notices.front().first, NoticeKind::RecordSkipped);
  EXPECT_NE(notices.front().second.find("checksum"), std::string::npos) << notices.front().second;
}

// What a copy that lacks a file, or a file system that was mended, leaves: not to be taken for an empty store.
TEST(RocksdbStore, DoesNotBeginAnewOverTheFilesOfAnother) {
  const TempDirectory directory;
  make_long_queue(directory.path(), 10);
  std::filesystem::rename(directory.path() / "CURRENT", directory.path() / "elsewhere");
  std::set<std::filesystem::path> before;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) before.insert(entry.path());
  for (int start = 0; start < 2; ++start) {
    const auto opened = RocksdbStore::open({.directory = directory.path()});
    ASSERT_FALSE(opened.has_value());
    EXPECT_NE(opened.error().find("CURRENT"), std::string::npos) << opened.error();
    std::set<std::filesystem::path> after;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) after.insert(entry.path());
    EXPECT_EQ(after, before);
  }
  std::filesystem::rename(directory.path() / "elsewhere", directory.path() / "CURRENT");
  Driver store(directory.path());
  EXPECT_EQ(store.recover().sessions.at("a").queued, 10U);
}

TEST(RocksdbStore, KeepsItsDirectoryToItself) {
  const TempDirectory directory;
  const auto made = directory.path() / "made";
  {
    Driver store(made);
  }
  EXPECT_EQ(std::filesystem::status(made).permissions(), std::filesystem::perms::owner_all);
  std::filesystem::permissions(made, std::filesystem::perms::owner_all | std::filesystem::perms::group_read);
  {
    Driver store(made);
  }
  EXPECT_EQ(std::filesystem::status(made).permissions(),
            std::filesystem::perms::owner_all | std::filesystem::perms::group_read);
}

// A file that is to be merged is damaged: RocksDB refuses every write from then on, whatever it is, until it is opened
// anew; and again when it comes back to that file.
TEST(Database, WritesOnWithADamagedFile) {
  const TempDirectory directory;
  make_long_queue(directory.path(), 500);
  auto database = std::move(*Database::open({.directory = directory.path()}, Access::Write));
  damage_largest_file(directory.path());
  const auto put = [&] {
    rocksdb::WriteBatch batch;
    batch.Put(database->family(Family::Presence), "client", "record");
    return database->write(batch);
  };
  // As merging in the background would.
  const auto merge = [&] {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    return database->db().CompactRange(options, database->family(Family::Queue), nullptr, nullptr);
  };
  EXPECT_TRUE(put().ok());
  EXPECT_TRUE(merge().IsCorruption());
  EXPECT_TRUE(put().IsCorruption());
  EXPECT_TRUE(database->repair().ok());
  EXPECT_TRUE(put().ok());
  EXPECT_FALSE(database->db().GetOptions(database->family(Family::Queue)).disable_auto_compactions);
  database->leave_files_alone();
  EXPECT_TRUE(database->repair().ok());
  EXPECT_TRUE(put().ok());
  EXPECT_TRUE(database->db().GetOptions(database->family(Family::Queue)).disable_auto_compactions);
}

TEST(RocksdbStore, StartsAboveEveryTimeThatWasUsed) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    EXPECT_EQ(store.store().start_ms(kNow), kNoon);
    store.start();
    store.write({.at = {.at = kNow.at + base::seconds(100), .unix_ms = kNoon}, .changes = {session(1, "a")}});
  }
  std::uint64_t second = 0;
  {
    Driver store(directory.path());
    // The clock was set back meanwhile.
    second = *store.store().start_ms({kNow.at, kNoon - 1'000'000});
    EXPECT_GT(second, static_cast<std::uint64_t>(kNoon + 100'000));
  }
  std::uint64_t third = 0;
  {
    Driver store(directory.path());
    third = *store.store().start_ms({kNow.at, 0});
    EXPECT_GT(third, second);
    store.start();
    // This run is ahead of the wall clock, and so are its numbers.
    store.write({.at = {.at = kNow.at + base::seconds(30), .unix_ms = kNoon}, .changes = {session(2, "b")}});
  }
  Driver store(directory.path());
  EXPECT_GT(*store.store().start_ms({kNow.at, 0}), third + 30'000);
}

TEST(RocksdbStore, LosesNothingButTheTailOfATornLog) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a")});
    store.write({session(2, "b")});
  }
  std::filesystem::path log;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    if (entry.path().extension() == ".log" && (log.empty() || entry.path() > log)) log = entry.path();
  }
  std::filesystem::resize_file(log, std::filesystem::file_size(log) - 5);
  Driver store(directory.path());
  const Contents contents = store.recover();
  EXPECT_TRUE(contents.sessions.contains("a"));
  EXPECT_FALSE(contents.sessions.contains("b"));
}

TEST(RocksdbStore, CountsWhatIsNotWrittenYet) {
  const TempDirectory directory;
  Driver store(directory.path());
  store.submit({.changes = {enqueue(1, 1, message("t", std::string(1'000, 'x'), 1))}});
  EXPECT_GT(store.store().backlog_bytes(), 1'000U);
  EXPECT_LT(store.store().backlog_bytes(), 2'000U);
  store.start();
  ASSERT_TRUE(store.stop());
  EXPECT_EQ(store.store().backlog_bytes(), 0U);
}

// While it lives no file may grow: what a full disk does, without one.
class NoSpace {
 public:
  NoSpace() {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~NoSpace() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  NoSpace(const NoSpace&) = delete;
  NoSpace& operator=(const NoSpace&) = delete;

 private:
  rlimit before_{};
};

TEST(RocksdbStore, WaitsForADiskThatRefusesAndLosesNothing) {
  const TempDirectory directory;
  {
    Driver store(directory.path());
    store.start();
    store.write({session(1, "a"), enqueue(1, 1, message("t", "1", 1))});
    {
      const NoSpace full;
      store.submit({.changes = {enqueue(1, 2, message("t", "2", 2)), Dequeue{session_key(1), 1, {1, 3}}},
                    .loads = {load_all(1)}});
      store.wait_until([&] { return store.noticed(NoticeKind::WritingFails); });
      EXPECT_EQ(store.stored(0).number, 1U);
      EXPECT_GT(store.store().backlog_bytes(), 0U);
    }
    store.write({enqueue(1, 3, message("t", "3", 3))});
    store.wait_until([&] { return store.noticed(NoticeKind::WritesAgain); });
    EXPECT_EQ(numbers(store.load(load_all(1))).front(), 2U);
  }
  Driver store(directory.path());
  EXPECT_EQ(store.recover().sessions.at("a").queued, 2U);
}

TEST(RocksdbStore, StopsWithoutADiskWhenItsPatienceIsOver) {
  const TempDirectory directory;
  Driver store(directory.path());
  store.start();
  store.write({session(1, "a")});
  const NoSpace full;
  store.submit({.changes = {session(2, "b")}});
  EXPECT_FALSE(store.store().stop(std::chrono::milliseconds(10)));
}

}  // namespace
}  // namespace vigil::store
