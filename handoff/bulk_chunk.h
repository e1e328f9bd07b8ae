// BulkChunk: many small Cap'n Proto messages in one sealed memfd, found by a hash.
//
// The format is in docs/protocol.md. All integers are little-endian.
//
//   offset  size
//   0       8     magic "LVXCHUNK"
//   8       4     format version, 1
//   12      4     header size, 64
//   16      8     length of the records in bytes, a multiple of 8
//   24      8     number of records, n
//   32      8     XXH3-64 of records and index
//   40      16    zero
//   56      8     XXH3-64 of the 56 bytes before
//   64            the records, one after another: each a message in Cap'n Proto's stream framing
//           16 n  the index, in ascending order of the hash: the hash; and, in the lower 63 bits,
//                 where in the file the record begins; the highest bit is the record's mark
//
// What is written here is checksummed, sealed and read back by the old program, ahead of the
// blackout. As nobody can change it afterwards, the new program looks at seals and header alone:
// reading a gigabyte again would find nothing that the reading back did not. Everything else in
// the file is bounded where it is used.
#ifndef LIVEEXEC_HANDOFF_BULK_CHUNK_H_
#define LIVEEXEC_HANDOFF_BULK_CHUNK_H_

#include <capnp/any.h>
#include <capnp/message.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/sealed_memfd.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"

namespace liveexec {

// A sealed chunk, mapped. Move-only. Reading is thread-safe.
class BulkChunk {
 public:
  // `fd` is borrowed. DataLoss with the codes E_SEAL, E_IMAGE or E_CHECKSUM for whatever is wrong
  // with it; an error without a code when the kernel has no memory to map it.
  static absl::StatusOr<BulkChunk> Open(Syscalls& syscalls, int fd);

  BulkChunk() = default;

  size_t records() const { return records_; }
  uint64_t size() const { return mapping_.bytes().size(); }
  uint64_t header_checksum() const { return header_checksum_; }

  // Of the record with this number, which must be below records().
  uint64_t HashOf(size_t record) const;
  bool IsMarked(size_t record) const;
  // The first record whose hash is not below `hash`; records() if there is none. In a malformed
  // index: some number up to that.
  size_t LowerBound(uint64_t hash) const;
  // Reads in place; what `visit` gets is valid until it returns. DataLoss, or E_EXCEPTION, when the
  // record cannot be read.
  absl::Status Read(size_t record,
                    absl::FunctionRef<absl::Status(capnp::AnyPointer::Reader)> visit) const;

  // Compares a piece of the content with the checksum; false once all of it has been compared, and
  // true while there is more. A chunk that has been verified is not verified again.
  absl::StatusOr<bool> VerifySome(size_t bytes);

 private:
  struct Verification;
  struct VerificationDelete {
    void operator()(Verification* verification) const;
  };

  SealedMapping mapping_;
  uint64_t records_end_ = 0;  // in the file
  size_t records_ = 0;
  uint64_t checksum_ = 0;
  uint64_t header_checksum_ = 0;
  std::unique_ptr<Verification, VerificationDelete> verification_;
};

// A chunk that is being written.
class BulkChunkWriter {
 public:
  static absl::StatusOr<std::unique_ptr<BulkChunkWriter>> Create(Syscalls& syscalls,
                                                                 const char* name);
  ~BulkChunkWriter();

  // Adds a record, whose hash is not below that of the one before. Errors carry the errno.
  absl::Status Add(uint64_t hash, bool marked, capnp::MessageBuilder& record);
  size_t records() const { return index_.size(); }
  uint64_t bytes() const { return position_; }

  // After the last Add: does a piece of the rest. True while there is more of it.
  absl::StatusOr<bool> FinishSome();
  bool sealed() const { return !file_.has_value(); }
  // Once there is no more.
  UniqueFd TakeFd() { return std::move(fd_); }
  BulkChunk TakeChunk() { return std::move(chunk_); }

 private:
  struct IndexEntry {
    uint64_t hash;
    uint64_t location;
  };
  struct Checksum;

  BulkChunkWriter(Syscalls& syscalls, MemfdWriter file);
  void Append(const void* data, size_t size);
  absl::Status Flush();
  absl::Status WriteHeader();

  Syscalls& syscalls_;
  std::optional<MemfdWriter> file_;  // until it is sealed
  uint64_t position_;                // where the next record begins
  std::vector<uint8_t> buffer_;      // not written yet
  std::vector<IndexEntry> index_;
  size_t index_written_ = 0;
  uint64_t records_end_ = 0;
  std::unique_ptr<Checksum> checksum_;
  UniqueFd fd_;
  BulkChunk chunk_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_BULK_CHUNK_H_
