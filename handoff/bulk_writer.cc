#include "handoff/bulk_writer.h"

#include <string.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/available_memory.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

constexpr uint64_t kLeastChunk = 8 << 20;
constexpr uint64_t kMostChunk = 256 << 20;
// So many chunks of one size, then of twice that.
constexpr size_t kOfOneSize = 64;
// An index of that many records is written in a fraction of a millisecond.
constexpr uint64_t kBytesPerRecord = 256;
constexpr uint64_t kSpareMemory = 32 << 20;

absl::Status Failed(const absl::Status& status) {
  return WithCode(Annotate(status, "copy records ahead of the blackout"), "E_MEMORY");
}

}  // namespace

BulkWriter::BulkWriter(std::string name, Syscalls& syscalls)
    : syscalls_(syscalls), name_(std::move(name)) {
  memset(static_cast<void*>(scratch_.data()), 0, sizeof(scratch_));
}

uint64_t BulkWriter::ChunkBytes() const {
  uint64_t bytes = kLeastChunk;
  for (size_t i = kOfOneSize; i < begun_ && bytes < kMostChunk; i += kOfOneSize) bytes *= 2;
  return bytes;
}

absl::Status BulkWriter::Begin() {
  ++begun_;
  const std::optional<uint64_t> available = AvailableMemory();
  if (available.has_value() && *available < ChunkBytes() + kSpareMemory) {
    return CodedError("E_NOMEM", absl::StatusCode::kResourceExhausted,
                      absl::StrCat("a copy of the state ahead of the blackout needs more than the ",
                                   *available >> 20, " MiB that are available: free some memory"));
  }
  auto chunk = BulkChunkWriter::Create(syscalls_, name_.c_str());
  if (!chunk.ok()) return Failed(chunk.status());
  current_ = *std::move(chunk);
  return absl::OkStatus();
}

absl::Status BulkWriter::Add(uint64_t hash, bool marked, unsigned kind,
                             absl::FunctionRef<void(capnp::AnyPointer::Builder)> write) {
  for (bool more = finishing_ != nullptr; more;) {
    LIVEEXEC_ASSIGN_OR_RETURN(more, Step());
  }
  if (current_ == nullptr) LIVEEXEC_RETURN_IF_ERROR(Begin());
  {
    capnp::MallocMessageBuilder message(kj::arrayPtr(scratch_.data(), scratch_.size()));
    absl::Status status = GuardedCall("record", [&] {
      write(message.initRoot<capnp::AnyPointer>());
      return current_->Add(hash, marked, message);
    });
    if (!status.ok()) return Failed(status);
  }
  records_.AddKind(kind);
  const uint64_t limit = ChunkBytes();
  if (current_->bytes() >= limit || current_->records() >= limit / kBytesPerRecord) EndRound();
  return absl::OkStatus();
}

void BulkWriter::EndRound() {
  if (current_ != nullptr && finishing_ == nullptr) finishing_ = std::move(current_);
}

absl::StatusOr<bool> BulkWriter::Step() {
  if (finishing_ == nullptr) return false;
  auto more = finishing_->FinishSome();
  if (!more.ok()) return Failed(more.status());
  if (*more) return true;
  const UniqueFd fd = finishing_->TakeFd();
  absl::Status status = records_.Add(syscalls_, finishing_->TakeChunk(), fd.get());
  finishing_.reset();
  if (!status.ok()) return Failed(status);
  return false;
}

absl::Status BulkWriter::Finish() {
  for (bool more = true; more;) {
    LIVEEXEC_ASSIGN_OR_RETURN(more, Step());
    if (more || current_ == nullptr) continue;
    EndRound();
    more = true;
  }
  return absl::OkStatus();
}

}  // namespace liveexec
