#include "handoff/uv/byte_queue.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace liveexec::uv {

BufferPool::~BufferPool() {
  for (char* buffer : free_) std::free(buffer);
}

char* BufferPool::Take() {
  if (free_.empty()) {
    auto* buffer = static_cast<char*>(std::malloc(kBufferSize));
    if (buffer == nullptr) throw std::bad_alloc();
    return buffer;
  }
  char* buffer = free_.back();
  free_.pop_back();
  return buffer;
}

void BufferPool::GiveBack(char* buffer) {
  if (free_.size() >= kKept) {
    std::free(buffer);
  } else {
    free_.push_back(buffer);
  }
}

void ByteQueue::Append(std::string_view bytes) {
  if (bytes.empty()) return;
  std::memcpy(Reserve(bytes.size()), bytes.data(), bytes.size());
  Commit(bytes.size());
}

char* ByteQueue::Reserve(size_t n) {
  if (capacity_ - end_ < n) Grow(n);
  return data_ + end_;
}

void ByteQueue::Grow(size_t needed) {
  const size_t used = size();
  if (begin_ > used && capacity_ - used >= needed) {
    // More has been consumed than is left, so what is moved was paid for by what was consumed.
    std::memcpy(data_, data_ + begin_, used);
    begin_ = 0;
    end_ = used;
    return;
  }
  if (data_ == nullptr && needed <= BufferPool::kBufferSize) {
    data_ = pool_->Take();
    capacity_ = BufferPool::kBufferSize;
    return;
  }
  const size_t capacity = std::max(used + needed, used + used / 2 + BufferPool::kBufferSize);
  char* grown;
  if (begin_ == 0 && capacity_ != BufferPool::kBufferSize) {
    grown = static_cast<char*>(std::realloc(data_, capacity));  // big ones move by page tables
    if (grown == nullptr) throw std::bad_alloc();
  } else {
    grown = static_cast<char*>(std::malloc(capacity));
    if (grown == nullptr) throw std::bad_alloc();
    if (used != 0) std::memcpy(grown, data_ + begin_, used);
    Release();
  }
  data_ = grown;
  begin_ = 0;
  end_ = used;
  capacity_ = capacity;
}

void ByteQueue::Consume(size_t n) {
  begin_ += n;
  if (begin_ == end_) Clear();
}

void ByteQueue::Release() {
  if (capacity_ == BufferPool::kBufferSize) {
    pool_->GiveBack(data_);
  } else {
    std::free(data_);
  }
}

void ByteQueue::Clear() {
  if (data_ != nullptr) Release();
  data_ = nullptr;
  begin_ = end_ = capacity_ = 0;
}

}  // namespace liveexec::uv
