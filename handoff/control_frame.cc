#include "handoff/control_frame.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <limits.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/capnp_text.h"
#include "handoff/control.capnp.h"
#include "handoff/control_status_image.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/journal_image.h"

namespace liveexec {
namespace {

constexpr size_t kPrefix = 4;
constexpr size_t kMaxSentence = 8192;
constexpr size_t kMaxReport = size_t{1} << 20;

absl::Status Malformed(std::string_view what) {
  return CodedError("E_PROTO", absl::StatusCode::kInvalidArgument,
                    absl::StrCat("malformed control frame: ", std::string(what)));
}

std::string Cut(const std::string& text, size_t size) { return text.substr(0, size); }

std::string WithPrefix(std::string_view bytes) {
  const uint32_t size = static_cast<uint32_t>(bytes.size());
  std::string frame;
  frame.reserve(kPrefix + bytes.size());
  for (int shift = 0; shift < 32; shift += 8) frame += static_cast<char>(size >> shift & 0xff);
  frame.append(bytes);
  return frame;
}

std::string Frame(capnp::MessageBuilder& message) {
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  return WithPrefix({words.asChars().begin(), words.asChars().size()});
}

// Runs `decode` on the message in `frame`. The only door through which received bytes reach Cap'n
// Proto here.
absl::Status WithMessage(std::string_view frame,
                         absl::FunctionRef<absl::Status(capnp::MessageReader&)> decode) {
  if (frame.size() % sizeof(capnp::word) != 0) return Malformed("not a whole number of words");
  // Cap'n Proto wants alignment, which the stream does not give.
  auto words = kj::heapArray<capnp::word>(frame.size() / sizeof(capnp::word));
  if (!frame.empty()) std::memcpy(words.begin(), frame.data(), frame.size());
  capnp::ReaderOptions options;
  // Each word is read once, or twice where a list is counted first: more is a message that repeats
  // itself.
  options.traversalLimitInWords = 2 * words.size() + 64;
  options.nestingLimit = 8;
  absl::Status status = GuardedCall("control frame", [&] {
    capnp::FlatArrayMessageReader message(words, options);
    return decode(message);
  });
  if (status.ok() || CodeOf(status) == "E_PROTO") return status;
  return Malformed(std::string_view(status.message().data(), status.message().size()));
}

void Write(const ControlStatusRequest&, control::Request::Builder image) { image.setStatus(); }
void Write(const ControlHistoryRequest& request, control::Request::Builder image) {
  image.initHistory().setLimit(request.limit);
}
void Write(const ControlUpgrade& request, control::Request::Builder image) {
  auto upgrade = image.initUpgrade();
  upgrade.setBinary(AsText(request.binary));
  upgrade.setMaxBlackoutNs(absl::ToInt64Nanoseconds(request.max_blackout));
  upgrade.setAllowDowngrade(request.allow_downgrade);
  upgrade.setSha256(AsText(request.sha256));
  upgrade.setToPrevious(request.to_previous);
}
void Write(const ControlCancel&, control::Request::Builder image) { image.setCancel(); }
void Write(const ControlRollback&, control::Request::Builder image) { image.setRollback(); }
void Write(const ControlDoctor&, control::Request::Builder image) { image.setDoctor(); }

void Write(const ControlError& error, control::Response::Builder image) {
  auto builder = image.initError();
  builder.setCode(AsText(error.code));
  builder.setMessage(AsText(Cut(error.message, kMaxSentence)));
}
void Write(const ControlProgress& progress, control::Response::Builder image) {
  auto builder = image.initProgress();
  builder.setPhase(AsText(Cut(progress.phase, kMaxSentence)));
  builder.setState(static_cast<control::Progress::State>(progress.state));
  builder.setDurationNs(progress.duration_ns);
  builder.setDetail(AsText(Cut(progress.detail, kMaxSentence)));
}
void Write(const JournalEntry& entry, control::Response::Builder image) {
  ToImage(entry, image.initResult());
}
void Write(const ControlStatus& status, control::Response::Builder image) {
  ToImage(status, image.initStatus());
}
void Write(const std::vector<JournalEntry>& entries, control::Response::Builder image) {
  auto list = image.initHistory(static_cast<unsigned>(entries.size()));
  for (unsigned i = 0; i < entries.size(); ++i) ToImage(entries[i], list[i]);
}
void Write(const ControlDone&, control::Response::Builder image) { image.setDone(); }
void Write(const ControlDoctorReport& report, control::Response::Builder image) {
  image.setDoctor(AsText(Cut(report.text, kMaxReport)));
}

absl::StatusOr<ControlUpgrade> Read(control::UpgradeRequest::Reader image) {
  const std::string binary = AsString(image.getBinary());
  if (binary.size() >= PATH_MAX || binary.find('\0') != std::string::npos) {
    return Malformed("the program's path is too long, or has a NUL in it");
  }
  if (image.getMaxBlackoutNs() < 0) return Malformed("the blackout is negative");
  return ControlUpgrade{binary, absl::Nanoseconds(image.getMaxBlackoutNs()),
                        image.getAllowDowngrade(), AsString(image.getSha256()),
                        image.getToPrevious()};
}

absl::Status Read(control::Request::Reader image, ControlRequest& request) {
  request.id = image.getId();
  switch (image.which()) {
    case control::Request::STATUS:
      request.body = ControlStatusRequest{};
      return absl::OkStatus();
    case control::Request::HISTORY:
      request.body = ControlHistoryRequest{image.getHistory().getLimit()};
      return absl::OkStatus();
    case control::Request::UPGRADE: {
      LIVEEXEC_ASSIGN_OR_RETURN(request.body, Read(image.getUpgrade()));
      return absl::OkStatus();
    }
    case control::Request::CANCEL:
      request.body = ControlCancel{};
      return absl::OkStatus();
    case control::Request::ROLLBACK:
      request.body = ControlRollback{};
      return absl::OkStatus();
    case control::Request::DOCTOR:
      request.body = ControlDoctor{};
      return absl::OkStatus();
  }
  return Malformed("a request of a kind that this release does not know");
}

absl::StatusOr<ControlProgress> Read(control::Progress::Reader image) {
  const auto state = static_cast<ControlProgress::State>(image.getState());
  if (state != ControlProgress::State::kStarted && state != ControlProgress::State::kFinished) {
    return Malformed("progress of an unknown state");
  }
  return ControlProgress{AsString(image.getPhase()), state, image.getDurationNs(),
                         AsString(image.getDetail())};
}

absl::StatusOr<std::vector<JournalEntry>> Read(capnp::List<JournalEntryImage>::Reader image) {
  std::vector<JournalEntry> entries;
  for (JournalEntryImage::Reader entry_image : image) {
    LIVEEXEC_ASSIGN_OR_RETURN(JournalEntry entry, FromImage(entry_image));
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::Status Read(control::Response::Reader image, ControlResponse& response) {
  response.id = image.getId();
  switch (image.which()) {
    case control::Response::ERROR:
      response.body = ControlError{AsString(image.getError().getCode()),
                                   AsString(image.getError().getMessage())};
      return absl::OkStatus();
    case control::Response::PROGRESS: {
      LIVEEXEC_ASSIGN_OR_RETURN(response.body, Read(image.getProgress()));
      return absl::OkStatus();
    }
    case control::Response::RESULT: {
      LIVEEXEC_ASSIGN_OR_RETURN(response.body, FromImage(image.getResult()));
      return absl::OkStatus();
    }
    case control::Response::STATUS: {
      LIVEEXEC_ASSIGN_OR_RETURN(response.body, FromImage(image.getStatus()));
      return absl::OkStatus();
    }
    case control::Response::HISTORY: {
      LIVEEXEC_ASSIGN_OR_RETURN(response.body, Read(image.getHistory()));
      return absl::OkStatus();
    }
    case control::Response::DONE:
      response.body = ControlDone{};
      return absl::OkStatus();
    case control::Response::DOCTOR:
      response.body = ControlDoctorReport{AsString(image.getDoctor())};
      return absl::OkStatus();
  }
  return Malformed("a response of a kind that this release does not know");
}

}  // namespace

std::string EncodeFrame(const ControlRequest& request) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<control::Request>();
  image.setId(request.id);
  std::visit([&](const auto& body) { Write(body, image); }, request.body);
  return Frame(message);
}

std::string EncodeFrame(const ControlResponse& response) {
  capnp::MallocMessageBuilder message;
  auto image = message.initRoot<control::Response>();
  image.setId(response.id);
  std::visit([&](const auto& body) { Write(body, image); }, response.body);
  std::string frame = Frame(message);
  const auto* history = std::get_if<std::vector<JournalEntry>>(&response.body);
  if (history == nullptr || history->size() < 2 || frame.size() <= kPrefix + kMaxResponseFrame) {
    return frame;
  }
  // Halves until it fits: a single entry does by far.
  auto middle = history->begin() + static_cast<int64_t>(history->size() + 1) / 2;
  return EncodeFrame(
      ControlResponse{response.id, std::vector<JournalEntry>(middle, history->end())});
}

absl::StatusOr<ControlRequest> DecodeRequest(std::string_view frame) {
  ControlRequest request;
  LIVEEXEC_RETURN_IF_ERROR(WithMessage(frame, [&](capnp::MessageReader& message) {
    return Read(message.getRoot<control::Request>(), request);
  }));
  return request;
}

absl::StatusOr<ControlResponse> DecodeResponse(std::string_view frame) {
  ControlResponse response;
  LIVEEXEC_RETURN_IF_ERROR(WithMessage(frame, [&](capnp::MessageReader& message) {
    return Read(message.getRoot<control::Response>(), response);
  }));
  return response;
}

absl::StatusOr<std::optional<std::string>> FrameBuffer::Next() {
  if (bytes_.size() < kPrefix) return std::nullopt;
  uint32_t size = 0;
  for (size_t i = 0; i < kPrefix; ++i) {
    size |= uint32_t{static_cast<unsigned char>(bytes_[i])} << (8 * i);
  }
  if (size == 0 || size > max_frame_) {
    return Malformed(
        absl::StrCat("a length of ", size, " bytes, where 1 to ", max_frame_, " are allowed"));
  }
  if (bytes_.size() - kPrefix < size) return std::nullopt;
  std::string frame = bytes_.substr(kPrefix, size);
  bytes_.erase(0, kPrefix + size);
  return frame;
}

void FrameBuffer::PutBack(std::string_view frame) { bytes_.insert(0, WithPrefix(frame)); }

}  // namespace liveexec
