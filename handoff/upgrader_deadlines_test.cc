// What does not come to an end, or to a stop, in the old program before exec: its own deadlines end
// the upgrade, nobody is stopped for longer than the blackout may take, and all serve on. Also, who
// is told of a standstill. Candidates that hang, and disks that are slow, are in tests/faults
// (cells 21 and 26).
#include <atomic>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/control_client.h"
#include "handoff/program_note.h"
#include "handoff/testing/thread_executor.h"
#include "handoff/testing/upgrader_fixture.h"
#include "handoff/upgrader.h"
#include "tests/harness/temp_dir.h"

LIVEEXEC_APPLICATION("upgrader-deadlines-test", "1.0");
LIVEEXEC_COMPONENT("one", 1, 1);
LIVEEXEC_COMPONENT("two", 1, 1);

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Some that pass soon.
constexpr absl::Duration kSoon = absl::Milliseconds(40);
constexpr absl::Duration kSooner = absl::Milliseconds(10);
constexpr absl::Duration kPatience = absl::Seconds(20);

class UpgraderDeadlinesTest : public UpgraderTest {
 protected:
  // Whether the process goes on as if nothing had been: an upgrade comes as far as the components.
  // On a busy machine one may meet the test's short deadlines again.
  void ExpectNextUpgradeWorks() {
    two_.on_quiesce = [] { return absl::InternalError("not now"); };
    JournalEntry entry;
    for (int tries = 0; tries < 100 && calls_.empty(); ++tries) entry = Request().get();
    EXPECT_EQ(entry.failed_phase, "quiescing");
    EXPECT_THAT(entry.message, HasSubstr("not now"));
    EXPECT_THAT(calls_, ElementsAre("quiesce one", "quiesce two", "resume two", "resume one"));
  }
};

INSTANTIATE_TEST_SUITE_P(Executors, UpgraderDeadlinesTest, BothExecutors());

// --- Ahead of the blackout

TEST_P(UpgraderDeadlinesTest, AComponentThatIsNeverDoneAheadOfTheBlackoutEndsIt) {
  options_.precopy_deadline = kSoon;
  CreateAndStart();
  Recorded::Done late;
  two_.on_precopy = [&](Recorded::Done done) { late = std::move(done); };
  int upgrades = 0;
  // On a busy machine the deadline may pass before it has begun.
  while (!late) {
    const JournalEntry entry = Request().get();
    ++upgrades;
    ASSERT_EQ(entry.outcome, Outcome::kAbandoned);
    ASSERT_EQ(entry.code, "E_TIMEOUT") << entry.message;
    EXPECT_EQ(entry.failed_phase, "guarding");
    EXPECT_THAT(entry.message, HasSubstr("precopy_deadline"));
  }
  EXPECT_THAT(calls_, IsEmpty()) << "nothing was stopped for it";
  EXPECT_EQ(one_.abandoned_precopies, upgrades);
  EXPECT_EQ(two_.abandoned_precopies, upgrades);
  main_.Run([&] { std::move(late)(absl::OkStatus()); });
  two_.on_precopy = nullptr;
  ExpectNextUpgradeWorks();
}

// A main loop that hangs, and a conductor of its own: its requests are answered meanwhile.
class StuckMainTest : public UpgraderDeadlinesTest {
 protected:
  void SetUp() override {
    options_.control_socket = directory_.File("run/control");
    CreateAndStart();
  }
  void BlockMain() {
    main_.Post([this] {
      stands_.set_value();
      unblock_.get_future().wait();
    });
    stands_.get_future().wait();
  }
  // The answer of whoever asks there; the main thread need not turn for it.
  JournalEntry UpgradeByControlSocket() {
    auto client = ControlClient::Connect(options_.control_socket, kPatience);
    EXPECT_TRUE(client.ok()) << client.status();
    auto entry = client->Upgrade({.binary = "/proc/self/exe"}, kPatience, nullptr);
    EXPECT_TRUE(entry.ok()) << entry.status();
    return *std::move(entry);
  }
  void UnblockMain() {
    unblock_.set_value();
    main_.Settle();
  }

  harness::TempDir directory_;
  std::promise<void> stands_, unblock_;
};

class StuckBeforePrecopyTest : public StuckMainTest {
 protected:
  StuckBeforePrecopyTest() { options_.precopy_deadline = kSoon; }
};
INSTANTIATE_TEST_SUITE_P(Executors, StuckBeforePrecopyTest,
                         ::testing::Values(ThreadExecutor::Watching::kCannot));

