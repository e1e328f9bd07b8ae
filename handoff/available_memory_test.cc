#include "handoff/available_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "tests/harness/temp_dir.h"

namespace liveexec {
namespace {

// A hierarchy of cgroups as the kernel shows it.
class AvailableMemoryTest : public testing::Test {
 protected:
  void Group(const std::string& path, std::string_view max, std::string_view current,
             std::string_view stat) {
    const std::string directory = root_.path() + path;
    std::filesystem::create_directories(directory);
    std::ofstream(directory + "/memory.max") << max << "\n";
    std::ofstream(directory + "/memory.current") << current << "\n";
    std::ofstream(directory + "/memory.stat") << stat;
  }
  std::optional<uint64_t> Available(const std::string& path) {
    return AvailableInCgroup(root_.path(), path);
  }
  harness::TempDir root_;
};

TEST_F(AvailableMemoryTest, IsWhatTheLimitLeaves) {
  Group("/a", "1000", "300", "anon 300\nfile 0\n");
  EXPECT_EQ(Available("/a"), 700u);
}

// A server that reads and logs fills its cgroup with file pages, up to the limit.
TEST_F(AvailableMemoryTest, CountsWhatTheKernelWouldTakeBack) {
  Group("/a", "1000", "990", "anon 200\ninactive_file 600\nactive_file 90\nslab_reclaimable 50\n");
  EXPECT_EQ(Available("/a"), 660u);
}

TEST_F(AvailableMemoryTest, IsBoundedByEveryGroupAbove) {
  Group("/a", "1000", "900", "");
  Group("/a/b", "max", "100", "");
  Group("/a/b/c", "500", "100", "");
  EXPECT_EQ(Available("/a/b/c"), 100u);
}

TEST_F(AvailableMemoryTest, IsNothingWhereThereIsNoLimit) {
  Group("/a", "max", "100", "");
  EXPECT_EQ(Available("/a"), std::nullopt);
  EXPECT_EQ(Available("/"), std::nullopt);
  EXPECT_EQ(Available("/gone"), std::nullopt);
}

TEST(AvailableAddressSpace, IsWhatTheLimitLeaves) {
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  EXPECT_EQ(AvailableAddressSpace().has_value(), before.rlim_cur != RLIM_INFINITY);
  constexpr uint64_t kLimit = uint64_t{1} << 44;
  const struct rlimit limited = {kLimit, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limited), 0);
  const auto left = AvailableAddressSpace();
  const struct rlimit none = {1, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &none), 0);
  const auto nothing = AvailableAddressSpace();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  ASSERT_TRUE(left.has_value());
  EXPECT_LT(*left, kLimit);
  EXPECT_EQ(nothing, 0u);
}

TEST_F(AvailableMemoryTest, IsZeroBeyondTheLimit) {
  Group("/a", "1000", "1200", "inactive_file 100\n");
  EXPECT_EQ(Available("/a"), 0u);
}

}  // namespace
}  // namespace liveexec
