// Who waits for a snapshot stops waiting when nobody wants it any more: the main thread may be the
// one that ends the program, and it waits for those who wait for it.
#include "handoff/snapshot.h"

#include <future>

#include "absl/time/time.h"
#include "core/syscalls.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/parking.h"
#include "handoff/program.h"
#include "handoff/testing/thread_executor.h"

namespace liveexec {
namespace {

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() { program_.options.quiesce_deadline = absl::InfiniteDuration(); }

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

TEST_F(SnapshotTest, IsNotWaitedForAfterACancellation) {
  BlackoutTicket ticket;
  std::future<std::string> code = WaitForOne(&ticket);
  ASSERT_TRUE(ticket.Cancel());
  EXPECT_EQ(code.get(), "E_CANCELLED");
  leave_main_.set_value();
}

TEST_F(SnapshotTest, IsNotWaitedForWhenTheProgramEnds) {
  std::future<std::string> code = WaitForOne(nullptr);
  program_.ending = true;
  EXPECT_EQ(code.get(), "E_CANCELLED");
  leave_main_.set_value();
}

TEST_F(SnapshotTest, IsTakenByTheMainThreadOnceItComesToIt) {
  BlackoutTicket ticket;
  std::future<std::string> code = WaitForOne(&ticket);
  leave_main_.set_value();
  EXPECT_EQ(code.get(), "");
}

}  // namespace
}  // namespace liveexec
