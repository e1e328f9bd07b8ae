// Chunks of a bulk set, as demo-server's key space: records and index are the input, the header and
// the list in the image are right, so that everything behind the door is reached. Whatever is in
// there, the server serves, and in the end nothing is pending.
//
//   byte 0: the header is made (bit 0); the version of the state's format (bits 1 and 2)
//   byte 1: if it is made, the number of records
//   the rest: the file, or what comes behind the header
#include <capnp/message.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/fd_channel.h"
#include "demo-server/pending_keys.h"
#include "handoff/bulk.capnp.h"
#include "handoff/bulk_chunk.h"
#include "handoff/testing/image_bytes.h"
#include "tests/fuzz/demo_state.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

constexpr size_t kHeaderSize = 64;
constexpr size_t kIndexEntrySize = 16;

void Store(std::vector<uint8_t>& bytes, size_t at, uint64_t value) {
  memcpy(&bytes[at], &value, sizeof(value));
}

// A chunk around `content` with as many index entries as fit, `records` at most.
std::vector<uint8_t> Repaired(size_t records, std::string_view content) {
  content = content.substr(0, content.size() / 8 * 8);
  records = std::min(records, content.size() / kIndexEntrySize);
  const size_t length = content.size() - records * kIndexEntrySize;
  std::vector<uint8_t> bytes(kHeaderSize);
  bytes.insert(bytes.end(), content.begin(), content.end());
  memcpy(bytes.data(), "LVXCHUNK", 8);
  Store(bytes, 8, uint64_t{kHeaderSize} << 32 | 1);
  Store(bytes, 16, length);
  Store(bytes, 24, records);
  Store(bytes, 32, XXH3_64bits(content.data(), content.size()));
  Store(bytes, 56, XXH3_64bits(bytes.data(), 56));
  return bytes;
}

// The chunk in an escrow, and the list that an image has of it.
absl::StatusOr<std::unique_ptr<demo::PendingKeys>> Open(demo::EngineHarness& server,
                                                        const demo::StateFormat& format,
                                                        int chunk_fd, const BulkChunk& chunk,
                                                        size_t size) {
  auto escrow = CreateFdChannel(Syscalls::Kernel());
  FUZZ_CHECK_OK(escrow.status());
  FUZZ_CHECK_OK(SendFdBatch(Syscalls::Kernel(), escrow->sender.get(), {chunk_fd}));
  capnp::MallocMessageBuilder message;
  auto listed = message.initRoot<image::BulkSet>().initChunks(1)[0];
  listed.setRecords(static_cast<uint32_t>(chunk.records()));
  listed.setSize(size);
  listed.setHeaderChecksum(chunk.header_checksum());
  listed.setLastHash(~uint64_t{0});
  return demo::PendingKeys::Open(server.engine(), format, std::move(escrow->receiver),
                                 message.getRoot<image::BulkSet>().asReader());
}

void Serve(demo::EngineHarness& server, demo::PendingKeys& pending) {
  demo::Database& database = server.engine().keyspace().database(0);
  database.set_pending(&pending);
  demo::TestClient client(server);
  for (const char* command : {"DBSIZE", "EXISTS k1 k2", "GET k1", "KEYS *", "SCAN 0 COUNT 3",
                              "RANDOMKEY", "SET k1 v", "DEL k2", "INFO"}) {
    client.Call(command);
  }
  while (pending.size() > 0) pending.LoadSome(database);
  FUZZ_CHECK(pending.volatile_size() == 0);
  client.Call("FLUSHALL");
  database.set_pending(nullptr);
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace liveexec;        // NOLINT: it has no namespace of its own
  using namespace liveexec::fuzz;  // NOLINT
  NoFdIsLeaked fds;
  Input input(data, size);
  const uint8_t how = input.Byte();
  std::vector<uint8_t> bytes;
  if ((how & 1) != 0) {
    const size_t records = input.Byte();
    bytes = Repaired(records, input.Rest());
  } else {
    bytes.assign(input.Rest().begin(), input.Rest().end());
  }
  const UniqueFd fd = SealedWith(bytes);
  auto chunk = BulkChunk::Open(Syscalls::Kernel(), fd.get());
  if (!chunk.ok()) {
    FUZZ_CHECK((how & 1) == 0);
    return 0;
  }
  absl::StatusOr<bool> more = true;
  while (more.ok() && *more) more = chunk->VerifySome(64);
  if (chunk->records() == 0) return 0;
  demo::EngineHarness server;
  auto pending = Open(server, FormatOf((how >> 1 & 3) % 3), fd.get(), *chunk, bytes.size());
  FUZZ_CHECK_OK(pending.status());
  Serve(server, **pending);
  return 0;
}
