#include "handoff/uv/fd_reserve.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "core/unique_fd.h"
#include "handoff/uv/testing/fd_limit.h"

namespace liveexec::uv {
namespace {

using testing::FdLimit;

TEST(FdReserve, CountsWhatTheLimitLeaves) {
  FdLimit limit;
  limit.Leave(300);
  EXPECT_EQ(FdReserve::CountFree(1000), 300u);
  EXPECT_EQ(FdReserve::CountFree(7), 7u);
  UniqueFd one(dup(0)), other(dup(0));
  EXPECT_EQ(FdReserve::CountFree(1000), 298u);
  one.reset();  // not the highest
  EXPECT_EQ(FdReserve::CountFree(1000), 299u);
  other.reset();
  limit.Leave(0);
  EXPECT_EQ(FdReserve::CountFree(1000), 0u);
}

TEST(FdReserve, LimitsNobodyWhileNothingIsAside) {
  FdReserve reserve;
  FdLimit limit;
  limit.Leave(0);
  // accept() itself tells.
  EXPECT_TRUE(reserve.MayAccept());
}

TEST(FdReserve, LeavesAsManyAsAreHeldAndSomeMore) {
  FdReserve reserve;
  FdLimit limit;
  limit.Leave(300);
  reserve.Hold(32);
  reserve.PutAside(100);
  std::vector<UniqueFd> accepted;
  while (reserve.MayAccept()) {
    accepted.emplace_back(dup(0));
    ASSERT_TRUE(accepted.back());
    reserve.Accepted();
  }
  EXPECT_FALSE(accepted.empty());
  EXPECT_LT(accepted.size(), 300u - 132u);
  // One goes, one comes.
  accepted.pop_back();
  reserve.Closed();
  EXPECT_TRUE(reserve.MayAccept());
  accepted.emplace_back(dup(0));
  reserve.Accepted();
  EXPECT_FALSE(reserve.MayAccept());
  reserve.PutAside(-100);
  reserve.Hold(-32);
  EXPECT_TRUE(reserve.MayAccept());
}

TEST(FdReserve, LetsNobodyInWhileALoopLacksFds) {
  FdReserve reserve;
  reserve.Hold(32);
  EXPECT_TRUE(reserve.MayAccept());
  reserve.BeginLacking();
  EXPECT_FALSE(reserve.MayAccept());
  reserve.EndLacking();
  EXPECT_TRUE(reserve.MayAccept());
}

}  // namespace
}  // namespace liveexec::uv
