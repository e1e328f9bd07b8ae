#include "core/resident_region.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/resident_map.h"
#include "core/testing/faulty_syscalls.h"
#include "core/testing/in_child.h"
#include "core/testing/open_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kCapacity = 16 * kMiB;
constexpr uint64_t kLayout = ResidentLayout("test", 1).fingerprint();
constexpr ResidentNonce kNonce = {1, 2, 3};

Syscalls& Kernel() { return Syscalls::Kernel(); }

ResidentRegion NewRegion(uint64_t capacity = kCapacity) {
  auto region = ResidentRegion::Create(Kernel(), kLayout, capacity);
  EXPECT_TRUE(region.ok()) << region.status();
  return *std::move(region);
}

UniqueFd Duplicate(int fd) { return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

// The region as the next program gets it: its fd, and nothing mapped.
struct Handed {
  UniqueFd fd;
  ResidentPlace place;
};

Handed HandOver(ResidentRegion region) {
  EXPECT_TRUE(region.Quiesce(kNonce).ok());
  return {Duplicate(region.fd()), region.place()};
}

absl::StatusOr<ResidentRegion> Take(const Handed& handed, const ResidentNonce& nonce = kNonce) {
  return ResidentRegion::Attach(Kernel(), Duplicate(handed.fd.get()), handed.place, nonce);
}

TEST(ResidentRegion, WhatIsInItIsThereInTheNextMapping) {
  ResidentRegion region = NewRegion();
  ResidentMap* map = ResidentMap::Make(&region.heap(), 1);
  for (int i = 0; i < 1000; ++i) map->Set(std::to_string(i), std::string(100, 'v'));
  region.heap().set_root(map);
  Handed handed = HandOver(std::move(region));
  auto taken = Take(handed);
  ASSERT_TRUE(taken.ok()) << taken.status();
  map = static_cast<ResidentMap*>(taken->heap().root());
  EXPECT_EQ(map->size(), 1000u);
  EXPECT_EQ(map->Find("999"), std::optional<std::string_view>(std::string(100, 'v')));
  ASSERT_TRUE(taken->MakeWritable().ok());
  map->Set("more", "data");
  EXPECT_EQ(map->size(), 1001u);
}

TEST(ResidentRegion, GrowsOverManyHandoversAndGivesMemoryBack) {
  ResidentRegion region = NewRegion(64 * kMiB);
  region.heap().set_root(ResidentMap::Make(&region.heap(), 1));
  for (int crossing = 0; crossing < 50; ++crossing) {
    Handed handed = HandOver(std::move(region));
    auto taken = Take(handed);
    ASSERT_TRUE(taken.ok()) << taken.status();
    ASSERT_TRUE(taken->MakeWritable().ok());
    auto* map = static_cast<ResidentMap*>(taken->heap().root());
    map->Set(std::to_string(crossing), std::string(500'000, 'v'));
    EXPECT_EQ(map->size(), static_cast<uint64_t>(crossing + 1));
    region = *std::move(taken);
  }
  EXPECT_GT(region.heap().usage().used, 25'000'000u);
  static_cast<ResidentMap*>(region.heap().root())->Clear();
  EXPECT_LT(region.heap().usage().used, kMiB);
  EXPECT_LT(region.heap().usage().idle, 5 * kMiB);
}

TEST(ResidentRegion, AWriteBeforeItIsMadeWritableIsASegmentationFault) {
  Handed handed = HandOver(NewRegion());
  EXPECT_EQ(InChild([&]() -> std::string {
              auto taken = Take(handed);
              if (!taken.ok()) return taken.status().ToString();
              taken->heap().Allocate(16);
              return "it was written";
            }),
            "died of signal " + std::to_string(SIGSEGV));
}

TEST(ResidentRegion, IsInUseUntilItIsQuiescedAndAgainAfterwards) {
  ResidentRegion region = NewRegion();
  ResidentPlace place = region.place();
  UniqueFd fd = Duplicate(region.fd());
  auto attach = [&] {
    return InChild([&]() -> std::string {
      munmap(reinterpret_cast<void*>(place.base), place.capacity);
      return Take({Duplicate(fd.get()), place}).status().ToString();
    });
  };
  EXPECT_THAT(attach(), testing::HasSubstr("a program was using it"));
  ASSERT_TRUE(region.Quiesce(kNonce).ok());
  EXPECT_EQ(attach(), "OK");
  EXPECT_TRUE(region.Unchanged().ok());
  region.Resume();
  EXPECT_THAT(attach(), testing::HasSubstr("a program was using it"));
  EXPECT_TRUE(absl::IsDataLoss(region.Unchanged()));
}

TEST(ResidentRegion, IsNotHandedOverInTheMiddleOfAnUpdate) {
  ResidentRegion region = NewRegion();
  region.heap().BeginUpdate();
  EXPECT_TRUE(absl::IsDataLoss(region.Quiesce(kNonce)));
  region.heap().EndUpdate();
  EXPECT_TRUE(region.Quiesce(kNonce).ok());
  region.heap().BeginUpdate();
  region.heap().EndUpdate();
  EXPECT_TRUE(absl::IsDataLoss(region.Unchanged())) << "an update after the end is noticed";
}

TEST(ResidentRegion, AnotherUpgradesNonceIsTorn) {
  Handed handed = HandOver(NewRegion());
  EXPECT_TRUE(absl::IsDataLoss(Take(handed, {9}).status()));
  EXPECT_TRUE(Take(handed).ok());
}

TEST(ResidentRegion, EveryChangedByteOfItsHeaderIsNoticed) {
  Handed handed = HandOver(NewRegion());
  std::string page(4096, '\0');
  ASSERT_EQ(pread(handed.fd.get(), page.data(), page.size(), 0), 4096);
  size_t end = page.find_last_not_of('\0') + 1;
  ASSERT_GT(end, 100u);
  for (size_t at = 0; at < end; ++at) {
    const char wrong = static_cast<char>(page[at] ^ 0x40);
    ASSERT_EQ(pwrite(handed.fd.get(), &wrong, 1, static_cast<off_t>(at)), 1);
    absl::Status status = Take(handed).status();
    EXPECT_TRUE(absl::IsDataLoss(status) || absl::IsFailedPrecondition(status))
        << "byte " << at << ": " << status;
    ASSERT_EQ(pwrite(handed.fd.get(), &page[at], 1, static_cast<off_t>(at)), 1);
  }
  EXPECT_TRUE(Take(handed).ok());
}

TEST(ResidentRegion, AnotherLayoutSizePlaceOrFileIsRefused) {
  Handed handed = HandOver(NewRegion());
  auto with = [&](auto change) {
    Handed other{Duplicate(handed.fd.get()), handed.place};
    change(other);
    return Take(other).status();
  };
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) { ++h.place.layout; })));
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) { h.place.base += 2 * kMiB; })));
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) { h.place.base = 0; })));
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) { h.place.capacity *= 2; })));
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) { h.place.id[3] ^= 1; })));
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) {
    h.fd = UniqueFd(memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(h.fd.get(), kCapacity), 0);
  }))) << "a file that could shrink";
  EXPECT_TRUE(absl::IsFailedPrecondition(with([](Handed& h) {
    h.fd = UniqueFd(memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(ftruncate(h.fd.get(), kCapacity), 0);
    ASSERT_EQ(fcntl(h.fd.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  }))) << "no header";
  EXPECT_TRUE(absl::IsFailedPrecondition(
      with([](Handed& h) { h.fd = UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)); })));
}

