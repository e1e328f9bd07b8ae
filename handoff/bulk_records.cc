#include "handoff/bulk_records.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <algorithm>
#include <bit>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

// Giving back that much memory takes a millisecond or two.
constexpr uint64_t kMuchMemory = 32 << 20;

absl::Status Impossible(std::string_view what) {
  return CodedError("E_IMAGE", absl::StatusCode::kDataLoss,
                    absl::StrCat("a chunk of records ", std::string(what)));
}

// The bits of `data` for `count` records; those beyond are cleared. Empty: all.
absl::StatusOr<std::vector<uint64_t>> LiveBits(capnp::Data::Reader data, size_t count) {
  std::vector<uint64_t> bits;
  if (data.size() == 0) return bits;
  const size_t words = (count + 63) / 64;
  if (data.size() != words * sizeof(uint64_t)) {
    return Impossible("has a list of live records of another length");
  }
  bits.resize(words);
  memcpy(bits.data(), data.begin(), data.size());
  if (count % 64 != 0) bits.back() &= (uint64_t{1} << (count % 64)) - 1;
  return bits;
}

}  // namespace

void BulkRecords::Swap(BulkRecords& other) noexcept {
  std::swap(chunks_, other.chunks_);
  std::swap(messages_, other.messages_);
  std::swap(size_, other.size_);
  std::swap(marked_, other.marked_);
  std::swap(kinds_, other.kinds_);
  std::swap(weight_, other.weight_);
  std::swap(bytes_, other.bytes_);
  std::swap(escrow_, other.escrow_);
}

BulkRecords::~BulkRecords() {
  if (bytes_ < kMuchMemory) return;
  // It must not be the one that takes the application's signals.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([chunks = std::move(chunks_), escrow = std::move(escrow_)]() mutable {
      chunks.clear();
      escrow = {};
    }).detach();
  } catch (const std::system_error&) {
    // No room for a thread: what the lambda held is gone by now.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::optional<BulkRecords::Position> BulkRecords::Find(uint64_t hash, Test is_it) const {
  for (size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk& chunk = chunks_[i];
    if (hash < chunk.first_hash || hash > chunk.last_hash || chunk.live_count == 0) continue;
    for (size_t record = chunk.content.LowerBound(hash);
         record < chunk.content.records() && chunk.content.HashOf(record) == hash; ++record) {
      if (!chunk.IsLive(record)) continue;
      bool found = false;
      const absl::Status status = chunk.content.Read(record, [&](capnp::AnyPointer::Reader root) {
        found = is_it(root);
        return absl::OkStatus();
      });
      // A record that cannot be read is none that anybody looks for.
      if (status.ok() && found) return Position{static_cast<uint32_t>(i), uint32_t(record)};
    }
  }
  return std::nullopt;
}

absl::Status BulkRecords::Read(
    Position position, absl::FunctionRef<absl::Status(capnp::AnyPointer::Reader)> visit) const {
  return chunks_[position.chunk].content.Read(position.record, visit);
}

void BulkRecords::Drop(Position position) {
  Chunk& chunk = chunks_[position.chunk];
  if (chunk.live.empty()) {
    chunk.live.assign((chunk.content.records() + 63) / 64, ~uint64_t{0});
    if (const size_t rest = chunk.content.records() % 64; rest != 0) {
      chunk.live.back() = (uint64_t{1} << rest) - 1;
    }
  }
  chunk.live[position.record / 64] &= ~(uint64_t{1} << (position.record % 64));
  --chunk.live_count;
  --size_;
  if (chunk.marked > 0 && chunk.content.IsMarked(position.record)) {
    --chunk.marked;
    --marked_;
  }
  if (chunk.live_count > 0) return;
  bytes_ -= chunk.content.size();
  chunk.content = BulkChunk();
}

void BulkRecords::ForRange(uint64_t first, uint64_t last, absl::FunctionRef<bool(Position)> visit) {
  for (size_t i = 0; i < chunks_.size(); ++i) {
    Chunk& chunk = chunks_[i];
    if (last < chunk.first_hash || first > chunk.last_hash || chunk.live_count == 0) continue;
    const size_t begin = first <= chunk.first_hash ? 0 : chunk.content.LowerBound(first);
    for (size_t record = begin; chunk.live_count > 0 && record < chunk.content.records();
         ++record) {
      if (!chunk.live.empty() && record % 64 == 0 && chunk.live[record / 64] == 0) {
        record += 63;
        continue;
      }
      if (last < chunk.last_hash && chunk.content.HashOf(record) > last) break;
      if (!chunk.IsLive(record)) continue;
      if (!visit({static_cast<uint32_t>(i), static_cast<uint32_t>(record)})) return;
    }
  }
}

void BulkRecords::ForEach(absl::FunctionRef<void(Position)> visit) const {
  for (size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i].live_count == 0) continue;
    for (size_t record = 0; record < chunks_[i].content.records(); ++record) {
      if (!chunks_[i].IsLive(record)) continue;
      visit({static_cast<uint32_t>(i), static_cast<uint32_t>(record)});
    }
  }
}

