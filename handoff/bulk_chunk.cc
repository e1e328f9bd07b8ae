#include "handoff/bulk_chunk.h"

#include <capnp/serialize.h>
#include <string.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/error_code.h"
#include "handoff/file_size_signal.h"
#include "handoff/guarded_call.h"

namespace liveexec {
namespace {

constexpr char kMagic[8] = {'L', 'V', 'X', 'C', 'H', 'U', 'N', 'K'};
constexpr uint32_t kFormatVersion = 1;
constexpr uint64_t kMark = uint64_t{1} << 63;
constexpr uint32_t kMaxSegments = 512;
// Written at once, and compared at once: some tens of microseconds.
constexpr size_t kPiece = 128 * 1024;

struct Header {
  char magic[8];
  uint32_t format_version;
  uint32_t header_size;
  uint64_t records_length;
  uint64_t records;
  uint64_t checksum;
  uint64_t zero[2];
  uint64_t header_checksum;
};
constexpr size_t kHeaderSize = sizeof(Header);
static_assert(kHeaderSize == 64);
static_assert(std::endian::native == std::endian::little, "chunks are read in place");

constexpr size_t kIndexEntrySize = 16;

absl::Status Damaged(std::string_view code, std::string_view message) {
  return CodedError(code, absl::StatusCode::kDataLoss, message);
}

uint64_t HeaderChecksum(const Header& header) {
  return XXH3_64bits(&header, offsetof(Header, header_checksum));
}

absl::Status CheckHeader(const Header& header, uint64_t size) {
  if (memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return Damaged("E_IMAGE", "this is not a chunk of records");
  }
  if (header.header_checksum != HeaderChecksum(header)) {
    return Damaged("E_CHECKSUM", "a chunk's header is damaged");
  }
  if (header.format_version != kFormatVersion || header.header_size != kHeaderSize) {
    return Damaged("E_IMAGE", absl::StrCat("chunk format ", header.format_version,
                                           " is unknown; this program reads ", kFormatVersion));
  }
  const uint64_t content = size - kHeaderSize;
  if (header.records_length % sizeof(capnp::word) != 0 || header.records_length > content ||
      (content - header.records_length) % kIndexEntrySize != 0 ||
      (content - header.records_length) / kIndexEntrySize != header.records) {
    return Damaged("E_IMAGE", "a chunk is not as long as its header says");
  }
  return absl::OkStatus();
}

uint64_t Load64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, sizeof(value));
  return value;
}

// How many words the message at the start of `words` takes; 0 when it does not fit.
size_t MessageWords(kj::ArrayPtr<const capnp::word> words) {
  auto word32 = [&](size_t index) {
    uint32_t value;
    memcpy(&value, reinterpret_cast<const uint8_t*>(words.begin()) + index * sizeof(value),
           sizeof(value));
    return value;
  };
  if (words.size() == 0) return 0;
  const uint64_t count = uint64_t{word32(0)} + 1;
  const uint64_t table = (count + 2) / 2;
  if (count > kMaxSegments || table > words.size()) return 0;
  uint64_t needed = table;
  for (uint64_t i = 0; i < count; ++i) needed += word32(1 + i);
  return needed <= words.size() ? needed : 0;
}

}  // namespace

// ---- BulkChunk

struct BulkChunk::Verification {
  XXH3_state_t state;
  size_t done = 0;  // of the content
};

void BulkChunk::VerificationDelete::operator()(Verification* verification) const {
  delete verification;
}

absl::StatusOr<BulkChunk> BulkChunk::Open(Syscalls& syscalls, int fd) {
  BulkChunk chunk;
  auto mapping = SealedMapping::Open(syscalls, fd);
  if (absl::IsFailedPrecondition(mapping.status()) || absl::IsInvalidArgument(mapping.status())) {
    return Damaged("E_SEAL", std::string(mapping.status().message()));
  }
  if (!mapping.ok()) return WithCode(mapping.status(), "E_MEMORY");
  chunk.mapping_ = *std::move(mapping);
  const absl::Span<const uint8_t> bytes = chunk.mapping_.bytes();
  if (bytes.size() < kHeaderSize) {
    return Damaged("E_IMAGE", "a chunk is shorter than its header");
  }
  Header header;
  memcpy(&header, bytes.data(), sizeof(header));
  LIVEEXEC_RETURN_IF_ERROR(CheckHeader(header, bytes.size()));
  chunk.records_end_ = kHeaderSize + header.records_length;
  chunk.records_ = header.records;
  chunk.checksum_ = header.checksum;
  chunk.header_checksum_ = header.header_checksum;
  return chunk;
}

uint64_t BulkChunk::HashOf(size_t record) const {
  return Load64(mapping_.bytes().data() + records_end_ + record * kIndexEntrySize);
}

bool BulkChunk::IsMarked(size_t record) const {
  return (Load64(mapping_.bytes().data() + records_end_ + record * kIndexEntrySize + 8) & kMark) !=
         0;
}

