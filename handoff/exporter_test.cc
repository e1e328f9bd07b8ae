#include "handoff/exporter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/testing/faulty_syscalls.h"
#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/testing/filled_channel.h"
#include "handoff/testing/scripted_component.h"

namespace liveexec {
namespace {

using ::testing::HasSubstr;

Syscalls& Kernel() { return Syscalls::Kernel(); }
UniqueFd Memory() { return UniqueFd(memfd_create("test", MFD_CLOEXEC)); }

class ExporterTest : public ::testing::Test {
 protected:
  ExporterTest() : note_(NoteWith({"one", "two"})), inspector_(Kernel()) {
    one_.value = 11;
    for (uint64_t i = 0; i < 3; ++i) one_.fds[{"client", i}] = Memory();
    two_.has_state = false;
    two_.fds[{"listener", 0}] = Memory();
  }

  absl::StatusOr<Exported> Export() {
    return Exporter(Kernel(), inspector_, note_).Export(components_);
  }

  std::string CodeOfExport() { return CodeOf(Export().status()); }

  ProgramNote note_;
  FdInspector inspector_;
  ScriptedComponent one_{"one"}, two_{"two"};
  std::vector<Component*> components_ = {&one_, &two_};
};

TEST_F(ExporterTest, ListsEveryFdWithItsRoleAndIdentity) {
  auto exported = Export();
  ASSERT_TRUE(exported.ok()) << exported.status();
  ASSERT_EQ(exported->entries.size(), 4u);
  ASSERT_EQ(exported->fds.size(), 4u);
  ASSERT_EQ(exported->parts.size(), 2u);
  EXPECT_EQ(exported->parts[0].schema_version, 1u);
  EXPECT_EQ(exported->entries[3].component, "two");
  EXPECT_EQ(exported->entries[3].role, "listener");
  EXPECT_EQ(exported->fds[3], (two_.fds[{"listener", 0}].get()));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(exported->entries[i].identity.kind, FdKind::kMemfd);
    EXPECT_TRUE(inspector_.Matches(exported->fds[i], exported->entries[i].identity).ok());
  }
}

TEST_F(ExporterTest, FdsThatWereLookedAtAheadCostOneSystemCallEach) {
  std::vector<UniqueFd> events;
  for (uint64_t i = 0; i < 100; ++i) {
    events.emplace_back(eventfd(0, EFD_CLOEXEC));
    two_.also_carry.push_back({"event", i, events.back().get()});
  }
  FaultySyscalls syscalls;
  FdInspector inspector(syscalls);
  Exporter exporter(syscalls, inspector, note_);
  ASSERT_TRUE(exporter.Export(components_, {}, 1).ok());
  const size_t before = syscalls.calls().size();
  ASSERT_TRUE(exporter.Export(components_, {}, 1).ok());
  // 104 fds, and one eventfd of a hundred is looked at in full.
  EXPECT_LE(syscalls.calls().size() - before, 104u + 3u);
}

TEST_F(ExporterTest, AnFdThatTookTheNumberOfOneSeenBeforeIsListedAsWhatItIs) {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC));
  two_.also_carry = {{"tick", 0, fd.get()}};
  ASSERT_EQ(Export()->entries.back().identity.kind, FdKind::kEventfd);
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  ASSERT_EQ(dup3(timer.get(), fd.get(), O_CLOEXEC), fd.get());
  EXPECT_EQ(Export()->entries.back().identity.kind, FdKind::kTimerfd);
  ASSERT_EQ(dup3(one_.fds[{"client", 0}].get(), fd.get(), O_CLOEXEC), fd.get());
  EXPECT_EQ(Export()->entries.back().identity.kind, FdKind::kMemfd);
}

TEST_F(ExporterTest, AComponentThatFailsIsNamed) {
  two_.on_export = [] { return absl::DataLossError("the state is inconsistent"); };
  auto exported = Export();
  EXPECT_EQ(CodeOf(exported.status()), "E_EXPORT");
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("component two"));
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("the state is inconsistent"));
}

TEST_F(ExporterTest, AComponentThatThrowsIsNamed) {
  struct Row {
    std::function<absl::Status()> fault;
    const char* text;
  };
  const Row table[] = {
      {[]() -> absl::Status { throw std::runtime_error("boom"); }, "boom"},
      {[]() -> absl::Status { kj::throwFatalException(KJ_EXCEPTION(FAILED, "kj boom")); },
       "kj boom"},
      {[]() -> absl::Status { throw 7; }, "not a std::exception"},
  };
  for (const Row& row : table) {
    one_.on_export = row.fault;
    auto exported = Export();
    EXPECT_EQ(CodeOf(exported.status()), "E_EXCEPTION") << exported.status();
    EXPECT_THAT(std::string(exported.status().message()), HasSubstr("component one"));
    EXPECT_THAT(std::string(exported.status().message()), HasSubstr(row.text));
  }
}

