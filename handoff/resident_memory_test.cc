#include "handoff/resident_memory.h"

#include <capnp/serialize.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/resident_map.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "handoff/error_code.h"
#include "handoff/program_note.h"
#include "handoff/resident.capnp.h"

namespace liveexec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kLayout = ResidentLayout("test", 1).fingerprint();
constexpr uint64_t kOtherLayout = ResidentLayout("test", 2).fingerprint();
constexpr uint64_t kCapacity = 8 << 20;

ProgramNote NoteReading(uint64_t layout) {
  ProgramNote note;
  note.resident_layouts.push_back({"memory", layout});
  return note;
}

std::unique_ptr<ResidentMemory> NewMemory(uint32_t shards = 1, uint64_t layout = kLayout,
                                          uint64_t capacity = kCapacity) {
  return std::make_unique<ResidentMemory>(
      ResidentMemoryOptions{.layout = layout, .capacity = capacity, .shards = shards});
}

// An upgrade without exec: the old program's memory is gone before the new one's comes.
class Handover final : public FdSource {
 public:
  explicit Handover(Successor successor) { context_.set_successor(successor); }
  ~Handover() noexcept override = default;  // a message's is not noexcept

  absl::Status Export(ResidentMemory& memory) {
    absl::Status status = memory.Export(context_);
    for (const CarriedFd& carried : context_.fds()) {
      fds_[carried.number] = UniqueFd(fcntl(carried.fd, F_DUPFD_CLOEXEC, 3));
    }
    return status;
  }
  absl::Status Rehydrate(ResidentMemory& memory, bool rehearsal = false) {
    auto words = capnp::messageToFlatArray(context_.message());
    capnp::FlatArrayMessageReader reader(words);
    import_.emplace("memory", 1, &reader, this, rehearsal);
    return memory.Rehydrate(*import_);
  }

  absl::StatusOr<UniqueFd> Take(std::string_view, std::string_view, uint64_t number) override {
    auto found = fds_.find(number);
    if (found == fds_.end()) return absl::NotFoundError("no such fd");
    return UniqueFd(fcntl(found->second.get(), F_DUPFD_CLOEXEC, 3));
  }
  std::vector<uint64_t> Numbers(std::string_view, std::string_view) const override { return {}; }

  ExportContext& context() { return context_; }
  ImportContext& import() { return *import_; }
  std::map<uint64_t, UniqueFd>& fds() { return fds_; }

 private:
  ExportContext context_;
  std::optional<ImportContext> import_;
  std::map<uint64_t, UniqueFd> fds_;
};

ResidentMap* MapIn(ResidentMemory& memory, size_t shard = 0) {
  return static_cast<ResidentMap*>(memory.heap(shard).root());
}