TEST(ResidentRegion, ATakenAddressIsAnErrorOfItsOwnAndHarmsNobody) {
  Handed handed = HandOver(NewRegion());
  auto* address = reinterpret_cast<char*>(handed.place.base + kMiB);
  void* squatter = mmap(address, 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(squatter, address);
  *address = 'x';
  EXPECT_TRUE(absl::IsAlreadyExists(Take(handed).status()));
  EXPECT_EQ(*address, 'x');
  munmap(squatter, 4096);
  EXPECT_TRUE(Take(handed).ok());
}

TEST(ResidentRegion, ARehearsalMapsALiveRegionThatItCannotWrite) {
  ResidentRegion region = NewRegion();
  ResidentPlace place = region.place();
  const std::string path = "/proc/self/fd/" + std::to_string(region.fd());
  UniqueFd read_only(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(read_only);
  EXPECT_EQ(InChild([&]() -> std::string {
              munmap(reinterpret_cast<void*>(place.base), place.capacity);
              auto live = ResidentRegion::AttachLive(Kernel(), Duplicate(read_only.get()), place);
              if (!live.ok()) return live.status().ToString();
              return live->MakeWritable().ok() ? "it could be made writable" : "";
            }),
            "");
}

TEST(ResidentRegion, ShardsHavePlacesOfTheirOwnAndThreadsDoNotMeet) {
  constexpr int kShards = 4;
  std::vector<ResidentRegion> shards;
  for (int i = 0; i < kShards; ++i) shards.push_back(NewRegion(64 * kMiB));
  std::vector<std::thread> threads;
  for (int i = 0; i < kShards; ++i) {
    threads.emplace_back([&heap = shards[static_cast<size_t>(i)].heap()] {
      ResidentMap* map = ResidentMap::Make(&heap, 1);
      for (int key = 0; key < 20'000; ++key) map->Set(std::to_string(key), "value");
      heap.set_root(map);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (ResidentRegion& shard : shards) {
    EXPECT_EQ(static_cast<ResidentMap*>(shard.heap().root())->size(), 20'000u);
  }
}

TEST(ResidentRegion, SystemErrorsAreErrorsAndLeakNoFd) {
  const auto before = OpenFiles();
  for (int error : {ENOMEM, ENOSPC, EMFILE}) {
    const int calls = ForEachCall(error, Times::kOnce, [](FaultySyscalls& syscalls) {
      auto region = ResidentRegion::Create(syscalls, kLayout, kCapacity);
      if (!region.ok()) return;
      EXPECT_TRUE(region->Quiesce(kNonce).ok());
      Handed handed = HandOver(*std::move(region));
      auto taken = ResidentRegion::Attach(syscalls, std::move(handed.fd), handed.place, kNonce);
      if (taken.ok()) taken->MakeWritable().IgnoreError();
    });
    EXPECT_GT(calls, 8);
  }
  EXPECT_EQ(OpenFiles(), before);
}

TEST(ResidentRegion, LimitsAreErrorsNotSignals) {
  auto with_limit = [](__rlimit_resource resource, uint64_t bytes) {
    return InChild([=]() -> std::string {
      struct rlimit limit = {bytes, bytes};
      if (setrlimit(resource, &limit) != 0) return "setrlimit";
      const uint64_t fits = DefaultResidentCapacity(Kernel());
      if (fits > bytes) return "the default does not fit";
      auto region = ResidentRegion::Create(Kernel(), kLayout, uint64_t{1} << 40);
      return region.ok() ? "it was made" : "";
    });
  };
  EXPECT_EQ(with_limit(RLIMIT_FSIZE, uint64_t{1} << 30), "");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_EQ(with_limit(RLIMIT_AS, uint64_t{1} << 30), "");
#endif
}

TEST(ResidentRegion, IsLeftOutOfCoreDumps) {
  ResidentRegion region = NewRegion();
  FILE* maps = fopen("/proc/self/smaps", "re");
  ASSERT_NE(maps, nullptr);
  char line[512];
  bool here = false;
  bool left_out = false;
  while (fgets(line, sizeof(line), maps) != nullptr) {
    if (strchr(line, '-') != nullptr && strchr(line, ':') > strchr(line, '-')) {
      here = strstr(line, "liveexec-resident") != nullptr;
    }
    if (here && strncmp(line, "VmFlags:", 8) == 0) left_out = strstr(line, " dd") != nullptr;
  }
  fclose(maps);
  EXPECT_TRUE(left_out);
}

TEST(ResidentLayout, TellsTypesNamesAndVersionsApart) {
  struct Small {
    int a;
  };
  struct Large {
    int a, b;
  };
  const uint64_t base = ResidentLayout("a", 1).Type<Small>().fingerprint();
  EXPECT_EQ(ResidentLayout("a", 1).Type<Small>().fingerprint(), base);
  EXPECT_NE(ResidentLayout("b", 1).Type<Small>().fingerprint(), base);
  EXPECT_NE(ResidentLayout("a", 2).Type<Small>().fingerprint(), base);
  EXPECT_NE(ResidentLayout("a", 1).Type<Large>().fingerprint(), base);
  EXPECT_NE(ResidentLayout("a", 1).Type<Small>().Number(offsetof(Large, b)).fingerprint(), base);
  EXPECT_LT(base, uint64_t{1} << 62);
}

}  // namespace
}  // namespace liveexec