TEST_F(ExporterTest, AnFdThatIsNotOpenIsRefusedAndNamed) {
  int closed = Memory().get();
  two_.also_carry = {{"log", 5, closed}};
  auto exported = Export();
  EXPECT_EQ(CodeOf(exported.status()), "E_FD");
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("two/log/5"));
  two_.also_carry = {{"log", 5, -1}};
  EXPECT_FALSE(Export().ok());
}

TEST_F(ExporterTest, AnFdThatExecDestroysIsRefusedAndNamed) {
  struct io_uring_params params = {};
  UniqueFd ring(static_cast<int>(syscall(SYS_io_uring_setup, 2, &params)));
  if (!ring) GTEST_SKIP() << "io_uring is not allowed here";
  two_.also_carry = {{"ring", 0, ring.get()}};
  auto exported = Export();
  EXPECT_EQ(CodeOf(exported.status()), "E_FD");
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("two/ring/0"));
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("io_uring"));
}

TEST_F(ExporterTest, TwoFdsUnderOneRoleAreRefusedBeforeAnythingIsSent) {
  UniqueFd other = Memory();
  one_.also_carry = {{"client", 1, other.get()}};
  auto exported = Export();
  EXPECT_EQ(CodeOf(exported.status()), "E_FD") << exported.status();
  EXPECT_TRUE(absl::IsAlreadyExists(exported.status())) << exported.status();
  EXPECT_THAT(std::string(exported.status().message()), HasSubstr("one/client/1"));
  // Under two components, or two roles, there is nothing wrong with it.
  one_.also_carry = {{"listener", 0, other.get()}, {"clients", 1, other.get()}};
  EXPECT_TRUE(Export().ok());
}

TEST_F(ExporterTest, ExportingChangesNothing) {
  auto before = OpenFiles();
  for (int i = 0; i < 3; ++i) {
    auto channel = FillChannel(Kernel(), note_, components_);
    ASSERT_TRUE(channel.ok()) << channel.status();
  }
  EXPECT_EQ(OpenFiles(), before);
}

TEST_F(ExporterTest, EveryFailingCallAbandonsItWithACodeAndLeaksNothing) {
  for (Times times : {Times::kOnce, Times::kFromThenOn}) {
    auto before = OpenFiles();
    int count = ForEachCall(ENOSPC, times, [&](FaultySyscalls& syscalls) {
      auto channel = FillChannel(syscalls, note_, components_);
      if (!syscalls.failed()) {
        EXPECT_TRUE(channel.ok()) << channel.status();
      } else if (!channel.ok()) {
        EXPECT_FALSE(channel.status().message().empty());
      }
    });
    EXPECT_GT(count, 30);
    EXPECT_EQ(OpenFiles(), before);
  }
}

TEST_F(ExporterTest, EachStepHasItsOwnCode) {
  struct Row {
    const char* call;
    int nth;
    int error;
    const char* code;
  };
  const Row table[] = {
      {"Getsockopt", 1, EBADF, ""},  // An O_PATH fd would say so: fstat decides.
      {"Fstat", 1, EBADF, "E_FD"},
      {"Pwrite", 1, ENOSPC, "E_MEMORY"},
      {"Pwrite", 2, ENOMEM, "E_MEMORY"},
      {"Sendmsg", 1, EAGAIN, "E_FDPUSH"},
      {"Sendmsg", 2, ETOOMANYREFS, "E_FDPUSH"},
  };
  for (const Row& row : table) {
    FaultySyscalls syscalls;
    syscalls.Fail(row.call, row.nth, row.error);
    auto channel = FillChannel(syscalls, note_, components_);
    EXPECT_TRUE(syscalls.failed()) << row.call;
    EXPECT_EQ(CodeOf(channel.status()), row.code) << row.call << ": " << channel.status();
  }
}

TEST_F(ExporterTest, FillsBatchesOf252InTheOrderOfTheTable) {
  for (uint64_t i = 0; i < 600; ++i) {
    one_.fds[{"client", i}] = UniqueFd(fcntl(two_.fds[{"listener", 0}].get(), F_DUPFD_CLOEXEC, 0));
  }
  auto channel = FillChannel(Kernel(), note_, components_);
  ASSERT_TRUE(channel.ok()) << channel.status();
  std::vector<size_t> sizes;
  for (const auto& batch : PeekAllBatches(*channel)) sizes.push_back(batch.size());
  // Bootstrap; the image of "one" and its 600 fds, and the one of "two".
  EXPECT_EQ(sizes, (std::vector<size_t>{3, 252, 252, 98}));
}

}  // namespace
}  // namespace liveexec
