#include "core/error.h"

#include <errno.h>

#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

using ::testing::HasSubstr;

TEST(ErrnoError, SaysWhatFailedAndWhyAndKeepsTheErrno) {
  absl::Status status = ErrnoError(ENOSPC, "write the image");
  EXPECT_EQ(std::string(status.message()), "write the image: No space left on device");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
}

TEST(ErrnoOf, IsNothingForOtherStatuses) {
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(ErrnoOf(absl::InternalError("x")), std::nullopt);
}

TEST(Annotate, PrefixesTheMessageAndKeepsCodeAndErrno) {
  absl::Status status = Annotate(ErrnoError(ENOENT, "open a"), "start b");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_EQ(std::string(status.message()).rfind("start b: open a: ", 0), 0u) << status;
  EXPECT_TRUE(Annotate(absl::OkStatus(), "anything").ok());
}

absl::StatusOr<int> Fails() { return absl::DataLossError("lost"); }
absl::StatusOr<int> Seven() { return 7; }

absl::Status Sum(int& sum, bool fail) {
  LIVEEXEC_ASSIGN_OR_RETURN(int first, Seven());
  sum += first;
  if (fail) {
    LIVEEXEC_ASSIGN_OR_RETURN(int second, Fails());
    sum += second;
  }
  LIVEEXEC_RETURN_IF_ERROR(absl::OkStatus());
  sum += 1;
  return absl::OkStatus();
}

TEST(Macros, ReturnTheFirstErrorAndGoOnOtherwise) {
  int sum = 0;
  EXPECT_TRUE(Sum(sum, false).ok());
  EXPECT_EQ(sum, 8);
  sum = 0;
  EXPECT_THAT(std::string(Sum(sum, true).message()), HasSubstr("lost"));
  EXPECT_EQ(sum, 7);
}

}  // namespace
}  // namespace liveexec
