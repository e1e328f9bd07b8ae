#include "handoff/error_code.h"

#include "gtest/gtest.h"

namespace liveexec {
namespace {

TEST(ErrorCode, TheCodeNearestToTheCauseWins) {
  absl::Status status = CodedError("E_NOENT", absl::StatusCode::kNotFound, "no such file");
  EXPECT_EQ(CodeOf(status), "E_NOENT");
  EXPECT_EQ(CodeOf(WithCode(status, "E_CHECK")), "E_NOENT");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(std::string(status.message()), "no such file");
}

TEST(ErrorCode, AnErrorWithoutOneGetsOneAndKeepsTheRest) {
  absl::Status plain = absl::DataLossError("lost");
  EXPECT_EQ(CodeOf(plain), "E_INTERNAL");
  absl::Status coded = WithCode(plain, "E_SEAL");
  EXPECT_EQ(CodeOf(coded), "E_SEAL");
  EXPECT_TRUE(absl::IsDataLoss(coded));
  EXPECT_EQ(std::string(coded.message()), "lost");
}

TEST(ErrorCode, SuccessHasNone) {
  EXPECT_EQ(CodeOf(absl::OkStatus()), "");
  EXPECT_TRUE(WithCode(absl::OkStatus(), "E_SEAL").ok());
}

}  // namespace
}  // namespace liveexec
