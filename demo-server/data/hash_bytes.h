// The hash of every table of the key space.
#ifndef LIVEEXEC_DEMO_SERVER_DATA_HASH_BYTES_H_
#define LIVEEXEC_DEMO_SERVER_DATA_HASH_BYTES_H_

#include <cstdint>
#include <string_view>

namespace liveexec::demo {

// Depends on nothing but its arguments, so that a SCAN cursor (a position in hash order) keeps its
// meaning in the next program as long as the seed is carried. The seed is random in a fresh start:
// clients choose keys.
uint64_t HashBytes(std::string_view bytes, uint64_t seed);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_DATA_HASH_BYTES_H_
