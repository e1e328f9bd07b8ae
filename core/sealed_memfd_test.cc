#include "core/sealed_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "core/testing/open_files.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

absl::Span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string Text(absl::Span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

MemfdWriter NewWriter(Syscalls& syscalls = Syscalls::Kernel()) {
  auto writer = MemfdWriter::Create(syscalls, "liveexec-test");
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

UniqueFd SealedWith(std::string_view text) {
  MemfdWriter writer = NewWriter();
  EXPECT_TRUE(writer.Append(Bytes(text)).ok());
  auto fd = std::move(writer).Seal();
  EXPECT_TRUE(fd.ok()) << fd.status();
  return *std::move(fd);
}

TEST(MemfdWriter, WhatWasWrittenIsReadAfterTheFdIsClosed) {
  MemfdWriter writer = NewWriter();
  ASSERT_TRUE(writer.Append(Bytes("......")).ok());
  ASSERT_TRUE(writer.Append(Bytes(" world")).ok());
  EXPECT_EQ(writer.size(), 12u);
  ASSERT_TRUE(writer.WriteAt(0, Bytes("hello,")).ok());
  EXPECT_EQ(writer.size(), 12u);
  auto fd = std::move(writer).Seal();
  ASSERT_TRUE(fd.ok());
  auto mapping = SealedMapping::Open(Syscalls::Kernel(), fd->get());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  fd->reset();
  EXPECT_EQ(Text(mapping->bytes()), "hello, world");
}

TEST(MemfdWriter, AnEmptyFileCanBeSealedAndMapped) {
  UniqueFd fd = SealedWith("");
  auto mapping = SealedMapping::Open(Syscalls::Kernel(), fd.get());
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(mapping->bytes().empty());
}

TEST(MemfdWriter, NobodyCanChangeASealedFile) {
  UniqueFd fd = SealedWith("content");
  EXPECT_EQ(pwrite(fd.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(fd.get(), 3), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ftruncate(fd.get(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(mmap(nullptr, 7, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1) << "the seals are sealed too";
  // Nor through another door to the same file.
  std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  UniqueFd again(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (again) {
    EXPECT_EQ(pwrite(again.get(), "x", 1, 0), -1);
  }
}

TEST(MemfdWriter, TheFdIsCloseOnExecAndNotExecutable) {
  UniqueFd fd = SealedWith("content");
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  struct stat file;
  ASSERT_EQ(fstat(fd.get(), &file), 0);
  // Linux 6.3 and later.
  int probe = memfd_create("probe", MFD_CLOEXEC | 0x0008U);
  if (probe >= 0) {
    close(probe);
    EXPECT_EQ(file.st_mode & 0111, 0u);
  }
}

TEST(MemfdWriter, IsMadeOnKernelsThatDoNotKnowNoexecSeal) {
  FaultySyscalls syscalls;
  syscalls.Fail("MemfdCreate", 1, EINVAL);
  MemfdWriter writer = NewWriter(syscalls);
  EXPECT_TRUE(writer.Append(Bytes("x")).ok());
  EXPECT_EQ(syscalls.count("MemfdCreate"), 2);
}

TEST(MemfdWriter, SealingIsRefusedWhileSomebodyHoldsAWritableMapping) {
  MemfdWriter writer = NewWriter();
  ASSERT_TRUE(writer.Append(Bytes("content")).ok());
  // Found through /proc, as another part of the program could.
  int fd = -1;
  for (const auto& [number, target] : OpenFiles()) {
    if (target.find("liveexec-test") != std::string::npos) fd = number;
  }
  ASSERT_GE(fd, 0);
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto sealed = std::move(writer).Seal();
  munmap(page, 4096);
  ASSERT_FALSE(sealed.ok());
  EXPECT_EQ(ErrnoOf(sealed.status()), EBUSY);
}

// Writes at most 3 bytes a call, as a kernel that is short of memory may.
class ShortWrites : public Syscalls {
  int64_t Pwrite(int fd, const void* data, size_t size, int64_t offset) override {
    return Syscalls::Pwrite(fd, data, std::min<size_t>(size, 3), offset);
  }
};

TEST(MemfdWriter, ShortWritesAreContinued) {
  ShortWrites syscalls;
  MemfdWriter writer = NewWriter(syscalls);
  ASSERT_TRUE(writer.Append(Bytes("ten bytes!")).ok());
  auto fd = std::move(writer).Seal();
  ASSERT_TRUE(fd.ok());
  auto mapping = SealedMapping::Open(Syscalls::Kernel(), fd->get());
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(Text(mapping->bytes()), "ten bytes!");
}

TEST(MemfdWriter, EveryFailingCallIsAnErrorWithItsErrnoAndLeaksNothing) {
  auto before = OpenFiles();
  int count = ForEachCall(ENOSPC, Times::kOnce, [](FaultySyscalls& syscalls) {
    absl::Status status = [&]() -> absl::Status {
      LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter writer, MemfdWriter::Create(syscalls, "x"));
      LIVEEXEC_RETURN_IF_ERROR(writer.Append(Bytes("content")));
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, std::move(writer).Seal());
      return SealedMapping::Open(syscalls, fd.get()).status();
    }();
    EXPECT_EQ(status.ok(), !syscalls.failed()) << syscalls.calls().back();
    if (!status.ok()) {
      EXPECT_EQ(ErrnoOf(status), ENOSPC) << status;
    }
  });
  EXPECT_EQ(count, 6);  // create, write, seal; look at the seals, the size, map
  EXPECT_EQ(OpenFiles(), before);
}

TEST(MemfdWriter, AFileSizeLimitIsAnErrorWhenItsSignalIsBlocked) {
  EXPECT_EQ(InChild([]() -> std::string {
              sigset_t set;
              sigemptyset(&set);
              sigaddset(&set, SIGXFSZ);
              sigprocmask(SIG_BLOCK, &set, nullptr);
              struct rlimit limit = {4096, 4096};
              if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return "setrlimit";
              MemfdWriter writer = NewWriter();
              std::string big(100'000, 'x');
              absl::Status status = writer.Append(Bytes(big));
              if (ErrnoOf(status) != EFBIG) return std::string(status.ToString());
              return "";
            }),
            "");
}

TEST(SealedMapping, RefusesAFileThatLacksAnyOfTheSeals) {
  const int all[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE};
  for (int missing : all) {
    UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(write(fd.get(), "content", 7), 7);
    int seals = 0;
    for (int seal : all) seals |= seal == missing ? 0 : seal;
    ASSERT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    auto mapping = SealedMapping::Open(Syscalls::Kernel(), fd.get());
    EXPECT_EQ(mapping.status().code(), absl::StatusCode::kFailedPrecondition)
        << "without seal " << missing << ": " << mapping.status();
  }
}

TEST(SealedMapping, RefusesWhatCannotBeSealed) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  UniqueFd unsealable(memfd_create("test", MFD_CLOEXEC));
  UniqueFd directory(open("/", O_RDONLY | O_CLOEXEC));
  for (int fd : {reader.get(), directory.get(), unsealable.get(), -1}) {
    EXPECT_FALSE(SealedMapping::Open(Syscalls::Kernel(), fd).ok());
  }
}

TEST(SealedMapping, MovesItsMapping) {
  UniqueFd fd = SealedWith("one");
  UniqueFd other = SealedWith("two");
  auto first = SealedMapping::Open(Syscalls::Kernel(), fd.get());
  auto second = SealedMapping::Open(Syscalls::Kernel(), other.get());
  ASSERT_TRUE(first.ok() && second.ok());
  SealedMapping moved(*std::move(first));
  EXPECT_EQ(Text(moved.bytes()), "one");
  moved = *std::move(second);
  EXPECT_EQ(Text(moved.bytes()), "two");
  SealedMapping& same = moved;
  moved = std::move(same);
  EXPECT_EQ(Text(moved.bytes()), "two");
}

}  // namespace
}  // namespace liveexec
