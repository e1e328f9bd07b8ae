#include "core/resident_heap.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/resident_map.h"
#include "core/resident_region.h"
#include "core/syscalls.h"
#include "gtest/gtest.h"

namespace liveexec {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kLayout = ResidentLayout("test", 1).fingerprint();

ResidentRegion NewRegion(uint64_t capacity = 256 * kMiB) {
  auto region = ResidentRegion::Create(Syscalls::Kernel(), kLayout, capacity);
  EXPECT_TRUE(region.ok()) << region.status();
  return *std::move(region);
}

TEST(ResidentHeap, EverySizeIsServedAlignedAndApartFromAllOthers) {
  ResidentRegion region = NewRegion();
  ResidentHeap& heap = region.heap();
  std::vector<std::pair<unsigned char*, size_t>> objects;
  for (size_t size = 0; size < 70'000; size += 1 + size / 16) {
    auto* object = static_cast<unsigned char*>(heap.Allocate(size));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(object) % ResidentHeap::kAlignment, 0u);
    EXPECT_TRUE(heap.Contains(object));
    EXPECT_GE(ResidentHeap::UsableSize(size), size);
    memset(object, static_cast<int>(objects.size() & 0xff), size);
    objects.emplace_back(object, size);
  }
  for (size_t i = 0; i < objects.size(); ++i) {
    for (size_t at = 0; at < objects[i].second; ++at) ASSERT_EQ(objects[i].first[at], i & 0xff);
  }
}

