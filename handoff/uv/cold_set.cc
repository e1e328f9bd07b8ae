#include "handoff/uv/cold_set.h"

#include <capnp/serialize.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/syscalls.h"
#include "handoff/file_size_signal.h"
#include "handoff/guarded_call.h"

namespace liveexec::uv {
namespace {

constexpr int kEventsAtOnce = 64;
constexpr size_t kManyMembers = 512;

// An event's data: which member it is of.
uint64_t MemberOf(size_t batch, size_t slot) { return uint64_t{batch} << 32 | slot; }
size_t BatchOf(uint64_t member) { return static_cast<size_t>(member >> 32); }
size_t SlotOf(uint64_t member) { return static_cast<size_t>(member & 0xffffffff); }

}  // namespace

ColdSet::~ColdSet() {
  size_t members = 0;
  for (const Batch& batch : batches_) members += batch.present.size();
  if (members < kManyMembers) return;
  // It must not be the one that takes the application's signals.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([events = std::move(events_), escrow = std::move(escrow_)]() mutable {
      escrow = {};
      events.reset();
    }).detach();
  } catch (const std::system_error&) {
    // No room for a thread: what the lambda held is closed by now.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

absl::StatusOr<std::unique_ptr<ColdSet>> ColdSet::Create() {
  std::unique_ptr<ColdSet> set(new ColdSet());
  set->largest_batch_ = kBatchSize;
  Syscalls& syscalls = Syscalls::Kernel();
  set->events_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!set->events_) return ErrnoError(errno, "epoll_create1 for idle connections");
  LIVEEXEC_ASSIGN_OR_RETURN(set->escrow_, CreateFdChannel(syscalls));
  LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter writer, MemfdWriter::Create(syscalls, "liveexec-cold"));
  set->writer_ = std::make_unique<MemfdWriter>(std::move(writer));
  return set;
}

absl::Status ColdSet::Watch(absl::Span<const int> fds, size_t batch) {
  for (size_t slot = 0; slot < fds.size(); ++slot) {
    epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data = {}};
    event.data.u64 = MemberOf(batch, slot);
    if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, fds[slot], &event) == 0) continue;
    const int error = errno;
    while (slot-- > 0) ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, fds[slot], nullptr);
    return ErrnoError(error, "watch an idle connection");
  }
  return absl::OkStatus();
}

absl::Status ColdSet::Add(absl::Span<const int> fds, capnp::MessageBuilder& records) {
  if (writer_ == nullptr) return absl::FailedPreconditionError("the cold set is sealed");
  Batch batch = {.offset = writer_->size(),
                 .present = std::vector<bool>(fds.size(), true),
                 .left = fds.size(),
                 .message = capnp::messageToFlatArray(records)};
  const FileSizeSignalHeld held;
  const kj::ArrayPtr<const kj::byte> bytes = batch.message.asBytes();
  batch.length = bytes.size();
  batch.checksum = XXH3_64bits(bytes.begin(), bytes.size());
  // What cannot be undone comes last; bytes that no batch refers to do not matter.
  LIVEEXEC_RETURN_IF_ERROR(writer_->Append({bytes.begin(), bytes.size()}));
  LIVEEXEC_RETURN_IF_ERROR(Watch(fds, batches_.size()));
  if (absl::Status sent = SendFdBatch(Syscalls::Kernel(), escrow_.sender.get(), fds); !sent.ok()) {
    for (int fd : fds) ::epoll_ctl(events_.get(), EPOLL_CTL_DEL, fd, nullptr);
    return sent;
  }
  size_ += fds.size();
  batches_.push_back(std::move(batch));
  return absl::OkStatus();
}

absl::Status ColdSet::Seal() {
  if (writer_ == nullptr) return absl::OkStatus();
  LIVEEXEC_ASSIGN_OR_RETURN(records_fd_, std::move(*writer_).Seal());
  writer_.reset();
  return absl::OkStatus();
}

void ColdSet::Save(image::ColdSet::Builder image) const {
  auto batches = image.initBatches(static_cast<unsigned>(batches_.size()));
  for (unsigned i = 0; i < batches.size(); ++i) {
    const Batch& batch = batches_[i];
    batches[i].setOffset(batch.offset);
    batches[i].setLength(batch.length);
    batches[i].setChecksum(batch.checksum);
    auto present = batches[i].initPresent(static_cast<unsigned>(batch.present.size()));
    for (unsigned slot = 0; slot < present.size(); ++slot) present.set(slot, batch.present[slot]);
  }
}

absl::StatusOr<std::unique_ptr<ColdSet>> ColdSet::Open(UniqueFd events, UniqueFd escrow,
                                                       UniqueFd records,
                                                       image::ColdSet::Reader image) {
  std::unique_ptr<ColdSet> set(new ColdSet());
  LIVEEXEC_ASSIGN_OR_RETURN(set->records_, SealedMapping::Open(Syscalls::Kernel(), records.get()));
  set->events_ = std::move(events);
  set->escrow_.receiver = std::move(escrow);
  set->records_fd_ = std::move(records);
  for (image::ColdSet::Batch::Reader from : image.getBatches()) {
    Batch batch = {
        .offset = from.getOffset(), .length = from.getLength(), .checksum = from.getChecksum()};
    for (bool present : from.getPresent()) {
      batch.present.push_back(present);
      batch.left += present ? 1 : 0;
    }
    set->size_ += batch.left;
    set->largest_batch_ = std::max(set->largest_batch_, batch.present.size());
    set->batches_.push_back(std::move(batch));
  }
  LIVEEXEC_RETURN_IF_ERROR(set->Verify());
  return set;
}

