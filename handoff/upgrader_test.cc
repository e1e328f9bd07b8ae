// The facade in one process: what it refuses, and that an upgrade which is abandoned undoes what it
// did. Real execs are in upgrade_exec_test.cc and rollback_test.cc.
#include "handoff/upgrader.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/program_note.h"
#include "handoff/testing/no_threads.h"
#include "handoff/testing/thread_executor.h"
#include "handoff/testing/upgrader_fixture.h"

LIVEEXEC_APPLICATION("upgrader-test", "1.0");
LIVEEXEC_COMPONENT("one", 1, 1);
LIVEEXEC_COMPONENT("two", 1, 1);

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

size_t Threads() {
  auto tasks = std::filesystem::directory_iterator("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

INSTANTIATE_TEST_SUITE_P(Executors, UpgraderTest, BothExecutors());

TEST_P(UpgraderTest, AFreshStartInitializesAllAndThenActivatesAll) {
  Create();
  EXPECT_TRUE(upgrader_->fresh());
  ASSERT_TRUE(Register(one_).ok());
  ASSERT_TRUE(Register(two_).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_THAT(calls_,
              ElementsAre("initialize one", "initialize two", "activate one", "activate two"));
  EXPECT_EQ(upgrader_->generation(), 0u);
  EXPECT_THAT(History(), IsEmpty());
}

TEST_P(UpgraderTest, AnInitializeThatFailsOrThrowsFailsTheStart) {
  two_.on_initialize = [] { return absl::InternalError("no disk"); };
  Create();
  ASSERT_TRUE(Register(one_).ok());
  ASSERT_TRUE(Register(two_).ok());
  absl::Status status = Start();
  EXPECT_THAT(std::string(status.message()), HasSubstr("no disk"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("component two"));
  EXPECT_THAT(calls_, ElementsAre("initialize one", "initialize two"));
}

TEST_P(UpgraderTest, ThereIsOnePerProcessAtATime) {
  Create();
  main_.Run([&] {
    EXPECT_TRUE(absl::IsFailedPrecondition(Upgrader::Create(main_, {}).status()));
    upgrader_.reset();
  });
  Create();
}

TEST_P(UpgraderTest, ComponentsAreRegisteredOnceBeforeStartAndWithANote) {
  Create();
  Recorded again("one", calls_), unknown("three", calls_), bad("One!", calls_), late("two", calls_);
  ASSERT_TRUE(Register(one_).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Register(again)));
  EXPECT_TRUE(absl::IsInvalidArgument(Register(bad)));
  absl::Status status = Register(unknown);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("LIVEEXEC_COMPONENT"));
  ASSERT_TRUE(Start().ok());
  EXPECT_FALSE(Register(late).ok());
  EXPECT_FALSE(Start().ok()) << "once";
}

TEST_P(UpgraderTest, ACandidateThatIsNotThereIsAnsweredOnTheMainThreadAndTouchesNoComponent) {
  CreateAndStart();
  auto thread = std::make_shared<std::promise<std::thread::id>>();
  upgrader_->Request({.binary = "/no/such/file"}, [thread](const JournalEntry& entry) {
    EXPECT_EQ(entry.code, "E_NOENT");
    thread->set_value(std::this_thread::get_id());
  });
  EXPECT_EQ(thread->get_future().get(), main_.id());
  EXPECT_THAT(calls_, IsEmpty());
  std::vector<JournalEntry> history = History();
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history[0].upgrade, 1u);
  EXPECT_EQ(history[0].outcome, Outcome::kAbandoned);
  EXPECT_EQ(history[0].trigger, "api");
  EXPECT_EQ(history[0].binary, "/no/such/file");
  EXPECT_EQ(history[0].failed_phase, "checking");
  EXPECT_EQ(history[0].from_version, "1.0");
  EXPECT_EQ(history[0].to_version, "");
  EXPECT_EQ(history[0].pid, static_cast<uint32_t>(getpid()));
  EXPECT_GT(history[0].started_unix_ns, 0);
}

TEST_P(UpgraderTest, WhatWasQuiescedIsResumedInReverseWhenTheBlackoutFails) {
  struct Row {
    std::function<absl::Status()> quiesce, exported;
    const char* code;
    const char* phase;
    std::vector<std::string> calls;
  };
  auto fails = [] { return absl::InternalError("not now"); };
  auto throws = []() -> absl::Status { throw std::runtime_error("thrown"); };
  const Row table[] = {
      {fails,
       nullptr,
       "E_QUIESCE",
       "quiescing",
       {"quiesce one", "quiesce two", "resume two", "resume one"}},
      {throws,
       nullptr,
       "E_EXCEPTION",
       "quiescing",
       {"quiesce one", "quiesce two", "resume two", "resume one"}},
      {nullptr,
       fails,
       "E_EXPORT",
       "exporting",
       {"quiesce one", "quiesce two", "export one", "export two", "resume two", "resume one"}},
      {nullptr,
       throws,
       "E_EXCEPTION",
       "exporting",
       {"quiesce one", "quiesce two", "export one", "export two", "resume two", "resume one"}},
  };
  CreateAndStart();
  auto files = OpenFiles();
  for (const Row& row : table) {
    calls_.clear();
    two_.on_quiesce = row.quiesce;
    two_.on_export = row.exported;
    JournalEntry entry = Request().get();
    EXPECT_EQ(entry.outcome, Outcome::kAbandoned);
    EXPECT_EQ(entry.code, row.code) << entry.message;
    EXPECT_EQ(entry.failed_phase, row.phase);
    EXPECT_GT(entry.blackout_ns, 0);
    EXPECT_EQ(calls_, row.calls);
  }
  // A guest opens its fds again when it has come home, behind the answer.
  while (OpenFiles() != files) main_.Settle();
  EXPECT_EQ(History().size(), 4u);
}

TEST_P(UpgraderTest, AThreadThatIsParkedGoesOnAfterwards) {
  CreateAndStart();
  two_.on_export = [] { return absl::InternalError("not now"); };
  ThreadExecutor thread;
  main_.Run([&] { upgrader_->AddThread(thread); });
  EXPECT_EQ(Request().get().code, "E_EXPORT");
  thread.Run([] {});
  main_.Run([&] { upgrader_->RemoveThread(thread); });
}

TEST_P(UpgraderTest, WorkThatDoesNotEndAbandonsItAndASecondRequestMeanwhileIsRefused) {
  options_.quiesce_deadline = absl::Milliseconds(50);
  CreateAndStart();
  main_.set_operations_in_flight(1);
  std::future<JournalEntry> first = Request();
  while (main_.times_asked() == 0) main_.Run([] {});
  JournalEntry second = Request().get();
  // The first one may have ended before the second was looked at; only one of them may run.
  EXPECT_TRUE(second.code == "E_BUSY" || second.code == "E_QUIESCE") << second.code;
  JournalEntry entry = first.get();
  EXPECT_EQ(entry.code, "E_QUIESCE") << entry.message;
  EXPECT_EQ(entry.failed_phase, "quiescing");
  EXPECT_THAT(calls_, IsEmpty());
  main_.set_operations_in_flight(0);
  two_.on_quiesce = [] { return absl::InternalError("not now"); };
  EXPECT_EQ(Request().get().failed_phase, "quiescing");
  EXPECT_THAT(calls_, Not(IsEmpty())) << "this one got as far as the components";
}

// The test's own thread and the main one: the framework has one more only where it must.
TEST_P(UpgraderTest, ThereIsNoFurtherThreadWhileNothingIsUpgradedIfTheMainLoopCanDoWithout) {
  const bool guest = GetParam() == ThreadExecutor::Watching::kCan;
  const size_t before = Threads();
  CreateAndStart();
  EXPECT_EQ(Threads(), before + (guest ? 0 : 1));
  size_t during = 0;
  one_.on_quiesce = [&] {
    during = Threads();
    return absl::InternalError("not now");
  };
  EXPECT_EQ(Request().get().code, "E_QUIESCE");
  EXPECT_EQ(during, before + 1) << "the conductor, parked; the preparing thread has ended";
  // It comes home behind the answer.
  while (guest && Threads() != before) main_.Settle();
  EXPECT_EQ(Threads(), before + (guest ? 0 : 1));
  EXPECT_EQ(Request().get().code, "E_QUIESCE") << "and can leave again";
}

TEST_P(UpgraderTest, OneForWhichThereIsNoThreadIsAbandoned) {
  CreateAndStart();
  {
    NoThreads none;
    JournalEntry entry = Request().get();
    EXPECT_EQ(entry.outcome, Outcome::kAbandoned);
    EXPECT_EQ(entry.code, "E_GUARD") << entry.message;
  }
  EXPECT_THAT(calls_, IsEmpty());
  two_.on_quiesce = [] { return absl::InternalError("not now"); };
  EXPECT_EQ(Request().get().failed_phase, "quiescing") << "and the next one has one";
}

TEST_P(UpgraderTest, TheSignalAsksForOne) {
  CreateAndStart();
  std::promise<void> quiesced;
  main_.Run([&] {
    one_.on_quiesce = [&] {
      quiesced.set_value();
      return absl::InternalError("not now");
    };
  });
  kill(getpid(), SIGHUP);
  quiesced.get_future().wait();
  main_.Run([&] { one_.on_quiesce = [] { return absl::InternalError("not now"); }; });
  // Answered behind the first, or refused because that has not ended yet.
  while (Request().get().code == "E_BUSY") continue;
  EXPECT_EQ(History()[0].trigger, "signal");
}

TEST_P(UpgraderTest, ItMayBeDestroyedWhileAnUpgradeIsUnderWay) {
  CreateAndStart();
  main_.set_operations_in_flight(1);
  Request();
  while (main_.times_asked() == 0) main_.Run([] {});
  main_.Run([&] { upgrader_.reset(); });
  main_.set_operations_in_flight(0);
  main_.Settle();
}

}  // namespace
}  // namespace liveexec