TEST(ResidentHeap, NoSizeWastesMoreThanItsClassPromises) {
  for (size_t size = 128; size <= 8192; ++size) {
    EXPECT_LE(ResidentHeap::UsableSize(size), size + size / 8 + 16) << size;
  }
  EXPECT_EQ(ResidentHeap::UsableSize(40'000), 40'960u);
}

TEST(ResidentHeap, WhatIsFreedIsUsedAgain) {
  ResidentRegion region = NewRegion();
  ResidentHeap& heap = region.heap();
  void* small = heap.Allocate(100);
  heap.Free(small);
  EXPECT_EQ(heap.Allocate(100), small);
  void* large = heap.Allocate(kMiB);
  heap.Free(large);
  EXPECT_EQ(heap.Allocate(kMiB), large);
}

TEST(ResidentHeap, MemoryOfOneSizeServesAllOthersOnceItIsFree) {
  ResidentRegion region = NewRegion(16 * kMiB);
  ResidentHeap& heap = region.heap();
  for (size_t size : {16, 48, 1000, 5000, 20'000, 32'768, 100'000, 5'000'000, 16}) {
    std::vector<void*> objects;
    const size_t count = 12 * kMiB / std::max<size_t>(ResidentHeap::UsableSize(size), 24);
    for (size_t i = 0; i < count / 2; ++i) objects.push_back(heap.Allocate(size));
    // In an order that leaves chunks partly used for long.
    std::shuffle(objects.begin(), objects.end(), std::minstd_rand(1));
    for (void* object : objects) heap.Free(object);
  }
  // Of each class one chunk stays.
  EXPECT_LT(heap.usage().used, 8 * ResidentHeap::kChunkBytes);
  for (int i = 0; i < 6; ++i) heap.Allocate(kMiB);
}

TEST(ResidentHeap, FreeMemoryGoesBackToTheSystem) {
  ResidentRegion region = NewRegion();
  ResidentHeap& heap = region.heap();
  auto blocks = [&] {
    struct stat file;
    EXPECT_EQ(fstat(region.fd(), &file), 0);
    return static_cast<uint64_t>(file.st_blocks) * 512;
  };
  void* large = heap.Allocate(100 * kMiB);
  memset(large, 1, 100 * kMiB);
  EXPECT_GE(blocks(), 100 * kMiB);
  heap.Free(large);
  EXPECT_LT(blocks(), 2 * kMiB);
  std::vector<void*> small;
  for (size_t i = 0; i < 100'000; ++i) small.push_back(heap.Allocate(1000));
  EXPECT_GE(blocks(), 100'000'000u);
  for (void* object : small) heap.Free(object);
  // What it keeps for the next ones is bounded.
  EXPECT_LT(blocks(), 8 * kMiB);
  EXPECT_LE(heap.usage().idle, 5 * kMiB);
}

TEST(ResidentHeap, ThePagesOfALargeObjectAreThoseThatItNeeds) {
  ResidentRegion region = NewRegion();
  const uint64_t before = region.heap().usage().used;
  void* object = region.heap().Allocate(65 << 10);  // two chunks of address space
  EXPECT_EQ(region.heap().usage().used - before, uint64_t{68} << 10);
  region.heap().Free(object);
}

TEST(ResidentHeap, RunningOutIsAnErrorAndLeavesTheHeapAsItWas) {
  ResidentRegion region = NewRegion(2 * kMiB);
  ResidentHeap& heap = region.heap();
  EXPECT_THROW(heap.Allocate(2 * kMiB), std::bad_alloc);
  EXPECT_THROW(heap.Allocate(SIZE_MAX / 2), std::bad_alloc);
  std::vector<void*> objects;
  EXPECT_THROW(while (true) objects.push_back(heap.Allocate(4096)), std::bad_alloc);
  EXPECT_GT(objects.size(), 400u);
  EXPECT_FALSE(heap.HasRoom(ResidentHeap::kChunkBytes));
  for (void* object : objects) heap.Free(object);
  EXPECT_TRUE(heap.HasRoom(kMiB));
  EXPECT_NO_THROW(heap.Free(heap.Allocate(kMiB)));
}

// Random traffic against a model that notices every byte that changes hands wrongly.
TEST(ResidentHeap, KeepsContentsApartUnderRandomTraffic) {
  ResidentRegion region = NewRegion();
  ResidentHeap& heap = region.heap();
  std::mt19937 random(42);
  struct Object {
    unsigned char* memory;
    size_t size;
    unsigned char fill;
  };
  std::vector<Object> objects;
  auto check_and_free = [&](size_t at) {
    Object& object = objects[at];
    for (size_t i = 0; i < object.size; i += 1 + object.size / 8) {
      ASSERT_EQ(object.memory[i], object.fill);
    }
    const size_t last = object.size - 1;
    ASSERT_TRUE(object.size == 0 || object.memory[last] == object.fill);
    heap.Free(object.memory);
    objects[at] = objects.back();
    objects.pop_back();
  };
  for (int step = 0; step < 200'000; ++step) {
    const bool grow = objects.size() < 500 || (objects.size() < 5000 && random() % 2 == 0);
    if (!grow) {
      check_and_free(random() % objects.size());
      continue;
    }
    const size_t size = random() % (size_t{1} << (random() % 18));
    Object object{static_cast<unsigned char*>(heap.Allocate(size)), size,
                  static_cast<unsigned char>(random())};
    memset(object.memory, object.fill, size);
    objects.push_back(object);
  }
  while (!objects.empty()) check_and_free(objects.size() - 1);
}

TEST(ResidentAllocator, StandardContainersLiveInTheHeap) {
  ResidentRegion region = NewRegion();
  ResidentHeap& heap = region.heap();
  using String = std::basic_string<char, std::char_traits<char>, ResidentAllocator<char>>;
  ResidentAllocator<String> allocator(&heap);
  std::vector<String, ResidentAllocator<String>> list(allocator);
  std::map<int, int, std::less<>, ResidentAllocator<std::pair<const int, int>>> tree(
      ResidentAllocator<int>{&heap});
  std::deque<int, ResidentAllocator<int>> deque(ResidentAllocator<int>{&heap});
  for (int i = 0; i < 1000; ++i) {
    list.emplace_back(static_cast<size_t>(i), 'x', ResidentAllocator<char>(&heap));
    tree[i] = i;
    deque.push_back(i);
  }
  EXPECT_TRUE(heap.Contains(list[999].data()));
  EXPECT_TRUE(heap.Contains(&tree[500]));
  EXPECT_TRUE(heap.Contains(&deque[500]));
  EXPECT_EQ(list[999].size(), 999u);
}

TEST(ResidentMap, BehavesAsAMap) {
  ResidentRegion region = NewRegion();
  ResidentMap* map = ResidentMap::Make(&region.heap(), 7);
  std::unordered_map<std::string, std::string> model;
  std::mt19937 random(3);
  for (int step = 0; step < 100'000; ++step) {
    std::string key = "key:" + std::to_string(random() % 20'000);
    if (random() % 4 == 0) {
      EXPECT_EQ(map->Erase(key), model.erase(key) == 1);
    } else {
      std::string value(random() % 100, static_cast<char>(random()));
      EXPECT_EQ(map->Set(key, value), model.insert_or_assign(key, value).second);
    }
  }
  ASSERT_EQ(map->size(), model.size());
  for (const auto& [key, value] : model)
    ASSERT_EQ(map->Find(key), std::optional(std::string_view(value)));
  size_t visited = 0;
  map->ForEach([&](std::string_view key, std::string_view value) {
    ++visited;
    ASSERT_EQ(model.at(std::string(key)), value);
  });
  EXPECT_EQ(visited, model.size());
  EXPECT_EQ(map->Find("nobody"), std::nullopt);
  map->Clear();
  EXPECT_EQ(map->size(), 0u);
  EXPECT_EQ(map->Find("key:1"), std::nullopt);
  map->Set("", "");
  EXPECT_EQ(map->Find(""), std::optional(std::string_view()));
  ResidentMap::Destroy(map);
}

TEST(ResidentMap, AValueMayBeSetToAPartOfItself) {
  ResidentRegion region = NewRegion();
  ResidentMap* map = ResidentMap::Make(&region.heap(), 7);
  map->Set("key", "0123456789");
  map->Set("key", map->Find("key")->substr(5));
  EXPECT_EQ(map->Find("key"), std::optional(std::string_view("56789")));
}

TEST(ResidentMap, StaysAsItWasWhenMemoryRunsOut) {
  ResidentRegion region = NewRegion(2 * kMiB);
  ResidentMap* map = ResidentMap::Make(&region.heap(), 7);
  uint64_t count = 0;
  EXPECT_THROW(for (;; ++count) map->Set(std::to_string(count), std::string(1000, 'v')),
               std::bad_alloc);
  EXPECT_EQ(map->size(), count);
  EXPECT_EQ(map->Find(std::to_string(count)), std::nullopt);
  for (uint64_t i = 0; i < count; ++i) ASSERT_TRUE(map->Erase(std::to_string(i)));
  EXPECT_NO_THROW(map->Set("again", std::string(1000, 'v')));
}

TEST(ResidentUpdate, StaysOpenWhenAnExceptionLeavesIt) {
  ResidentRegion region = NewRegion();
  { ResidentUpdate update(&region.heap()); }
  EXPECT_FALSE(region.heap().in_update());
  try {
    ResidentUpdate update(&region.heap());
    throw 1;
  } catch (int) {
  }
  EXPECT_TRUE(region.heap().in_update());
  ResidentUpdate none(nullptr);
}

}  // namespace
}  // namespace liveexec
