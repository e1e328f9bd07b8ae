#include "tests/harness/byte_continuity.h"

#include <gtest/gtest.h>

#include "tests/harness/random.h"

namespace liveexec::harness {
namespace {

std::string Stream() { return PositionCodedBytes(7, 0, 100000); }

// Feeds `arrival` in pieces of random size to a check that expects `expected`.
ContinuityResult Check(const std::string& expected, const std::string& arrival, uint64_t seed) {
  Random random(seed);
  ByteContinuity check;
  check.Expect(expected);
  for (size_t at = 0; at < arrival.size();) {
    const size_t size = std::min<size_t>(arrival.size() - at, random.Between(1, 3000));
    check.Arrived(std::string_view(arrival).substr(at, size));
    at += size;
  }
  return check.Finish();
}

struct Damage {
  uint64_t lost, doubled, reordered, foreign;
};

void ExpectFound(const std::string& arrival, const Damage& damage) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ContinuityResult result = Check(Stream(), arrival, seed);
    EXPECT_EQ(result.bytes_lost, damage.lost) << result.ToString();
    EXPECT_EQ(result.bytes_doubled, damage.doubled) << result.ToString();
    EXPECT_EQ(result.bytes_reordered, damage.reordered) << result.ToString();
    EXPECT_EQ(result.bytes_foreign, damage.foreign) << result.ToString();
  }
}

TEST(ByteContinuityTest, AcceptsAStreamThatArrivesOnceWholeAndInOrder) {
  ExpectFound(Stream(), {0, 0, 0, 0});
  EXPECT_TRUE(Check(Stream(), Stream(), 1).findings.empty());
}

TEST(ByteContinuityTest, FindsALostByteAtAnyPlace) {
  for (const size_t at : {size_t{0}, size_t{1}, size_t{777}, size_t{50000}, size_t{99998}}) {
    std::string arrival = Stream();
    arrival.erase(at, 1);
    ExpectFound(arrival, {1, 0, 0, 0});
  }
}

TEST(ByteContinuityTest, FindsTheLastByteMissing) {
  ExpectFound(Stream().substr(0, 99999), {1, 0, 0, 0});
}

TEST(ByteContinuityTest, FindsADoubledByteAtAnyPlace) {
  for (const size_t at : {size_t{0}, size_t{1}, size_t{777}, size_t{50000}, size_t{99000}}) {
    std::string arrival = Stream();
    arrival.insert(at, 1, arrival[at]);
    const ContinuityResult result = Check(Stream(), arrival, at);
    // A doubled byte may equally be a byte from nowhere that happens to look like its neighbour.
    EXPECT_EQ(result.bytes_doubled + result.bytes_foreign, 1u) << result.ToString();
    EXPECT_EQ(result.bytes_lost, 0u) << result.ToString();
  }
}

TEST(ByteContinuityTest, FindsADoubledBlock) {
  std::string arrival = Stream();
  arrival.insert(40000, arrival.substr(39000, 1000));
  ExpectFound(arrival, {0, 1000, 0, 0});
}

TEST(ByteContinuityTest, FindsADoubledEnd) {
  ExpectFound(Stream() + Stream().substr(99950), {0, 50, 0, 0});
}

TEST(ByteContinuityTest, FindsALostBlockAndNamesItsPlace) {
  std::string arrival = Stream();
  arrival.erase(12345, 500);
  ExpectFound(arrival, {500, 0, 0, 0});
  const ContinuityResult result = Check(Stream(), arrival, 1);
  ASSERT_EQ(result.findings.size(), 1u);
  EXPECT_EQ(result.findings[0], "at byte 12345: 500 bytes are missing");
}

TEST(ByteContinuityTest, TellsReorderedFromLostAndDoubled) {
  const std::string stream = Stream();
  ExpectFound(stream.substr(0, 5000) + stream.substr(5100, 300) + stream.substr(5000, 100) +
                  stream.substr(5400),
              {0, 0, 100, 0});
}

TEST(ByteContinuityTest, FindsAnAlteredByte) {
  std::string arrival = Stream();
  arrival[60000] = static_cast<char>(arrival[60000] ^ 1);
  ExpectFound(arrival, {1, 0, 0, 1});
}

TEST(ByteContinuityTest, FindsForeignBytes) {
  std::string arrival = Stream();
  arrival.insert(30000, "-ERR nobody asked for this reply\r\n");
  ExpectFound(arrival, {0, 0, 0, 34});
}

TEST(ByteContinuityTest, GivesUpOnADifferentStreamWithoutCallingItIntact) {
  const ContinuityResult result = Check(Stream(), PositionCodedBytes(8, 0, 100000), 1);
  EXPECT_EQ(result.bytes_lost, 100000u);
  EXPECT_EQ(result.bytes_foreign, 100000u);
}

TEST(ByteContinuityTest, KeepsBoundedHistoryOfALongStream) {
  ByteContinuity check;
  for (uint64_t at = 0; at < (uint64_t{16} << 20); at += 65536) {
    const std::string piece = PositionCodedBytes(3, at, 65536);
    check.Expect(piece);
    check.Arrived(piece);
    EXPECT_TRUE(check.complete());
  }
  EXPECT_TRUE(check.Finish().intact());
}

}  // namespace
}  // namespace liveexec::harness
