// The control socket. The first byte says how the stream of bytes is cut into packets; the rest is
// the stream, whose frames are read as requests and as responses. What can be read is encoded and
// read again, and is then the same.
#include "handoff/control_frame.h"

#include <algorithm>

#include "handoff/error_code.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

constexpr size_t kPrefix = 4;

template <typename Message, typename Decode>
void CheckMessage(std::string_view frame, Decode decode) {
  const absl::StatusOr<Message> message = decode(frame);
  if (!message.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(message.status()));
    FUZZ_CHECK(CodeOf(message.status()) == "E_PROTO");
    return;
  }
  const std::string once = EncodeFrame(*message);
  const absl::StatusOr<Message> again = decode(std::string_view(once).substr(kPrefix));
  FUZZ_CHECK_OK(again.status());
  FUZZ_CHECK(again->id == message->id);
  FUZZ_CHECK(EncodeFrame(*again) == once);
}

void CheckFrame(std::string_view frame) {
  CheckMessage<ControlRequest>(frame, DecodeRequest);
  CheckMessage<ControlResponse>(frame, DecodeResponse);
}

void CheckStream(std::string_view stream, size_t packet, size_t limit) {
  FrameBuffer buffer(limit);
  size_t framed = 0;
  while (!stream.empty()) {
    const size_t size = std::min(packet, stream.size());
    buffer.Append(stream.substr(0, size));
    stream.remove_prefix(size);
    framed += size;
    while (true) {
      auto frame = buffer.Next();
      if (!frame.ok()) {
        FUZZ_CHECK(CodeOf(frame.status()) == "E_PROTO");
        return;
      }
      if (!frame->has_value()) break;
      FUZZ_CHECK(!(*frame)->empty() && (*frame)->size() <= limit);
      framed -= kPrefix + (*frame)->size();
      FUZZ_CHECK(buffer.bytes().size() == framed);
      CheckFrame(**frame);
    }
  }
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveexec::fuzz::Input input(data, size);
  const size_t packet = size_t{input.Byte()} + 1;
  liveexec::fuzz::CheckStream(input.Rest(), packet, liveexec::kMaxRequestFrame);
  // The same without a prefix, which the fuzzer would have to keep right.
  liveexec::fuzz::CheckFrame(input.Rest());
  return 0;
}
