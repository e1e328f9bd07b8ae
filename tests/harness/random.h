// Random: the only source of chance in the harness, so that one number repeats a run.
//
//   Random random(RunSeed());
//   Random per_client = random.Fork(client_number);   // independent of how many values others have
//   drawn
//
// Not for secrets. A value type; not thread-safe.
#ifndef LIVEEXEC_TESTS_HARNESS_RANDOM_H_
#define LIVEEXEC_TESTS_HARNESS_RANDOM_H_

#include <cstdint>
#include <string>

namespace liveexec::harness {

// The mixing function of SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits.
inline uint64_t Mix64(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed), state_(Mix64(seed)) {}

  uint64_t Next() { return Mix64(state_++); }
  // A value of [0, bound); bound > 0. The bias for bounds below 2^32 is under 2^-32.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  // A value of [low, high].
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }

  Random Fork(uint64_t number) const { return Random(Mix64(seed_ ^ Mix64(number + 1))); }

 private:
  uint64_t seed_;
  uint64_t state_;
};

// The seed of this run: $LIVEEXEC_SEED, or a fresh one. It is printed to stderr once, with how to
// repeat it.
uint64_t RunSeed();

// A seed that nobody has chosen, from 1 to 2^32.
uint64_t FreshSeed();

// `size` bytes of the stream that `seed` names, from `position` on. Each aligned block of eight
// bytes is a function of its position, so a piece of 16 bytes occurs at one position only: loss and
// doubling can be located.
std::string PositionCodedBytes(uint64_t seed, uint64_t position, uint64_t size);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_RANDOM_H_
