#include "tests/harness/random.h"

#include <sys/random.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace liveexec::harness {

namespace {

uint64_t ChooseSeed() {
  if (const char* given = std::getenv("LIVEEXEC_SEED"); given != nullptr && *given != '\0') {
    return std::strtoull(given, nullptr, 10);
  }
  return FreshSeed();
}

}  // namespace

uint64_t FreshSeed() {
  uint32_t fresh = 0;
  if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh) fresh = 0;
  return uint64_t{fresh} + 1;
}

uint64_t RunSeed() {
  static const uint64_t seed = [] {
    const uint64_t chosen = ChooseSeed();
    std::fprintf(stderr, "seed %llu (repeat with LIVEEXEC_SEED=%llu)\n",
                 static_cast<unsigned long long>(chosen), static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

std::string PositionCodedBytes(uint64_t seed, uint64_t position, uint64_t size) {
  const uint64_t first_block = position / 8;
  const uint64_t last_block = (position + size + 7) / 8;
  std::string blocks((last_block - first_block) * 8, '\0');
  for (uint64_t block = first_block; block < last_block; ++block) {
    const uint64_t value = Mix64(seed ^ Mix64(block));
    std::memcpy(&blocks[(block - first_block) * 8], &value, sizeof value);
  }
  return blocks.substr(position % 8, size);
}

}  // namespace liveexec::harness
