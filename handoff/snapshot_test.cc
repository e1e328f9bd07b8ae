// A snapshot in the midst of serving: who is told of it, where, and that nobody stands still for
// long for one who does not.
#include "handoff/snapshot.h"

#include <chrono>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "core/syscalls.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/parking.h"
#include "handoff/program.h"
#include "handoff/testing/filled_channel.h"
#include "handoff/testing/scripted_component.h"
#include "handoff/testing/thread_executor.h"

namespace liveexec {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() {
    program_.note = NoteWith({"one"});
    program_.components = {&one_};
    // Long enough that only a hang would reach it.
    program_.options.quiesce_deadline = absl::Seconds(20);
    for (ThreadExecutor& thread : threads_) program_.parking.Add(thread);
    for (ThreadExecutor* executor : {&main_, &threads_[0], &threads_[1]}) {
      executor->set_on_standstill([this] { Note(); });
    }
    one_.on_export = [this] {
      told_before_export_ = told_;
      exported_on_ = std::this_thread::get_id();
      return absl::OkStatus();
    };
  }

  void Note() {
    std::lock_guard lock(mutex_);
    told_.push_back(std::this_thread::get_id());
  }

  // On the calling thread.
  absl::Status Take(Executor* caller = nullptr) {
    return TakeSnapshot(program_, inspector_, Successor(), caller).status();
  }
  absl::Status TakeOn(ThreadExecutor& executor) {
    absl::Status status;
    executor.Run([&] { status = Take(&executor); });
    return status;
  }

  ThreadExecutor main_;
  ThreadExecutor threads_[2];
  ScriptedComponent one_{"one"};
  Program program_{Syscalls::Kernel(), main_};
  FdInspector inspector_{Syscalls::Kernel()};
  std::mutex mutex_;
  std::vector<std::thread::id> told_, told_before_export_;
  std::thread::id exported_on_;
};

TEST_F(SnapshotTest, IsTakenOnTheMainThreadAfterEachThreadWasToldOnItsOwn) {
  const absl::Status status = Take();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(exported_on_, main_.id());
  EXPECT_THAT(told_before_export_,
              UnorderedElementsAre(main_.id(), threads_[0].id(), threads_[1].id()));
  EXPECT_EQ(told_before_export_.front(), main_.id()) << "it is the first to stop";
  EXPECT_EQ(told_.size(), 3u);
  for (ThreadExecutor& thread : threads_) thread.Run([] {});
}

TEST_F(SnapshotTest, ARegisteredThreadThatWaitsForOneIsToldBeforeItWaitsAndNotParked) {
  const absl::Status status = TakeOn(threads_[1]);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(exported_on_, main_.id());
  EXPECT_THAT(told_before_export_, ElementsAre(threads_[1].id(), main_.id(), threads_[0].id()));
  EXPECT_EQ(told_.size(), 3u);
}

TEST_F(SnapshotTest, TheMainThreadTakesItsOwnAtOnceAndIsToldOnce) {
  const absl::Status status = TakeOn(main_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(exported_on_, main_.id());
  EXPECT_THAT(told_before_export_,
              UnorderedElementsAre(main_.id(), threads_[0].id(), threads_[1].id()));
  EXPECT_EQ(told_.size(), 3u);
}

TEST_F(SnapshotTest, NobodyStandsStillForLongForAThreadThatHangs) {
  std::promise<void> stands, go_on;
  threads_[0].Post([&] {
    stands.set_value();
    go_on.get_future().wait();
  });
  stands.get_future().wait();
  auto snapshot = std::async(std::launch::async, [this] { return Take(); });
  // It is tried again and again; in between all others serve.
  const auto ended = [&] {
    return snapshot.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  };
  while (main_.standstills() < 3 && !ended()) main_.Run([] {});
  threads_[1].Run([] {});
  EXPECT_EQ(exported_on_, std::thread::id());
  go_on.set_value();
  const absl::Status status = snapshot.get();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(exported_on_, main_.id());
}

TEST_F(SnapshotTest, AThreadThatNeverStopsEndsItAtTheQuiesceDeadline) {
  program_.options.quiesce_deadline = absl::Milliseconds(50);
  std::promise<void> stands, go_on;
  threads_[0].Post([&] {
    stands.set_value();
    go_on.get_future().wait();
  });
  stands.get_future().wait();
  const absl::Status status = Take();
  EXPECT_EQ(CodeOf(status), "E_QUIESCE") << status;
  main_.Run([] {});
  threads_[1].Run([] {});
  EXPECT_EQ(exported_on_, std::thread::id());
  go_on.set_value();
  threads_[0].Run([] {});
}

// The main thread may be the one that ends the program, and it waits for those who wait for it.
class AbandonedSnapshotTest : public ::testing::Test {
 protected:
  AbandonedSnapshotTest() { program_.options.quiesce_deadline = absl::InfiniteDuration(); }

  // On a thread of its own, while the main one is at something else.
  std::future<std::string> WaitForOne(const BlackoutTicket* ticket) {
    main_.Post([this] { leave_main_.get_future().wait(); });
    return std::async(std::launch::async, [this, ticket] {
      return std::string(CodeOf(TakeSnapshot(program_, inspector_, {}, nullptr, ticket).status()));
    });
  }

  ThreadExecutor main_;
  Program program_{Syscalls::Kernel(), main_};
  FdInspector inspector_{Syscalls::Kernel()};
  std::promise<void> leave_main_;
};

TEST_F(AbandonedSnapshotTest, IsNotWaitedForAfterACancellation) {
  BlackoutTicket ticket;
  std::future<std::string> code = WaitForOne(&ticket);
  ASSERT_TRUE(ticket.Cancel());
  EXPECT_EQ(code.get(), "E_CANCELLED");
  leave_main_.set_value();
}

TEST_F(AbandonedSnapshotTest, IsNotWaitedForWhenTheProgramEnds) {
  std::future<std::string> code = WaitForOne(nullptr);
  program_.ending = true;
  EXPECT_EQ(code.get(), "E_CANCELLED");
  leave_main_.set_value();
}

TEST_F(AbandonedSnapshotTest, IsTakenByTheMainThreadOnceItComesToIt) {
  BlackoutTicket ticket;
  std::future<std::string> code = WaitForOne(&ticket);
  leave_main_.set_value();
  EXPECT_EQ(code.get(), "");
}

}  // namespace
}  // namespace liveexec
