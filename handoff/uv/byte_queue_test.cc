#include "handoff/uv/byte_queue.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace liveexec::uv {
namespace {

std::string Pattern(size_t size, size_t from) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((from + i) * 131 >> 3);
  return bytes;
}

TEST(ByteQueue, HoldsTheSameBytesAsAStringWhateverThePieces) {
  BufferPool pool;
  ByteQueue queue(&pool);
  std::string model;
  std::mt19937 random(17);
  size_t produced = 0;
  for (int step = 0; step < 4000; ++step) {
    const size_t size = random() % (step % 100 == 0 ? 200'000 : 3'000);
    if (random() % 2 == 0) {
      const std::string bytes = Pattern(size, produced);
      produced += size;
      queue.Append(bytes);
      model += bytes;
    } else {
      const size_t consumed = std::min(size, model.size());
      queue.Consume(consumed);
      model.erase(0, consumed);
    }
    ASSERT_EQ(queue.view(), model) << "at step " << step;
  }
}

TEST(ByteQueue, KeepsWhatIsThereWhenRoomIsReservedAndCommittedInPart) {
  BufferPool pool;
  ByteQueue queue(&pool);
  queue.Append("abc");
  std::memcpy(queue.Reserve(100'000), "defghi", 6);
  queue.Commit(3);
  EXPECT_EQ(queue.view(), "abcdef");
  queue.Consume(4);
  queue.Append("xyz");
  EXPECT_EQ(queue.view(), "efxyz");
}

TEST(ByteQueue, GivesItsBufferToTheNextQueueWhenItIsEmpty) {
  BufferPool pool;
  ByteQueue first(&pool);
  first.Append("request");
  const char* buffer = first.view().data();
  first.Consume(7);
  ByteQueue second(&pool);
  second.Append("reply");
  EXPECT_EQ(second.view().data(), buffer);
}

// Were each byte moved at every step, this would take hours.
TEST(ByteQueue, TakesABigRequestInSmallPiecesAndGivesItInSmallPieces) {
  BufferPool pool;
  ByteQueue queue(&pool);
  const std::string piece = Pattern(1000, 0);
  constexpr int kPieces = 100'000;
  for (int i = 0; i < kPieces; ++i) queue.Append(piece);
  ASSERT_EQ(queue.size(), kPieces * piece.size());
  for (int i = 0; i < kPieces; ++i) {
    ASSERT_EQ(queue.view().substr(0, 1000), piece) << i;
    queue.Consume(1000);
    queue.Append("y");
  }
  EXPECT_EQ(queue.view(), std::string(kPieces, 'y'));
}

}  // namespace
}  // namespace liveexec::uv