BulkRecords::Position BulkRecords::Pick(absl::FunctionRef<uint64_t()> random) const {
  size_t rank = random() % size_;
  size_t index = 0;
  while (rank >= chunks_[index].live_count) rank -= chunks_[index++].live_count;
  const Chunk& chunk = chunks_[index];
  constexpr int kTries = 64;
  size_t record = random() % chunk.content.records();
  for (int i = 0; i < kTries && !chunk.IsLive(record); ++i) {
    record = random() % chunk.content.records();
  }
  while (!chunk.IsLive(record)) record = (record + 1) % chunk.content.records();
  return {static_cast<uint32_t>(index), static_cast<uint32_t>(record)};
}

void BulkRecords::Adopt(Chunk chunk) {
  size_ += chunk.live_count;
  marked_ += chunk.marked;
  bytes_ += chunk.content.size();
  chunks_.push_back(std::move(chunk));
}

// ---- Old program.

absl::Status BulkRecords::Add(Syscalls& syscalls, BulkChunk content, uint32_t marked, int fd) {
  if (!escrow_.sender) {
    LIVEEXEC_ASSIGN_OR_RETURN(escrow_, CreateFdChannel(syscalls));
  }
  LIVEEXEC_RETURN_IF_ERROR(SendFdBatch(syscalls, escrow_.sender.get(), {fd}));
  Chunk chunk;
  chunk.message = messages_++;
  chunk.live_count = content.records();
  chunk.first_hash = content.HashOf(0);
  chunk.last_hash = content.HashOf(content.records() - 1);
  chunk.marked = marked;
  chunk.content = std::move(content);
  Adopt(std::move(chunk));
  return absl::OkStatus();
}

void BulkRecords::Save(image::BulkSet::Builder image) const {
  image.setKinds(kinds_);
  image.setWeight(weight_);
  const auto count = std::count_if(chunks_.begin(), chunks_.end(),
                                   [](const Chunk& chunk) { return chunk.live_count > 0; });
  auto list = image.initChunks(static_cast<unsigned>(count));
  unsigned next = 0;
  for (const Chunk& chunk : chunks_) {
    if (chunk.live_count == 0) continue;
    auto to = list[next++];
    to.setMessage(chunk.message);
    to.setRecords(static_cast<uint32_t>(chunk.content.records()));
    to.setSize(chunk.content.size());
    to.setHeaderChecksum(chunk.content.header_checksum());
    to.setFirstHash(chunk.first_hash);
    to.setLastHash(chunk.last_hash);
    to.setMarked(chunk.marked);
    if (chunk.live_count == chunk.content.records()) continue;
    to.setLive({reinterpret_cast<const capnp::byte*>(chunk.live.data()),
                chunk.live.size() * sizeof(uint64_t)});
  }
}

// ---- New program.

absl::StatusOr<BulkRecords> BulkRecords::Open(UniqueFd escrow, image::BulkSet::Reader image,
                                              Syscalls& syscalls) {
  BulkRecords set;
  set.kinds_ = image.getKinds();
  set.weight_ = image.getWeight();
  set.chunks_.reserve(image.getChunks().size());
  for (image::BulkSet::Chunk::Reader from : image.getChunks()) {
    LIVEEXEC_ASSIGN_OR_RETURN(Chunk chunk, OpenChunk(syscalls, escrow.get(), from));
    set.Adopt(std::move(chunk));
  }
  // The mappings keep the chunks.
  escrow.reset();
  return set;
}

absl::StatusOr<BulkRecords::Chunk> BulkRecords::OpenChunk(Syscalls& syscalls, int escrow,
                                                          image::BulkSet::Chunk::Reader image) {
  auto fds = PeekFdBatch(syscalls, escrow, image.getMessage());
  if (absl::IsResourceExhausted(fds.status())) return WithCode(fds.status(), "E_FDS");
  if (!fds.ok()) return Impossible(absl::StrCat("is missing: ", fds.status().ToString()));
  Chunk chunk;
  LIVEEXEC_ASSIGN_OR_RETURN(chunk.content, BulkChunk::Open(syscalls, (*fds)[0].get()));
  const size_t records = chunk.content.records();
  if (records == 0 || records != image.getRecords() || chunk.content.size() != image.getSize() ||
      chunk.content.header_checksum() != image.getHeaderChecksum()) {
    return Impossible("is not the one that the image lists");
  }
  chunk.message = image.getMessage();
  chunk.first_hash = image.getFirstHash();
  chunk.last_hash = image.getLastHash();
  LIVEEXEC_ASSIGN_OR_RETURN(chunk.live, LiveBits(image.getLive(), records));
  chunk.live_count = records;
  if (!chunk.live.empty()) {
    chunk.live_count = 0;
    for (uint64_t word : chunk.live) chunk.live_count += static_cast<size_t>(std::popcount(word));
  }
  if (chunk.live_count == 0) return Impossible("has no live records");
  if (image.getMarked() > chunk.live_count) return Impossible("has more marks than records");
  chunk.marked = image.getMarked();
  return chunk;
}

}  // namespace liveexec