size_t BulkChunk::LowerBound(uint64_t hash) const {
  size_t first = 0;
  size_t count = records_;
  while (count > 0) {
    const size_t half = count / 2;
    if (HashOf(first + half) < hash) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

absl::Status BulkChunk::Read(
    size_t record, absl::FunctionRef<absl::Status(capnp::AnyPointer::Reader)> visit) const {
  const uint8_t* data = mapping_.bytes().data();
  const uint64_t offset = Load64(data + records_end_ + record * kIndexEntrySize + 8) & ~kMark;
  if (offset < kHeaderSize || offset >= records_end_ || offset % sizeof(capnp::word) != 0) {
    return Damaged("E_IMAGE", "a record lies outside of its chunk");
  }
  const auto rest = kj::arrayPtr(reinterpret_cast<const capnp::word*>(data + offset),
                                 (records_end_ - offset) / sizeof(capnp::word));
  const size_t words = MessageWords(rest);
  if (words == 0) return Damaged("E_IMAGE", "a record does not fit into its chunk");
  return GuardedCall("record", [&] {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = uint64_t{words} * 16 + 4096;
    capnp::FlatArrayMessageReader reader(rest.slice(0, words), options);
    return visit(reader.getRoot<capnp::AnyPointer>());
  });
}

absl::StatusOr<bool> BulkChunk::VerifySome(size_t bytes) {
  if (verification_ == nullptr) {
    verification_.reset(new Verification());
    XXH3_64bits_reset(&verification_->state);
  }
  const absl::Span<const uint8_t> content = mapping_.bytes().subspan(kHeaderSize);
  const size_t piece = std::min(bytes, content.size() - verification_->done);
  XXH3_64bits_update(&verification_->state, content.data() + verification_->done, piece);
  verification_->done += piece;
  if (verification_->done < content.size()) return true;
  if (XXH3_64bits_digest(&verification_->state) == checksum_) return false;
  return Damaged("E_CHECKSUM", "a chunk's checksum does not match its content");
}

// ---- BulkChunkWriter

struct BulkChunkWriter::Checksum {
  XXH3_state_t state;
};

BulkChunkWriter::BulkChunkWriter(Syscalls& syscalls, MemfdWriter file)
    : syscalls_(syscalls),
      file_(std::move(file)),
      position_(kHeaderSize),
      checksum_(std::make_unique<Checksum>()) {
  XXH3_64bits_reset(&checksum_->state);
  buffer_.reserve(kPiece + kPiece / 4);
}

BulkChunkWriter::~BulkChunkWriter() = default;

absl::StatusOr<std::unique_ptr<BulkChunkWriter>> BulkChunkWriter::Create(Syscalls& syscalls,
                                                                         const char* name) {
  LIVEEXEC_ASSIGN_OR_RETURN(MemfdWriter file, MemfdWriter::Create(syscalls, name));
  const uint8_t header[kHeaderSize] = {};
  FileSizeSignalHeld held;
  LIVEEXEC_RETURN_IF_ERROR(file.Append(header));
  return std::unique_ptr<BulkChunkWriter>(new BulkChunkWriter(syscalls, std::move(file)));
}

void BulkChunkWriter::Append(const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  buffer_.insert(buffer_.end(), bytes, bytes + size);
}

absl::Status BulkChunkWriter::Add(uint64_t hash, bool marked, capnp::MessageBuilder& record) {
  index_.push_back({hash, position_ | (marked ? kMark : 0)});
  const auto segments = record.getSegmentsForOutput();
  uint64_t table[kMaxSegments / 2 + 1] = {};
  auto* words = reinterpret_cast<uint32_t*>(table);
  if (segments.size() > kMaxSegments) {
    return absl::ResourceExhaustedError("a record has too many segments");
  }
  words[0] = static_cast<uint32_t>(segments.size() - 1);
  for (size_t i = 0; i < segments.size(); ++i) {
    words[i + 1] = static_cast<uint32_t>(segments[i].size());
  }
  const size_t before = buffer_.size();
  Append(table, (segments.size() + 2) / 2 * sizeof(uint64_t));
  for (const auto& segment : segments) {
    Append(segment.begin(), segment.size() * sizeof(capnp::word));
  }
  position_ += buffer_.size() - before;
  return buffer_.size() < kPiece ? absl::OkStatus() : Flush();
}

absl::Status BulkChunkWriter::Flush() {
  if (buffer_.empty()) return absl::OkStatus();
  FileSizeSignalHeld held;
  XXH3_64bits_update(&checksum_->state, buffer_.data(), buffer_.size());
  LIVEEXEC_RETURN_IF_ERROR(file_->Append(buffer_));
  buffer_.clear();
  // What one large record has made is not kept for all the small ones.
  if (buffer_.capacity() > 4 * kPiece) std::vector<uint8_t>().swap(buffer_);
  return absl::OkStatus();
}

absl::StatusOr<bool> BulkChunkWriter::FinishSome() {
  if (!file_.has_value()) return chunk_.VerifySome(2 * kPiece);
  if (records_end_ == 0) records_end_ = position_;
  if (index_written_ < index_.size()) {
    const size_t count = std::min(index_.size() - index_written_, kPiece / sizeof(IndexEntry));
    Append(&index_[index_written_], count * sizeof(IndexEntry));
    index_written_ += count;
    LIVEEXEC_RETURN_IF_ERROR(Flush());
    return true;
  }
  LIVEEXEC_RETURN_IF_ERROR(Flush());
  LIVEEXEC_RETURN_IF_ERROR(WriteHeader());
  LIVEEXEC_ASSIGN_OR_RETURN(fd_, std::move(*file_).Seal());
  file_.reset();
  std::vector<IndexEntry>().swap(index_);
  std::vector<uint8_t>().swap(buffer_);
  LIVEEXEC_ASSIGN_OR_RETURN(chunk_, BulkChunk::Open(syscalls_, fd_.get()));
  return true;
}

absl::Status BulkChunkWriter::WriteHeader() {
  static_assert(sizeof(IndexEntry) == kIndexEntrySize);
  Header header = {};
  memcpy(header.magic, kMagic, sizeof(kMagic));
  header.format_version = kFormatVersion;
  header.header_size = kHeaderSize;
  header.records_length = records_end_ - kHeaderSize;
  header.records = index_.size();
  header.checksum = XXH3_64bits_digest(&checksum_->state);
  header.header_checksum = HeaderChecksum(header);
  return file_->WriteAt(0, {reinterpret_cast<const uint8_t*>(&header), sizeof(header)});
}

}  // namespace liveexec
