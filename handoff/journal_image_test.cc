#include "handoff/journal_image.h"

#include <capnp/message.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

JournalEntry FullEntry() {
  JournalEntry entry;
  entry.upgrade = 1ull << 40;
  entry.trigger = "control";
  entry.binary = "/srv/bin/echo";
  entry.from_version = "1.0";
  entry.to_version = "2.0";
  entry.outcome = Outcome::kRolledBack;
  entry.code = "E_SELFCHECK";
  entry.message = "the self-check failed";
  entry.failed_phase = "self-check";
  entry.started_unix_ns = 1'700'000'000'000'000'001;
  entry.blackout_ns = 1'234'567;
  entry.pid = 4321;
  entry.fds = 70'000;
  entry.state_bytes = 1ull << 33;
  entry.fds_left_behind = {"17 eventfd (no role)", ""};
  entry.phases = {{"checking", 5, 6}, {"rehearsing", 11, 70}};
  return entry;
}

void ExpectSame(const JournalEntry& a, const JournalEntry& b) {
  EXPECT_EQ(a.upgrade, b.upgrade);
  EXPECT_EQ(a.trigger, b.trigger);
  EXPECT_EQ(a.binary, b.binary);
  EXPECT_EQ(a.from_version, b.from_version);
  EXPECT_EQ(a.to_version, b.to_version);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_EQ(a.code, b.code);
  EXPECT_EQ(a.message, b.message);
  EXPECT_EQ(a.failed_phase, b.failed_phase);
  EXPECT_EQ(a.started_unix_ns, b.started_unix_ns);
  EXPECT_EQ(a.blackout_ns, b.blackout_ns);
  EXPECT_EQ(a.pid, b.pid);
  EXPECT_EQ(a.fds, b.fds);
  EXPECT_EQ(a.state_bytes, b.state_bytes);
  EXPECT_EQ(a.fds_left_behind, b.fds_left_behind);
  ASSERT_EQ(a.phases.size(), b.phases.size());
  for (size_t i = 0; i < a.phases.size(); ++i) {
    EXPECT_EQ(a.phases[i].phase, b.phases[i].phase);
    EXPECT_EQ(a.phases[i].start_ns, b.phases[i].start_ns);
    EXPECT_EQ(a.phases[i].duration_ns, b.phases[i].duration_ns);
  }
}

TEST(JournalImage, GivesBackEveryField) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<JournalEntryImage>();
  ToImage(FullEntry(), image);
  auto entry = FromImage(image.asReader());
  ASSERT_TRUE(entry.ok()) << entry.status();
  ExpectSame(*entry, FullEntry());
}

TEST(JournalImage, GivesBackAnEmptyEntry) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<JournalEntryImage>();
  auto entry = FromImage(image.asReader());
  ASSERT_TRUE(entry.ok()) << entry.status();
  ExpectSame(*entry, JournalEntry());
}

TEST(JournalImage, CutsWhatIsTooLong) {
  JournalEntry entry = FullEntry();
  entry.message = std::string(100'000, 'm');
  entry.fds_left_behind.assign(1000, std::string(10'000, 'f'));
  entry.phases.assign(1000, {"p", 1, 2});
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<JournalEntryImage>();
  ToImage(entry, image);
  auto back = FromImage(image.asReader());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->message, std::string(4096, 'm'));
  EXPECT_EQ(back->fds_left_behind.size(), 64u);
  EXPECT_EQ(back->fds_left_behind[63].size(), 4096u);
  EXPECT_EQ(back->phases.size(), 64u);
}

TEST(JournalImage, RefusesAnOutcomeThatDoesNotExist) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<JournalEntryImage>();
  image.setOutcome(4);
  EXPECT_EQ(FromImage(image.asReader()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JournalImage, KeepsTheOrderOfAJournalAndItsNewestEntries) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<JournalImage>();
  auto entries = image.initEntries(Journal::kMaxEntries + 10);
  for (unsigned i = 0; i < entries.size(); ++i) entries[i].setUpgrade(i);
  auto journal = FromImage(image.asReader());
  ASSERT_TRUE(journal.ok()) << journal.status();
  ASSERT_EQ(journal->entries().size(), Journal::kMaxEntries);
  EXPECT_EQ(journal->entries().front().upgrade, 10u);
  EXPECT_EQ(journal->entries().back().upgrade, Journal::kMaxEntries + 9);

  capnp::MallocMessageBuilder again;
  auto second = again.initRoot<JournalImage>();
  ToImage(*journal, second);
  EXPECT_EQ(second.getEntries().size(), Journal::kMaxEntries);
  EXPECT_EQ(second.getEntries()[0].getUpgrade(), 10u);
}

}  // namespace
}  // namespace liveexec