TEST_P(StuckBeforePrecopyTest, AMainThreadThatHangsBeforeItEndsItAndDoesNothingForItLater) {
  BlockMain();
  const JournalEntry entry = UpgradeByControlSocket();
  EXPECT_EQ(entry.outcome, Outcome::kAbandoned);
  EXPECT_EQ(entry.code, "E_TIMEOUT") << entry.message;
  EXPECT_EQ(entry.failed_phase, "guarding");
  UnblockMain();
  EXPECT_EQ(one_.precopies, 0) << "it is over";
  EXPECT_THAT(calls_, IsEmpty());
  ExpectNextUpgradeWorks();
  EXPECT_GE(one_.precopies, 1);
}

class StuckBeforeSnapshotTest : public StuckMainTest {
 protected:
  StuckBeforeSnapshotTest() {
    options_.rehearse = true;
    options_.quiesce_deadline = kSoon;
  }
};
INSTANTIATE_TEST_SUITE_P(Executors, StuckBeforeSnapshotTest,
                         ::testing::Values(ThreadExecutor::Watching::kCannot));

TEST_P(StuckBeforeSnapshotTest, AMainThreadThatHangsBeforeTheRehearsalsSnapshotEndsIt) {
  BlockMain();
  const JournalEntry entry = UpgradeByControlSocket();
  EXPECT_EQ(entry.outcome, Outcome::kAbandoned);
  EXPECT_EQ(entry.code, "E_QUIESCE") << entry.message;
  EXPECT_EQ(entry.failed_phase, "rehearsing");
  EXPECT_THAT(entry.message, HasSubstr("snapshot"));
  UnblockMain();
  EXPECT_THAT(calls_, IsEmpty()) << "no snapshot is taken for one that is over";
  one_.on_export = [] { return absl::InternalError("not now"); };
  JournalEntry next;
  for (int tries = 0; tries < 100 && calls_.empty(); ++tries) next = Request().get();
  EXPECT_EQ(next.code, "E_EXPORT") << next.message;
}

// --- Threads that do not stop

// Further threads, one of which can be made to hang just when it has shown itself drained, ahead of
// being parked.
class CrewDeadlinesTest : public UpgraderDeadlinesTest {
 protected:
  void StartWithThreads() {
    CreateAndStart();
    main_.Run([&] {
      for (ThreadExecutor& thread : threads_) upgrader_->AddThread(thread);
    });
  }
  void TearDown() override {
    GoOn();
    main_.Run([&] {
      for (ThreadExecutor& thread : threads_) upgrader_->RemoveThread(thread);
    });
  }

  // At the next upgrade; once.
  void HangWhenDrained() {
    threads_[1].set_on_asked([this] {
      if (std::exchange(hung_, true)) return;
      threads_[1].Post([this] {
        stuck_.set_value();
        go_on_.get_future().wait();
      });
    });
  }
  void GoOn() {
    if (!std::exchange(gone_on_, true)) go_on_.set_value();
  }

  // All but the one that hangs. Returns only when they do.
  void ExpectTheOthersRun() {
    main_.Run([] {});
    threads_[0].Run([] {});
    threads_[2].Run([] {});
  }
  void ExpectAllRun() {
    ExpectTheOthersRun();
    threads_[1].Run([] {});
  }

  ThreadExecutor threads_[3];
  std::promise<void> stuck_, go_on_;
  bool hung_ = false, gone_on_ = false;
};

INSTANTIATE_TEST_SUITE_P(Executors, CrewDeadlinesTest, BothExecutors());

TEST_P(CrewDeadlinesTest, NobodyIsStoppedForOneThatHangsForLongerThanTheBlackoutMayTake) {
  options_.quiesce_deadline = kPatience;
  StartWithThreads();
  HangWhenDrained();
  two_.on_quiesce = [] { return absl::InternalError("not now"); };
  std::future<JournalEntry> answer = Request({.max_blackout = kSooner});
  stuck_.get_future().wait();
  // The blackout has been tried, and is over; the upgrade is not.
  while (main_.standstills() == 0) main_.Run([] {});
  ExpectTheOthersRun();
  EXPECT_THAT(calls_, IsEmpty());
  GoOn();
  // Tried again, and this time all were parked.
  const JournalEntry entry = answer.get();
  EXPECT_THAT(entry.message, HasSubstr("not now"));
  EXPECT_GE(main_.standstills(), 2);
  ExpectAllRun();
}