absl::Status ColdSet::Verify() const {
  const absl::Span<const uint8_t> bytes = records_.bytes();
  for (size_t i = 0; i < batches_.size(); ++i) {
    const Batch& batch = batches_[i];
    const bool inside = batch.offset % sizeof(capnp::word) == 0 &&
                        batch.length % sizeof(capnp::word) == 0 && batch.offset <= bytes.size() &&
                        batch.length <= bytes.size() - batch.offset;
    if (!inside || batch.present.size() > kFdsPerBatch) {
      return absl::DataLossError(absl::StrCat("batch ", i, " of idle connections is impossible"));
    }
    if (XXH3_64bits(bytes.data() + batch.offset, batch.length) != batch.checksum) {
      return absl::DataLossError(absl::StrCat("batch ", i, " of idle connections is damaged"));
    }
  }
  return absl::OkStatus();
}

absl::Status ColdSet::WithRecords(
    const Batch& batch,
    absl::FunctionRef<absl::Status(capnp::List<image::Stream>::Reader)> visit) const {
  return GuardedCall("records of idle connections", [&]() -> absl::Status {
    kj::ArrayPtr<const capnp::word> words = batch.message;
    if (words.size() == 0) {
      words =
          kj::arrayPtr(reinterpret_cast<const capnp::word*>(records_.bytes().data() + batch.offset),
                       batch.length / sizeof(capnp::word));
    }
    capnp::FlatArrayMessageReader reader(words);
    const auto streams = reader.getRoot<image::ColdBatch>().getStreams();
    if (streams.size() != batch.present.size()) {
      return absl::DataLossError("there are not as many records as connections");
    }
    return visit(streams);
  });
}

absl::Status ColdSet::Take(size_t index, const std::vector<bool>& wanted, Taker take) {
  absl::Status status = TryTake(index, wanted, take);
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  // It will not get better: what is left of the batch is lost.
  Batch& batch = batches_[index];
  std::fill(batch.present.begin(), batch.present.end(), false);
  size_ -= std::exchange(batch.left, 0);
  return status;
}

absl::Status ColdSet::TryTake(size_t index, const std::vector<bool>& wanted, Taker take) {
  Batch& batch = batches_[index];
  LIVEEXEC_ASSIGN_OR_RETURN(std::vector<UniqueFd> fds,
                            PeekFdBatch(Syscalls::Kernel(), escrow_.receiver.get(), index));
  if (fds.size() != batch.present.size()) {
    return absl::DataLossError("the escrow of idle connections does not hold what it should");
  }
  return WithRecords(batch, [&](capnp::List<image::Stream>::Reader records) {
    for (unsigned slot = 0; slot < fds.size(); ++slot) {
      if (!wanted[slot] || !batch.present[slot]) continue;
      batch.present[slot] = false;
      --batch.left;
      --size_;
      take(std::move(fds[slot]), records[slot]);
    }
    return absl::OkStatus();
  });
}

// One-shot: each event comes once, so it is kept until its member has been taken out.
void ColdSet::CollectEvents() {
  epoll_event events[kEventsAtOnce];
  const int count = ::epoll_wait(events_.get(), events, kEventsAtOnce, 0);
  for (int i = 0; i < count; ++i) {
    const uint64_t member = events[i].data.u64;
    if (BatchOf(member) >= batches_.size()) continue;
    const Batch& batch = batches_[BatchOf(member)];
    // Those taken out before are still watched.
    if (SlotOf(member) < batch.present.size() && batch.present[SlotOf(member)]) {
      woken_.push_back(member);
    }
  }
}

absl::Status ColdSet::TakeWoken(Taker take) {
  CollectEvents();
  std::sort(woken_.begin(), woken_.end());
  while (!woken_.empty()) {
    const size_t batch = BatchOf(woken_.back());
    std::vector<bool> wanted(batches_[batch].present.size());
    auto first = woken_.end();
    while (first != woken_.begin() && BatchOf(*(first - 1)) == batch)
      wanted[SlotOf(*--first)] = true;
    const absl::Status status = Take(batch, wanted, take);
    if (absl::IsResourceExhausted(status)) return status;
    woken_.erase(first, woken_.end());
    LIVEEXEC_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status ColdSet::TakeBatch(Taker take) {
  for (size_t i = batches_.size(); i > 0; --i) {
    const Batch& batch = batches_[i - 1];
    if (batch.left == 0) continue;
    return Take(i - 1, std::vector<bool>(batch.present.size(), true), take);
  }
  return absl::OkStatus();
}

}  // namespace liveexec::uv
