#define XXH_INLINE_ALL
#include "demo-server/data/hash_bytes.h"

#include <xxhash.h>

namespace liveexec::demo {

uint64_t HashBytes(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace liveexec::demo
