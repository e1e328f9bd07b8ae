#include "handoff/custodian.h"

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "core/fd_channel.h"
#include "core/pinned_image.h"
#include "core/syscalls.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"
#include "handoff/flight_recorder.h"

namespace liveexec {
namespace {

class CustodianTest : public ::testing::Test {
 protected:
  CustodianTest()
      : channel_(*CreateFdChannel(Syscalls::Kernel())),
        recorder_(*FlightRecorder::Create(Syscalls::Kernel())),
        own_image_(*PinnedImage::OfThisProcess(Syscalls::Kernel())) {}

  std::unique_ptr<Custodian> Start() {
    auto custodian = Custodian::Start({.channel = channel_.receiver.get(),
                                       .old_program = own_image_.fd(),
                                       .record = recorder_.record(),
                                       .nonce = {},
                                       .arguments = {"test"},
                                       .environment = {}});
    EXPECT_TRUE(custodian.ok()) << custodian.status();
    return *std::move(custodian);
  }
  pid_t pid() { return recorder_.record()->custodian_pid; }

  FdChannelEnds channel_;
  FlightRecorder recorder_;
  PinnedImage own_image_;
};

TEST_F(CustodianTest, GoesWithTheAttemptAndLeavesNothingBehind) {
  auto before = OpenFiles();
  auto custodian = Start();
  const pid_t its_pid = pid();
  ASSERT_GT(its_pid, 0);
  EXPECT_FALSE(CustodianHasEnded(its_pid));
  custodian.reset();
  EXPECT_EQ(pid(), 0);
  EXPECT_TRUE(CustodianHasEnded(its_pid)) << "it has been reaped";
  EXPECT_EQ(OpenFiles(), before);
}

}  // namespace
}  // namespace liveexec
