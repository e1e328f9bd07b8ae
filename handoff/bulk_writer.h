// BulkWriter: writes a bulk set (bulk_records.h) ahead of the blackout, in small pieces.
//
//   BulkWriter writer("liveexec-keys");
//   // A round: each record once, in ascending order of its hash, between the loop's other events.
//   LIVEEXEC_RETURN_IF_ERROR(writer.Add(hash, marked, kind, [&](capnp::AnyPointer::Builder root) {
//     Fill(root.initAs<Key>());
//   }));
//   ...
//   writer.EndRound();
//   while (*writer.Step()) {}      // a piece each: chunks are written out, sealed and read back
//   // What has changed since is dropped and written again, round after round.
//   auto old = writer.records().Find(hash, is_it);  if (old) writer.records().Drop(*old);
//
// What is left in the blackout, when all threads stand still, several threads can write at once:
//
//   writer.WriteParts(4, [&](size_t part, BulkPart& to) { ... to.Add(hash, ...); ... });
//
// Memory: the set itself, in chunks of 16 MiB at first and larger ones when there are many; each is
// begun only while the machine, or the cgroup, has that much available. Call Step until it says
// false between two Adds: otherwise Add does that, and takes as long. No chunk needs an fd for
// longer than it is being written.
//
// One thread at a time. Errors have the code E_MEMORY (memory, fds, RLIMIT_FSIZE; the sentence
// says), E_NOMEM, or E_CHECKSUM when what can be read is not what was written.
#ifndef LIVEEXEC_HANDOFF_BULK_WRITER_H_
#define LIVEEXEC_HANDOFF_BULK_WRITER_H_

#include <capnp/any.h>
#include <capnp/message.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/syscalls.h"
#include "handoff/bulk_chunk.h"
#include "handoff/bulk_records.h"

namespace liveexec {

// Where records go: one chunk. Each thread has its own.
class BulkPart {
 public:
  // In ascending order of the hash. `write` fills the record in; exceptions are errors.
  absl::Status Add(uint64_t hash, bool marked, unsigned kind,
                   absl::FunctionRef<void(capnp::AnyPointer::Builder)> write);

 private:
  friend class BulkWriter;
  explicit BulkPart(std::unique_ptr<BulkChunkWriter> chunk);

  std::unique_ptr<BulkChunkWriter> chunk_;
  uint64_t kinds_ = 0;
  uint32_t marked_ = 0;
  // A record's first segment; all zero between records.
  std::array<capnp::word, 512> scratch_;
};

class BulkWriter {
 public:
  // `name` is what the chunks are called in /proc.
  explicit BulkWriter(std::string name, Syscalls& syscalls = Syscalls::Kernel());

  absl::Status Add(uint64_t hash, bool marked, unsigned kind,
                   absl::FunctionRef<void(capnp::AnyPointer::Builder)> write);
  // The next record's hash may be lower than those before. When Step has said false.
  void EndRound();
  // Does a piece of the work that is left, some tens of microseconds; false when none is.
  absl::StatusOr<bool> Step();
  // All that is left.
  absl::Status Finish();

  // A round of its own, after Finish: calls `fill` for each of `parts` (1 or more), on threads of
  // their own (all signals blocked), which end before it returns. `fill` may look at records(), and
  // at whatever nobody changes meanwhile. The first error is returned, and nothing was added then.
  absl::Status WriteParts(size_t parts,
                          absl::FunctionRef<absl::Status(size_t part, BulkPart& to)> fill);

  // What has been written, up to the chunk in the works.
  BulkRecords& records() { return records_; }
  const BulkRecords& records() const { return records_; }

 private:
  absl::StatusOr<std::unique_ptr<BulkPart>> Begin();
  absl::Status Take(BulkPart& part);
  uint64_t ChunkBytes() const;

  Syscalls& syscalls_;
  const std::string name_;
  std::unique_ptr<BulkPart> current_;    // takes records
  std::unique_ptr<BulkPart> finishing_;  // takes no more
  BulkRecords records_;
  size_t begun_ = 0;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_BULK_WRITER_H_
