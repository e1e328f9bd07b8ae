#include "handoff/guarded_call.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <new>
#include <stdexcept>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/testing/test_image.capnp.h"

namespace liveexec {
namespace {

using ::testing::HasSubstr;
using testing_image::TestImage;

void ExpectException(const absl::Status& status, const std::string& text) {
  EXPECT_EQ(CodeOf(status), "E_EXCEPTION");
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(GuardedCall, ReturnsWhatTheCallReturns) {
  EXPECT_TRUE(GuardedCall("work", [] { return absl::OkStatus(); }).ok());
  absl::Status status = GuardedCall(
      "work", [] { return CodedError("E_NOENT", absl::StatusCode::kNotFound, "no file"); });
  EXPECT_EQ(std::string(status.message()), "work: no file");
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(CodeOf(status), "E_NOENT");
}

TEST(GuardedCall, AMalformedMessageBecomesAnError) {
  // A root that points to where nothing is.
  const uint64_t pointer = (uint64_t{1000} << 2) | (uint64_t{1} << 32);
  const auto* words = reinterpret_cast<const capnp::word*>(&pointer);
  kj::ArrayPtr<const capnp::word> segments[] = {kj::arrayPtr(words, 1)};
  absl::Status status = GuardedCall("read the image", [&] {
    capnp::SegmentArrayMessageReader reader(kj::arrayPtr(segments, 1));
    return reader.getRoot<TestImage>().getValue() == 0 ? absl::OkStatus() : absl::OkStatus();
  });
  ExpectException(status, "read the image");
  ExpectException(status, "out-of-bounds");
}

TEST(GuardedCall, AStandardExceptionBecomesAnErrorWithItsText) {
  absl::Status status =
      GuardedCall("work", []() -> absl::Status { throw std::runtime_error("boom"); });
  ExpectException(status, "boom");
  ExpectException(status, "work");
}

TEST(GuardedCall, WantOfMemoryHasACodeOfItsOwn) {
  absl::Status status = GuardedCall("export", []() -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(CodeOf(status), "E_MEMORY");
  EXPECT_THAT(std::string(status.message()), HasSubstr("export"));
  // As Cap'n Proto says it.
  status = GuardedCall("export", []() -> absl::Status {
    throw kj::Exception(kj::Exception::Type::OVERLOADED, __FILE__, __LINE__,
                        kj::str("calloc: Cannot allocate memory"));
  });
  EXPECT_EQ(CodeOf(status), "E_MEMORY");
}

TEST(GuardedCall, AnythingElseThatIsThrownBecomesAnErrorToo) {
  ExpectException(GuardedCall("work", []() -> absl::Status { throw 7; }), "work");
}

}  // namespace
}  // namespace liveexec
