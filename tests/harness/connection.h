// Connection: the client's end of one stream, on an EventLoop.
//
// What is sent goes out whole, or, after CutRandomly, in pieces: each of a random length, each in a
// turn of its own, with a random number of turns between them, so that the server finds requests
// cut at any byte. Owned by one client; belongs to the loop's thread.
#ifndef LIVEEXEC_TESTS_HARNESS_CONNECTION_H_
#define LIVEEXEC_TESTS_HARNESS_CONNECTION_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/unique_fd.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/event_loop.h"
#include "tests/harness/random.h"

namespace liveexec::harness {

// Calls come on the loop's thread. None of them may destroy the connection.
class ConnectionObserver {
 public:
  virtual ~ConnectionObserver() = default;
  virtual void OnBytes(std::string_view bytes) = 0;
  // The server ended the connection (ok), or it failed. Last call.
  virtual void OnClosed(const absl::Status& reason) = 0;
};

class Connection {
 public:
  // `loop` and `observer` are borrowed and must outlive the connection.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(EventLoop& loop, const Endpoint& endpoint,
                                                          ConnectionObserver& observer,
                                                          const DialOptions& options = {});
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void CutRandomly(Random random) { cuts_ = random; }

  // Takes `bytes` to be sent, soon. Ignored after the connection has closed.
  void Send(std::string_view bytes);
  size_t unsent() const { return output_.size() - sent_; }
  // Ends our side (the server reads the end) once everything has been sent. No Send after it.
  void FinishSending();

  // The kernel's buffers fill up while reading is paused.
  void PauseReading();
  // Reads on, and pauses again after about `bytes` (at least one read's worth) have come.
  void ReadOnce(size_t bytes);
  void ResumeReading();

  bool open() const { return static_cast<bool>(fd_); }
  const std::string& local_name() const { return local_name_; }
  // Whether the socket still is the one it was, by its local address.
  bool SameSocket() const { return open() && LocalName(fd_.get()) == local_name_; }

 private:
  Connection(EventLoop& loop, UniqueFd fd, ConnectionObserver& observer);
  void OnEvents(uint32_t events);
  void ReadSome(size_t limit);
  void WriteSome();
  void WriteCut();
  void UpdateWatch();
  void Fail(const absl::Status& reason);
  bool WriteUpTo(size_t bytes);
  void EndOurSide();

  EventLoop& loop_;
  UniqueFd fd_;
  ConnectionObserver& observer_;
  std::string local_name_;
  EventLoop::WatchId watch_ = 0;
  uint32_t watched_events_ = 0;
  std::string output_;
  size_t sent_ = 0;       // of output_
  bool blocked_ = false;  // the kernel takes no more for now
  bool reading_ = true;
  bool finish_ = false;  // nothing will be sent after what is in output_
  std::optional<Random> cuts_;
  bool cut_scheduled_ = false;
  uint64_t turns_to_wait_ = 0;
  std::shared_ptr<bool> alive_;  // for tasks that outlive this object
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_CONNECTION_H_
