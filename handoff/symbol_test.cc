#include "handoff/symbol.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/unique_fd.h"

extern "C" const char __executable_start;

namespace liveexec {
namespace {

__attribute__((noinline)) int FunctionOfTheTest(int value) {
  volatile int result = value + 1;
  return result;
}

uint64_t AddressOf(int (*function)(int)) {
  return reinterpret_cast<uint64_t>(function) - reinterpret_cast<uint64_t>(&__executable_start);
}

TEST(FunctionAtTest, NamesAFunctionOfThisProgramDemangled) {
  const UniqueFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(FunctionOfTheTest(1), 2);
  EXPECT_NE(FunctionAt(self.get(), AddressOf(FunctionOfTheTest)).find("FunctionOfTheTest(int)"),
            std::string::npos);
  // Within it, too.
  EXPECT_NE(FunctionAt(self.get(), AddressOf(FunctionOfTheTest) + 1).find("FunctionOfTheTest"),
            std::string::npos);
}

TEST(FunctionAtTest, SaysNothingWhereThereIsNoFunction) {
  const UniqueFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(FunctionAt(self.get(), 0), "");
  EXPECT_EQ(FunctionAt(self.get(), ~uint64_t{0}), "");
}

// Whatever the file has become: every byte of its header and of its table of sections.
TEST(FunctionAtTest, BelievesNothingThatAFileSays) {
  std::string program;
  {
    const UniqueFd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    char buffer[4096];
    for (ssize_t count; (count = read(self.get(), buffer, sizeof(buffer))) > 0;) {
      program.append(buffer, static_cast<size_t>(count));
    }
  }
  const UniqueFd file(memfd_create("program", MFD_CLOEXEC));
  const auto ask_with = [&](size_t at, char byte) {
    const char before = program[at];
    ASSERT_EQ(pwrite(file.get(), &byte, 1, static_cast<off_t>(at)), 1);
    FunctionAt(file.get(), AddressOf(FunctionOfTheTest));
    ASSERT_EQ(pwrite(file.get(), &before, 1, static_cast<off_t>(at)), 1);
  };
  ASSERT_EQ(pwrite(file.get(), program.data(), program.size(), 0),
            static_cast<ssize_t>(program.size()));
  for (size_t at = 0; at < 64; ++at) {
    ask_with(at, '\x00');
    ask_with(at, '\xff');
  }
  for (size_t at = program.size() - 256; at < program.size(); ++at) ask_with(at, '\xff');
  ASSERT_EQ(ftruncate(file.get(), 100), 0);
  EXPECT_EQ(FunctionAt(file.get(), AddressOf(FunctionOfTheTest)), "");
  EXPECT_EQ(FunctionAt(-1, 1), "");
}

}  // namespace
}  // namespace liveexec
