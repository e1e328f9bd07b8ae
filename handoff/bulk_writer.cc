#include "handoff/bulk_writer.h"

#include <string.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/available_memory.h"
#include "handoff/error_code.h"
#include "handoff/guarded_call.h"
#include "handoff/parallel.h"

namespace liveexec {
namespace {

constexpr uint64_t kLeastChunk = 16 << 20;
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

BulkPart::BulkPart(std::unique_ptr<BulkChunkWriter> chunk) : chunk_(std::move(chunk)) {
  memset(static_cast<void*>(scratch_.data()), 0, sizeof(scratch_));
}

absl::Status BulkPart::Add(uint64_t hash, bool marked, unsigned kind,
                           absl::FunctionRef<void(capnp::AnyPointer::Builder)> write) {
  kinds_ |= uint64_t{1} << kind;
  marked_ += marked ? 1 : 0;
  absl::Status status = GuardedCall("record", [&] {
    capnp::MallocMessageBuilder message(kj::arrayPtr(scratch_.data(), scratch_.size()));
    write(message.initRoot<capnp::AnyPointer>());
    return chunk_->Add(hash, marked, message);
  });
  return status.ok() ? status : Failed(status);
}

BulkWriter::BulkWriter(std::string name, Syscalls& syscalls)
    : syscalls_(syscalls), name_(std::move(name)) {}

uint64_t BulkWriter::ChunkBytes() const {
  uint64_t bytes = kLeastChunk;
  for (size_t i = kOfOneSize; i < begun_ && bytes < kMostChunk; i += kOfOneSize) bytes *= 2;
  return bytes;
}

absl::StatusOr<std::unique_ptr<BulkPart>> BulkWriter::Begin() {
  ++begun_;
  const std::optional<uint64_t> available = AvailableMemory();
  if (available.has_value() && *available < ChunkBytes() + kSpareMemory) {
    return CodedError("E_NOMEM", absl::StatusCode::kResourceExhausted,
                      absl::StrCat("a copy of the state ahead of the blackout needs more than the ",
                                   *available >> 20, " MiB that are available: free some memory"));
  }
  auto chunk = BulkChunkWriter::Create(syscalls_, name_.c_str());
  if (!chunk.ok()) return Failed(chunk.status());
  return std::unique_ptr<BulkPart>(new BulkPart(*std::move(chunk)));
}

absl::Status BulkWriter::Add(uint64_t hash, bool marked, unsigned kind,
                             absl::FunctionRef<void(capnp::AnyPointer::Builder)> write) {
  for (bool more = finishing_ != nullptr; more;) {
    LIVEEXEC_ASSIGN_OR_RETURN(more, Step());
  }
  if (current_ == nullptr) {
    LIVEEXEC_ASSIGN_OR_RETURN(current_, Begin());
  }
  LIVEEXEC_RETURN_IF_ERROR(current_->Add(hash, marked, kind, write));
  const uint64_t limit = ChunkBytes();
  const BulkChunkWriter& chunk = *current_->chunk_;
  if (chunk.bytes() >= limit || chunk.records() >= limit / kBytesPerRecord) EndRound();
  return absl::OkStatus();
}

void BulkWriter::EndRound() {
  if (current_ != nullptr && finishing_ == nullptr) finishing_ = std::move(current_);
}

absl::StatusOr<bool> BulkWriter::Step() {
  if (finishing_ == nullptr) return false;
  auto more = finishing_->chunk_->FinishSome();
  if (!more.ok()) return Failed(more.status());
  if (*more) return true;
  const std::unique_ptr<BulkPart> part = std::move(finishing_);
  LIVEEXEC_RETURN_IF_ERROR(Take(*part));
  return false;
}

absl::Status BulkWriter::Take(BulkPart& part) {
  const UniqueFd fd = part.chunk_->TakeFd();
  absl::Status status = records_.Add(syscalls_, part.chunk_->TakeChunk(), part.marked_, fd.get());
  if (!status.ok()) return Failed(status);
  records_.AddKinds(part.kinds_);
  return absl::OkStatus();
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

absl::Status BulkWriter::WriteParts(size_t parts,
                                    absl::FunctionRef<absl::Status(size_t, BulkPart&)> fill) {
  std::vector<std::unique_ptr<BulkPart>> written(parts);
  for (auto& part : written) {
    LIVEEXEC_ASSIGN_OR_RETURN(part, Begin());
  }
  const absl::Status status = RunInParallel(parts, [&](size_t i) -> absl::Status {
    LIVEEXEC_RETURN_IF_ERROR(fill(i, *written[i]));
    if (written[i]->chunk_->records() == 0) return absl::OkStatus();
    for (bool more = true; more;) {
      auto finished = written[i]->chunk_->FinishSome();
      if (!finished.ok()) return Failed(finished.status());
      more = *finished;
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  for (auto& part : written) {
    // Only a chunk that is sealed has an fd to give away.
    if (part->chunk_->sealed()) LIVEEXEC_RETURN_IF_ERROR(Take(*part));
  }
  return absl::OkStatus();
}

}  // namespace liveexec
