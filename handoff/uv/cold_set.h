// ColdSet: idle connections that cross an upgrade at no cost to the blackout.
//
// Ahead of the blackout each is put into an escrow of the set's own (an fd channel), its record
// into a memfd, and its socket, one-shot, into an epoll set whose data say which member it is
// (never a pointer, never an fd). Then the process closes it. What crosses are three fds, however
// many connections there are. Whichever program serves afterwards (the new one, or the old one when
// the upgrade is abandoned or rolled back) asks the epoll set who has woken, takes those out at
// once, and the others bit by bit.
//
//   old program:   Create, Add..., TakeWoken, Seal, then exec; or TakeBatch until size() is 0
//   new program:   Open; after the commit TakeWoken and TakeBatch until size() is 0
//
// Until it has been taken out, a member is in nobody's fd table: only the escrow keeps it open. A
// member that was taken out is still in the escrow as well, for as long as the set exists; so
// closing its fd does not end the connection, but shutdown() does.
//
// One thread at a time. Nothing here calls the application.
#ifndef LIVEEXEC_HANDOFF_UV_COLD_SET_H_
#define LIVEEXEC_HANDOFF_UV_COLD_SET_H_

#include <capnp/common.h>
#include <capnp/message.h>
#include <kj/array.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/fd_channel.h"
#include "core/sealed_memfd.h"
#include "core/unique_fd.h"
#include "handoff/uv/images.capnp.h"

namespace liveexec::uv {

class ColdSet {
 public:
  // Members to a batch: what is put in, and fetched from the escrow, at once. To fetch one takes as
  // many free fds; a set holds at least 278 batches.
  static constexpr size_t kBatchSize = 32;

  // Takes over one member: its fd, and the record that was written for it.
  using Taker = absl::FunctionRef<void(UniqueFd fd, image::Stream::Reader record)>;

  // Errors carry the errno (EMFILE, ENOMEM).
  static absl::StatusOr<std::unique_ptr<ColdSet>> Create();

  // Adds 1 to kBatchSize sockets (borrowed; the caller closes them afterwards), whose records are
  // the `streams` of `records`' root, an image::ColdBatch, in the same order. All or none. Errors
  // carry the errno: EAGAIN, this set is full; ENOSPC, EFBIG, ETOOMANYREFS, the system has no room
  // for more.
  absl::Status Add(absl::Span<const int> fds, capnp::MessageBuilder& records);

  // Nothing can be added from here on. Before it is carried.
  absl::Status Seal();
  // What is to be carried, and the set's record for it.
  int events_fd() const { return events_.get(); }
  int escrow_fd() const { return escrow_.receiver.get(); }
  int records_fd() const { return records_fd_.get(); }
  void Save(image::ColdSet::Builder image) const;

  // The carried set. Everything in it is verified, as anything may be in `image`: DataLoss. The
  // escrow is not looked at.
  static absl::StatusOr<std::unique_ptr<ColdSet>> Open(UniqueFd events, UniqueFd escrow,
                                                       UniqueFd records,
                                                       image::ColdSet::Reader image);

  // Lets go of the fds. For many members the kernel takes a microsecond each, so a thread of its
  // own does it, which ends then.
  ~ColdSet();
  ColdSet(const ColdSet&) = delete;
  ColdSet& operator=(const ColdSet&) = delete;

  // Members that have not been taken out.
  size_t size() const { return size_; }
  // Free fds that it takes to fetch any of them.
  size_t largest_batch() const { return largest_batch_; }

  // Takes out members that have become readable, or whose peer is gone. Never blocks.
  // ResourceExhausted: the fd table is full; they are tried again with the next call. Any other
  // error: what was left of a batch is lost, and size() that much smaller.
  absl::Status TakeWoken(Taker take);
  // Takes out the rest of one batch. Errors: as above.
  absl::Status TakeBatch(Taker take);

 private:
  struct Batch {
    uint64_t offset = 0;  // of its message in the records
    uint64_t length = 0;
    uint64_t checksum = 0;
    std::vector<bool> present;
    size_t left = 0;
    kj::Array<capnp::word> message;  // in the program that wrote it; else it is in records_
  };

  ColdSet() = default;
  absl::Status Watch(absl::Span<const int> fds, size_t batch);
  void CollectEvents();
  absl::Status Take(size_t batch, const std::vector<bool>& wanted, Taker take);
  absl::Status TryTake(size_t batch, const std::vector<bool>& wanted, Taker take);
  absl::Status WithRecords(
      const Batch& batch,
      absl::FunctionRef<absl::Status(capnp::List<image::Stream>::Reader)> visit) const;
  absl::Status Verify() const;

  UniqueFd events_;
  FdChannelEnds escrow_;
  std::unique_ptr<MemfdWriter> writer_;  // until it is sealed
  UniqueFd records_fd_;                  // from then on
  SealedMapping records_;                // the same, mapped, in the program that opened it
  std::vector<Batch> batches_;
  std::vector<uint64_t> woken_;  // members, as in the events' data
  size_t size_ = 0;
  size_t largest_batch_ = 0;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_COLD_SET_H_
