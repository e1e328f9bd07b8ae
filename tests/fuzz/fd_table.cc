// The fd table against the channel. The input describes a channel (what is in it, and how it is cut
// into batches) and a table that may say something else; a model says what has to come of it.
//
//   byte 0        1: as a rehearsal receives it
//   byte 1        how many images
//   byte 2        how many fds are in the channel, then one byte for each: its kind
//   then a byte   how many entries the table has, then two bytes for each: which fd it describes,
//                 and what is wrong with it
//   the rest      how many fds each batch has
#include "handoff/fd_table.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "core/fd_channel.h"
#include "core/syscalls.h"
#include "handoff/component.h"
#include "handoff/error_code.h"
#include "handoff/flight_recorder.h"
#include "handoff/image_file.h"
#include "handoff/inheritance.h"
#include "handoff/manifest.h"
#include "handoff/program_note.h"
#include "handoff/receiver.h"
#include "handoff/rollback.h"
#include "handoff/stand_ins.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

constexpr ImageStamp kStamp = {.generation = 2, .nonce = {1, 2, 3}};
constexpr std::array kKinds = {FdKind::kMemfd,    FdKind::kPipe,    FdKind::kUnixStream,
                               FdKind::kUdp,      FdKind::kEventfd, FdKind::kTimerfd,
                               FdKind::kSignalfd, FdKind::kEpoll};
// A bit that no number has which the kernel gives out one after the other: what is damaged is not
// by chance that of the next fd.
constexpr uint64_t kDamage = uint64_t{1} << 40;
constexpr std::array kComponents = {"one", "two"};

Syscalls& Kernel() { return Syscalls::Kernel(); }

template <typename Value>
Value Take(absl::StatusOr<Value> value) {
  FUZZ_CHECK_OK(value.status());
  return *std::move(value);
}

struct Scene {
  bool rehearsal = false;
  std::vector<UniqueFd> images;
  std::vector<UniqueFd> peers;
  std::vector<UniqueFd> fds;
  Manifest manifest;
  std::vector<size_t> batches;  // sizes, after the bootstrap batch
  bool right = true;            // the receiver finds that every entry describes the fd at its place
  bool doubled = false;         // two entries have one role
};

void AddImage(Scene& scene) {
  capnp::MallocMessageBuilder message;
  message.initRoot<capnp::AnyPointer>();
  WrittenImage image = Take(WriteImage(Kernel(), "fuzz", kStamp, message));
  scene.manifest.components.push_back({.name = kComponents[scene.images.size()],
                                       .schema_version = 1,
                                       .has_image = true,
                                       .length = image.length,
                                       .checksum = image.checksum});
  scene.images.push_back(std::move(image.fd));
}

// How the fd at an entry's place compares with what the entry says.
struct Comparison {
  bool same_inode = false;  // or the same socket
  bool same_kind = false;   // anonymous ones have one inode, whatever they are
};

// An entry for fd `index`, with `damage` done to it.
Comparison AddEntry(Scene& scene, size_t place, uint8_t index, uint8_t damage) {
  FdInspector inspector(Kernel());
  FdEntry entry{.component = kComponents[damage >> 7], .role = "r", .number = place};
  Comparison found;
  if (!scene.fds.empty()) {
    index = static_cast<uint8_t>(index % scene.fds.size());
    entry.identity = Take(inspector.Inspect(scene.fds[index].get()));
    if (place < scene.fds.size()) {
      const FdIdentity there = Take(inspector.Inspect(scene.fds[place].get()));
      found.same_kind = there.kind == entry.identity.kind;
      found.same_inode = there.device == entry.identity.device &&
                         there.inode == entry.identity.inode &&
                         there.socket_cookie == entry.identity.socket_cookie;
    }
  }
  switch (damage % 8) {
    case 1:
      entry.identity.inode ^= kDamage;
      found.same_inode = found.same_inode && entry.identity.socket_cookie != 0;
      break;
    case 2:
      entry.identity.device ^= kDamage;
      found.same_inode = found.same_inode && entry.identity.socket_cookie != 0;
      break;
    case 3:
      entry.identity.socket_cookie ^= kDamage;
      found.same_inode = false;
      break;
    case 4:
      entry.number = 0;
      break;
    case 5:
      entry.role = std::string(300, 'r');
      break;
    default:
      break;
  }
  for (const FdEntry& other : scene.manifest.fds) {
    scene.doubled = scene.doubled || (other.component == entry.component &&
                                      other.role == entry.role && other.number == entry.number);
  }
  scene.manifest.fds.push_back(std::move(entry));
  return found;
}

// Of a row of one kind, only the ends are looked at for it.
bool IsWithinRow(const std::vector<FdEntry>& entries, size_t i) {
  const auto same_kind = [&](size_t other) {
    return other < entries.size() && entries[other].identity.kind == entries[i].identity.kind;
  };
  return same_kind(i - 1) && same_kind(i + 1);
}