TEST(ResidentMemory, EveryShardIsThereAfterManyUpgradesAndServesItsOwnThread) {
  constexpr uint32_t kShards = 4;
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory(kShards);
  ASSERT_TRUE(memory->Initialize().ok());
  EXPECT_FALSE(memory->arrived());
  for (size_t i = 0; i < kShards; ++i) {
    memory->heap(i).set_root(ResidentMap::Make(&memory->heap(i), i));
  }
  for (int upgrade = 0; upgrade < 20; ++upgrade) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kShards; ++i) {
      threads.emplace_back([&, i] {
        for (int key = 0; key < 100; ++key) {
          MapIn(*memory, i)->Set(std::to_string(upgrade * 100 + key), std::to_string(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    Handover handover({.note = &note});
    ASSERT_TRUE(memory->Quiesce().ok());
    EXPECT_TRUE(memory->Crosses(handover.context()));
    ASSERT_TRUE(handover.Export(*memory).ok());
    EXPECT_EQ(handover.context().fds().size(), kShards);
    memory = NewMemory();
    ASSERT_TRUE(handover.Rehydrate(*memory).ok());
    EXPECT_TRUE(memory->arrived());
    EXPECT_EQ(memory->shards(), kShards);
    EXPECT_LT(handover.import().protected_begin(), handover.import().protected_end());
    memory->Committed();
  }
  for (size_t i = 0; i < kShards; ++i) {
    EXPECT_EQ(MapIn(*memory, i)->size(), 2000u);
    EXPECT_EQ(MapIn(*memory, i)->Find("1999"), std::optional(std::string_view(std::to_string(i))));
  }
}

TEST(ResidentMemory, StaysBehindWhenTheSuccessorReadsAnotherLayoutOrNone) {
  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  const ProgramNote other = NoteReading(kOtherLayout);
  const ProgramNote same = NoteReading(kLayout);
  const ProgramNote none;
  for (const Successor& successor :
       {Successor{.note = &other}, Successor{.note = &none}, Successor{},
        Successor{.note = &same, .portable_only = true}}) {
    Handover handover(successor);
    ASSERT_TRUE(memory->Quiesce().ok());
    EXPECT_FALSE(memory->Crosses(handover.context()));
    ASSERT_TRUE(handover.Export(*memory).ok());
    EXPECT_TRUE(handover.context().omitted());
    EXPECT_TRUE(handover.fds().empty());
    EXPECT_THAT(handover.context().notes(), ElementsAre(HasSubstr("stays behind")));
    memory->Resume();
  }
}

TEST(ResidentMemory, GoesOnAsBeforeWhenTheUpgradeIsAbandoned) {
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  ASSERT_TRUE(memory->Quiesce().ok());
  Handover abandoned({.note = &note});
  ASSERT_TRUE(abandoned.Export(*memory).ok());
  memory->Resume();
  memory->heap().Free(memory->heap().Allocate(100));
  // What was exported for the abandoned upgrade is good for nothing any more.
  memory = NewMemory();
  EXPECT_EQ(CodeOf(abandoned.Rehydrate(*memory)), "E_TORN");
  EXPECT_FALSE(memory->arrived());
}

TEST(ResidentMemory, ATornOneIsNeitherHandedOverNorTaken) {
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory(2);
  ASSERT_TRUE(memory->Initialize().ok());
  memory->heap(1).BeginUpdate();
  EXPECT_EQ(CodeOf(memory->Quiesce()), "E_TORN");
  memory->Resume();
  memory->heap(1).EndUpdate();
  ASSERT_TRUE(memory->Quiesce().ok());
  Handover handover({.note = &note});
  ASSERT_TRUE(handover.Export(*memory).ok());
  // A thread that nobody parked goes on writing.
  memory->heap(1).BeginUpdate();
  Handover late({.note = &note});
  EXPECT_EQ(CodeOf(late.Export(*memory)), "E_TORN");
  memory = NewMemory();
  EXPECT_EQ(CodeOf(handover.Rehydrate(*memory)), "E_TORN");
}

TEST(ResidentMemory, AnotherFileOrLayoutIsNotTaken) {
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  ASSERT_TRUE(memory->Quiesce().ok());
  Handover handover({.note = &note});
  ASSERT_TRUE(handover.Export(*memory).ok());
  memory = NewMemory(1, kOtherLayout);
  EXPECT_EQ(CodeOf(handover.Rehydrate(*memory)), "E_RESIDENT");
  handover.fds()[0] = UniqueFd(memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  memory = NewMemory();
  EXPECT_EQ(CodeOf(handover.Rehydrate(*memory)), "E_RESIDENT");
}

TEST(ResidentMemory, ATakenAddressHasACodeOfItsOwn) {
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  auto* address = reinterpret_cast<char*>(&memory->heap());
  address -= reinterpret_cast<uintptr_t>(address) % 4096;
  ASSERT_TRUE(memory->Quiesce().ok());
  Handover handover({.note = &note});
  ASSERT_TRUE(handover.Export(*memory).ok());
  memory = NewMemory();
  void* squatter =
      mmap(address, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(squatter, address);
  EXPECT_EQ(CodeOf(handover.Rehydrate(*memory)), "E_ADDRESS");
  munmap(squatter, 4096);
}

TEST(ResidentMemory, ARehearsalFindsThatItFitsAndHasNoHeap) {
  const ProgramNote note = NoteReading(kLayout);
  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  Handover handover({.note = &note, .rehearsal = true});
  handover.context().set_slice_end_ns(1);
  EXPECT_FALSE(memory->Crosses(handover.context())) << "a sample is to be exported";
  ASSERT_TRUE(handover.Export(*memory).ok());
  ASSERT_EQ(handover.context().fds().size(), 1u);
  EXPECT_TRUE(handover.context().fds()[0].lend);
  EXPECT_TRUE(memory->CrossesTo(handover.context().successor()));
  memory = NewMemory();
  ASSERT_TRUE(handover.Rehydrate(*memory, /*rehearsal=*/true).ok());
  EXPECT_FALSE(memory->arrived());
  EXPECT_FALSE(memory->has_heap());
}

TEST(ResidentMemory, WithoutCapacityThereIsNoneUntilSomeArrives) {
  const ProgramNote note = NoteReading(kLayout);
  auto none = NewMemory(1, kLayout, 0);
  ASSERT_TRUE(none->Initialize().ok());
  EXPECT_FALSE(none->has_heap());
  ASSERT_TRUE(none->Quiesce().ok());
  Handover nothing({.note = &note});
  ASSERT_TRUE(nothing.Export(*none).ok());
  EXPECT_TRUE(nothing.context().omitted());
  EXPECT_TRUE(nothing.context().notes().empty());

  auto memory = NewMemory();
  ASSERT_TRUE(memory->Initialize().ok());
  ASSERT_TRUE(memory->Quiesce().ok());
  Handover handover({.note = &note});
  ASSERT_TRUE(handover.Export(*memory).ok());
  memory.reset();
  ASSERT_TRUE(handover.Rehydrate(*none).ok());
  EXPECT_TRUE(none->arrived());
}

TEST(ResidentMemory, AMalformedImageIsRefused) {
  auto memory = NewMemory();
  for (int damage = 0; damage < 3; ++damage) {
    Handover handover({});
    auto image = handover.context().InitRoot<image::ResidentMemory>();
    auto shards = image.initShards(damage == 0 ? 0 : damage == 1 ? 65 : 1);
    if (damage == 2) shards[0].initId(3);
    EXPECT_EQ(CodeOf(handover.Rehydrate(*memory)), "E_RESIDENT") << damage;
  }
}

}  // namespace
}  // namespace liveexec