TEST_P(CrewDeadlinesTest, OneThatNeverParksEndsItAndAllOthersServeOn) {
  options_.quiesce_deadline = kSoon;
  StartWithThreads();
  HangWhenDrained();
  const JournalEntry entry = Request({.max_blackout = kSooner}).get();
  EXPECT_EQ(entry.outcome, Outcome::kAbandoned);
  EXPECT_EQ(entry.code, "E_QUIESCE") << entry.message;
  EXPECT_EQ(entry.failed_phase, "quiescing");
  EXPECT_THAT(entry.message, HasSubstr("did not come to a stop in time"));
  EXPECT_THAT(calls_, IsEmpty());
  ExpectTheOthersRun();
  GoOn();
  ExpectAllRun();
  ExpectNextUpgradeWorks();
}

TEST_P(CrewDeadlinesTest, OneThatDoesNotParkUnderALargeBudgetEndsItAtTheQuiesceDeadline) {
  options_.quiesce_deadline = kSoon;
  StartWithThreads();
  HangWhenDrained();
  const JournalEntry entry = Request().get();
  EXPECT_EQ(entry.code, "E_QUIESCE") << entry.message;
  EXPECT_THAT(entry.message, HasSubstr("did not come to a stop in time"));
  EXPECT_THAT(calls_, IsEmpty());
  ExpectTheOthersRun();
  GoOn();
  ExpectAllRun();
  ExpectNextUpgradeWorks();
}

// The deadline passes while the blackout is being tried, which then has to be tried again.
TEST_P(CrewDeadlinesTest, OneThatIsBusyAgainWheneverItIsToParkEndsItAtTheQuiesceDeadline) {
  const harness::TempDir directory;
  options_.quiesce_deadline = kSoon;
  options_.control_socket = directory.File("run/control");
  StartWithThreads();
  std::atomic<bool> busy{true}, waited{false};
  threads_[1].set_on_standstill([&] { threads_[1].set_operations_in_flight(busy ? 1 : 0); });
  threads_[1].set_on_asked([&] { threads_[1].set_operations_in_flight(0); });
  main_.set_on_standstill([&] {
    if (waited.exchange(true)) return;
    absl::SleepFor(kSoon);
    // Two turns of the conductor, which answers: the first may have begun before.
    auto client = ControlClient::Connect(options_.control_socket, kPatience);
    ASSERT_TRUE(client.ok()) << client.status();
    for (int turn = 0; turn < 2; ++turn) EXPECT_TRUE(client->Status(kPatience).ok());
  });
  two_.on_quiesce = [] { return absl::InternalError("it was parked"); };
  std::future<JournalEntry> answer = Request({.max_blackout = kSooner});
  const bool ended = answer.wait_for(absl::ToChronoSeconds(kPatience)) == std::future_status::ready;
  EXPECT_TRUE(ended) << "no deadline ends it";
  busy = false;
  const JournalEntry entry = answer.get();
  EXPECT_EQ(entry.code, "E_QUIESCE") << entry.message;
  EXPECT_THAT(entry.message, HasSubstr("did not come to a stop in time"));
  EXPECT_THAT(calls_, IsEmpty());
  ExpectAllRun();
  ExpectNextUpgradeWorks();
}

// --- Standstills

TEST_P(CrewDeadlinesTest, EachThreadIsToldOfTheStandstillOnItsOwnBeforeAnyComponentIsQuiesced) {
  StartWithThreads();
  std::mutex mutex;
  std::vector<std::thread::id> told, told_before;
  const auto note = [&] {
    std::lock_guard lock(mutex);
    told.push_back(std::this_thread::get_id());
  };
  main_.set_on_standstill(note);
  for (ThreadExecutor& thread : threads_) thread.set_on_standstill(note);
  one_.on_quiesce = [&] {
    std::lock_guard lock(mutex);
    told_before = told;
    return absl::InternalError("not now");
  };
  EXPECT_THAT(Request().get().message, HasSubstr("not now"));
  EXPECT_THAT(told_before, UnorderedElementsAre(main_.id(), threads_[0].id(), threads_[1].id(),
                                                threads_[2].id()));
  EXPECT_EQ(told_before.front(), main_.id()) << "its loop goes on until then";
  EXPECT_EQ(told.size(), 4u) << "no one is told of it in vain";
}

}  // namespace
}  // namespace liveexec
