#include "handoff/uv/slices.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "handoff/uv/testing/test_loop.h"

namespace liveexec::uv {
namespace {

class SlicesTest : public ::testing::Test {
 protected:
  testing::TestLoop loop_;
  Slices slices_{loop_.executor()};
};

TEST_F(SlicesTest, WorkIsDoneBitByBitUntilThereIsNoMore) {
  int done = 0;
  slices_.Start([&](int64_t end_ns) {
    EXPECT_GT(end_ns, static_cast<int64_t>(uv_hrtime()) - Slices::kSliceNs);
    return ++done < 5;
  });
  EXPECT_TRUE(slices_.running());
  loop_.RunUntil([&] { return !slices_.running(); });
  EXPECT_EQ(done, 5);
}

TEST_F(SlicesTest, OtherEventsComeBetween) {
  std::vector<char> order;
  slices_.Start([&](int64_t) {
    order.push_back('s');
    loop_.executor().Post([&] { order.push_back('e'); });
    return order.size() < 6;
  });
  loop_.RunUntil([&] { return order.size() >= 6; });
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(order[i], i % 2 == 0 ? 's' : 'e') << i;
}

TEST_F(SlicesTest, StoppedWorkIsNotCalledAgain) {
  int done = 0;
  slices_.Start([&](int64_t) {
    ++done;
    slices_.Stop();
    return true;
  });
  loop_.RunUntil([&] { return done > 0; });
  int ticks = 0;
  loop_.RunUntil([&] { return ++ticks > 5; });
  EXPECT_EQ(done, 1);
  EXPECT_FALSE(slices_.running());
}

TEST_F(SlicesTest, WorkMayStartOtherWork) {
  bool other = false;
  slices_.Start([&](int64_t) {
    slices_.Start([&](int64_t) {
      other = true;
      return false;
    });
    return false;
  });
  loop_.RunUntil([&] { return other; });
}

}  // namespace
}  // namespace liveexec::uv
