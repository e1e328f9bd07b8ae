// BulkRecords: the records of a bulk set, in sealed chunks, each record live or not.
//
// A bulk set is how a component carries a state that is too large to be written in the blackout:
// records are written ahead of it (bulk_writer.h), a record that changes afterwards is dropped and
// written again, and at the end the live ones are the state, each key exactly once. What crosses
// is an escrow, one fd whose queue holds those of the chunks, and a list of them in the component's
// image. The next program maps the chunks, serves, and reads a record when it needs it.
//
//   old program:  BulkWriter... Save(image), CarryFd("...", escrow_fd())
//   new program:  Open(TakeFd("..."), image); Find, Read, Drop; ForRange; until size() is 0
//
// The component numbers its kinds of records (0 to 63), so that a program that does not know all of
// them finds out before it commits. A mark is the component's own: how many live records have it
// is known without reading them. So is the set's weight, one number that the component keeps up to
// date as it adds and drops records.
//
// One thread at a time, except for const functions.
#ifndef LIVEEXEC_HANDOFF_BULK_RECORDS_H_
#define LIVEEXEC_HANDOFF_BULK_RECORDS_H_

#include <capnp/any.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/fd_channel.h"
#include "core/syscalls.h"
#include "core/unique_fd.h"
#include "handoff/bulk.capnp.h"
#include "handoff/bulk_chunk.h"

namespace liveexec {

class BulkRecords {
 public:
  // Names a record for as long as the set exists.
  struct Position {
    uint32_t chunk = 0;
    uint32_t record = 0;
  };

  BulkRecords() = default;
  // Lets go of chunks and escrow; for much memory the kernel takes long, so a thread of its own
  // does it, which ends then.
  ~BulkRecords();
  BulkRecords(BulkRecords&& other) noexcept { Swap(other); }
  BulkRecords& operator=(BulkRecords&& other) noexcept {
    BulkRecords(std::move(other)).Swap(*this);
    return *this;
  }

  // Of live records.
  size_t size() const { return size_; }
  size_t marked() const { return marked_; }
  // Bit n: there were records of kind n.
  uint64_t kinds() const { return kinds_; }
  // The component's own; 0 until it is set. It crosses with the set.
  uint64_t weight() const { return weight_; }
  void set_weight(uint64_t weight) { weight_ = weight; }
  // Bytes of memory that chunks hold.
  uint64_t bytes() const { return bytes_; }
  size_t chunks() const { return chunks_.size(); }

  // The live record with that hash for which `is_it` is true.
  using Test = absl::FunctionRef<bool(capnp::AnyPointer::Reader)>;
  std::optional<Position> Find(uint64_t hash, Test is_it) const;
  uint64_t HashOf(Position position) const {
    return chunks_[position.chunk].content.HashOf(position.record);
  }
  // Reads a live record in place. Errors: as BulkChunk::Read.
  absl::Status Read(Position position,
                    absl::FunctionRef<absl::Status(capnp::AnyPointer::Reader)> visit) const;
  // A live record is no part of the set any more. A chunk without live records gives its memory
  // back.
  void Drop(Position position);
  // Calls visit(Position) for live records whose hash is in [first, last], until it returns false;
  // it may drop them. Ascending within a chunk.
  void ForRange(uint64_t first, uint64_t last, absl::FunctionRef<bool(Position)> visit);
  void ForEach(absl::FunctionRef<void(Position)> visit) const;
  // A live record, each as likely as any other as long as a good part of them is live. Set must not
  // be empty. `random` is asked for random numbers.
  Position Pick(absl::FunctionRef<uint64_t()> random) const;

  // ---- Old program.
  // Adds a chunk that has been written, all of it live; `fd` (borrowed) goes into the escrow.
  // `marked` says how many are marked.
  absl::Status Add(Syscalls& syscalls, BulkChunk chunk, uint32_t marked, int fd);
  void AddKinds(uint64_t kinds) { kinds_ |= kinds; }
  // To be carried. -1 while there are no chunks.
  int escrow_fd() const { return escrow_.receiver.get(); }
  void Save(image::BulkSet::Builder image) const;

  // ---- New program. Whatever is wrong is DataLoss (E_IMAGE, E_SEAL, E_CHECKSUM); E_FDS: the fd
  // table is full. The content of the chunks is not read.
  static absl::StatusOr<BulkRecords> Open(UniqueFd escrow, image::BulkSet::Reader image,
                                          Syscalls& syscalls = Syscalls::Kernel());

 private:
  struct Chunk {
    uint32_t message = 0;
    uint64_t first_hash = 0;
    uint64_t last_hash = 0;
    size_t live_count = 0;
    uint32_t marked = 0;
    std::vector<uint64_t> live;  // bits; empty: all
    BulkChunk content;

    bool IsLive(size_t record) const {
      return live.empty() || (live[record / 64] >> (record % 64) & 1) != 0;
    }
  };

  static absl::StatusOr<Chunk> OpenChunk(Syscalls& syscalls, int escrow,
                                         image::BulkSet::Chunk::Reader image);
  void Adopt(Chunk chunk);
  void Swap(BulkRecords& other) noexcept;

  std::vector<Chunk> chunks_;
  uint32_t messages_ = 0;  // in the escrow
  size_t size_ = 0;
  size_t marked_ = 0;
  uint64_t kinds_ = 0;
  uint64_t weight_ = 0;
  uint64_t bytes_ = 0;
  FdChannelEnds escrow_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_BULK_RECORDS_H_
