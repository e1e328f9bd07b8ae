// ByteQueue: bytes that are appended at one end and consumed at the other, always contiguous.
//
// Appending and consuming cost amortised constant time a byte, whatever the pieces: the consumed
// part is only skipped, and moved over when it has grown as large as the rest. An empty queue holds
// no memory: buffers of ordinary size come from, and go back to, a BufferPool which the streams of
// one loop share, so that neither an idle connection costs memory nor a busy one an allocation per
// request.
//
// Not thread-safe. The pool must outlive its queues.
#ifndef LIVEEXEC_HANDOFF_UV_BYTE_QUEUE_H_
#define LIVEEXEC_HANDOFF_UV_BYTE_QUEUE_H_

#include <cstddef>
#include <string_view>
#include <vector>

namespace liveexec::uv {

class BufferPool {
 public:
  static constexpr size_t kBufferSize = 16 << 10;  // bytes

  BufferPool() = default;
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A buffer of kBufferSize bytes from malloc(); the caller owns it.
  char* Take();
  // Takes ownership of one that Take() gave.
  void GiveBack(char* buffer);

 private:
  static constexpr size_t kKept = 256;
  std::vector<char*> free_;
};

class ByteQueue {
 public:
  explicit ByteQueue(BufferPool* pool) : pool_(pool) {}
  ~ByteQueue() { Clear(); }
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  // Valid until the next non-const call.
  std::string_view view() const { return {data_ + begin_, size()}; }

  // `bytes` may not point into this queue.
  void Append(std::string_view bytes);

  // Room for `n` bytes at the end, to be filled and then committed in whole or part.
  char* Reserve(size_t n);
  void Commit(size_t n) { end_ += n; }

  // Drops the first `n` bytes, n <= size().
  void Consume(size_t n);
  // Drops everything and the memory too.
  void Clear();

 private:
  void Grow(size_t needed);
  void Release();  // frees data_

  BufferPool* pool_;
  char* data_ = nullptr;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_BYTE_QUEUE_H_