Scene Build(Input& input) {
  Scene scene;
  scene.manifest.framework_abi = kFrameworkAbi;
  scene.manifest.application = "fuzz";
  scene.manifest.version = "1";
  scene.rehearsal = input.Byte() % 2 == 1;
  for (int images = input.Byte() % 3; images > 0; --images) AddImage(scene);
  for (int fds = input.Byte() % 9; fds > 0; --fds) {
    const FdKind kind = kKinds[input.Byte() % kKinds.size()];
    scene.fds.push_back(Take(MakeStandIn(kind, false, scene.peers)));
  }
  const size_t entries = input.Byte() % 9;
  std::vector<Comparison> found;
  for (size_t i = 0; i < entries; ++i) {
    const uint8_t index = input.Byte();
    const uint8_t damage = input.Byte();
    found.push_back(AddEntry(scene, i, index, damage));
  }
  for (size_t i = 0; i < entries; ++i) {
    const bool passes = found[i].same_kind || IsWithinRow(scene.manifest.fds, i);
    scene.right = scene.right && found[i].same_inode && passes;
  }
  for (size_t left = scene.images.size() + scene.fds.size(); left > 0;) {
    const uint8_t wanted = input.Byte();
    scene.batches.push_back(wanted == 0 ? left : std::min<size_t>(wanted, left));
    left -= scene.batches.back();
  }
  return scene;
}

void Send(const FdChannelEnds& channel, const std::vector<int>& fds) {
  FUZZ_CHECK_OK(SendFdBatch(Kernel(), channel.sender.get(), fds));
}

FdChannelEnds Fill(const Scene& scene) {
  FdChannelEnds channel = Take(CreateFdChannel(Kernel()));
  capnp::MallocMessageBuilder message;
  WriteManifest(scene.manifest, message.initRoot<image::Manifest>());
  const WrittenImage manifest = Take(WriteImage(Kernel(), "manifest", kStamp, message));
  const FlightRecorder recorder = Take(FlightRecorder::Create(Kernel()));
  const UniqueFd program(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  std::vector<int> bootstrap(kBootstrapFdCount);
  bootstrap[kManifestFd] = manifest.fd.get();
  bootstrap[kRecorderFd] = recorder.fd();
  bootstrap[kOldProgramFd] = program.get();
  Send(channel, bootstrap);
  std::vector<int> all;
  for (const UniqueFd& fd : scene.images) all.push_back(fd.get());
  for (const UniqueFd& fd : scene.fds) all.push_back(fd.get());
  size_t next = 0;
  for (const size_t size : scene.batches) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(next);
    Send(channel, {begin, begin + static_cast<std::ptrdiff_t>(size)});
    next += size;
  }
  return channel;
}

// Whether the batches have a beginning of exactly `count` fds: only whole batches are received.
bool BatchesAdd(const Scene& scene, size_t count) {
  size_t sum = 0;
  for (const size_t size : scene.batches) {
    if (sum >= count) break;
    sum += size;
  }
  return sum == count;
}

void TakeEach(std::vector<FdEntry> entries, std::vector<UniqueFd> fds, bool doubled) {
  const std::vector<FdEntry> table = entries;
  auto escrow = EscrowFds::Create(std::move(entries), std::move(fds));
  FUZZ_CHECK(escrow.ok() == !doubled);
  if (doubled) return FUZZ_CHECK(CodeOf(escrow.status()) == "E_FDTABLE");
  FUZZ_CHECK(escrow->NotTaken(table.size()).size() == table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    const FdEntry& entry = table[i];
    const UniqueFd fd = Take(escrow->Take(entry.component, entry.role, entry.number));
    const auto depth =
        IsWithinRow(table, i) ? FdInspector::Depth::kInode : FdInspector::Depth::kAll;
    FUZZ_CHECK_OK(FdInspector(Kernel()).Matches(fd.get(), entry.identity, depth));
    FUZZ_CHECK(!escrow->Take(entry.component, entry.role, entry.number).ok());
  }
  FUZZ_CHECK(escrow->NotTaken(1).empty());
}

void Check(Input& input) {
  const NoFdIsLeaked closed;
  Scene scene = Build(input);
  const FdChannelEnds channel = Fill(scene);
  const Inheritance inheritance = {
      .mode = scene.rehearsal ? StartMode::kRehearsal : StartMode::kUpgrade,
      .channel = channel.receiver.get(),
      .nonce = kStamp.nonce};
  Receiver receiver(Kernel(), inheritance);
  auto received = receiver.Receive();
  const size_t table = scene.rehearsal ? 0 : scene.manifest.fds.size();
  const bool whole = BatchesAdd(scene, scene.images.size() + table);
  // A table that is longer or shorter than what was sent misplaces nothing: images come first.
  const bool expected = whole && (scene.rehearsal || scene.right);
  FUZZ_CHECK(received.ok() == expected);
  if (!expected) {
    FUZZ_CHECK(CodeOf(received.status()) == (whole ? "E_FDTABLE" : "E_CHANNEL"));
    return;
  }
  ProgramNote note;
  note.application = "fuzz";
  note.version = "2";
  note.framework_abi = kFrameworkAbi;
  for (const char* name : kComponents) {
    note.components.push_back({.name = name, .writes = 1, .reads_oldest = 1});
  }
  auto verified = receiver.Verify(*std::move(received), note);
  FUZZ_CHECK_OK(verified.status());
  FUZZ_CHECK(verified->images.size() == scene.images.size());
  if (scene.rehearsal) return FUZZ_CHECK(verified->fds.empty());
  TakeEach(verified->manifest.fds, std::move(verified->fds), scene.doubled);
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  liveexec::fuzz::Input input(data, size);
  liveexec::fuzz::Check(input);
  return 0;
}
