// StreamLoop: the streams of one component on one loop, and what they share: the buffer that is
// read into, spare buffers, and the attention list. For the components of this folder; applications
// see Stream.
//
// The attention list holds the streams that have something to do outside of their own events:
// output written from elsewhere, reading resumed, a close to report. It is worked off once in each
// iteration, before the loop waits (a prepare handle), so that all output of an iteration is sent
// at once and no handler is called from inside a call of Stream.
//
// Threads: everything on the loop's thread, or on the main thread while that is parked or has not
// begun. Lifetime: made with new, ended by Shutdown(), which deletes it when libuv has closed its
// handles.
#ifndef LIVEEXEC_HANDOFF_UV_STREAM_LOOP_H_
#define LIVEEXEC_HANDOFF_UV_STREAM_LOOP_H_

#include <uv.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/unique_fd.h"
#include "handoff/component.h"
#include "handoff/uv/byte_queue.h"
#include "handoff/uv/cold_set.h"
#include "handoff/uv/images.capnp.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream.h"

namespace liveexec::uv {

class StreamLoop {
 public:
  struct Options {
    std::function<std::unique_ptr<StreamHandler>(Stream&)> make_handler;
    std::function<void(Stream&)> on_closed;  // after OnClose, before the stream is deleted
    std::function<void()> on_lost;           // a cold connection that could not be had back
    std::function<void()> on_all_back;       // no cold connection of this loop is left
    std::atomic<size_t>* aside = nullptr;    // counts those that are put aside; borrowed
    uint64_t cold_after_ms = 100;            // what has had no event for so long is idle
    bool any_fd = false;                     // not only stream sockets: each fd is looked at
    size_t max_unread = size_t{1} << 30;
    size_t max_pending_output = 0;  // 0: unlimited
  };
  enum class Mode {
    kHeld,  // before Activate: no IO; output is queued
    kServing,
    kQuiesced,  // no IO, and no use by the application
  };

  static constexpr size_t kScratchSize = 64 << 10;  // bytes that are read at once
  static constexpr size_t kCorkSize = 64 << 10;     // bytes of replies that are collected

  // On any thread: the loop is not touched before the first stream, or Serve.
  StreamLoop(LoopExecutor& executor, Options options);
  StreamLoop(const StreamLoop&) = delete;
  StreamLoop& operator=(const StreamLoop&) = delete;

  // Sends what the kernel takes at once, closes all streams (OnClose is called), and ends this
  // object.
  void Shutdown();

  // Makes a stream over `fd`, and its handler. It does nothing until Begin or Serve. The fd is
  // closed on error.
  absl::StatusOr<Stream*> Adopt(UniqueFd fd, uint64_t id, uint32_t listener);
  // The same for a carried one. Anything may be in `record`.
  absl::StatusOr<Stream*> Adopt(UniqueFd fd, image::Stream::Reader record);
  // In this iteration's end: OnOpen, then reads. Before Serve: when it comes.
  void Begin(Stream& stream);

  // Puts idle connections into a cold set, in slices, then calls `done`. Connections that wake
  // meanwhile, or before the blackout, are served. Begins when the sets of an earlier upgrade are
  // empty. Only while serving; else does nothing.
  void Cool(absl::AnyInvocable<void() &&> done);
  // The upgrade was abandoned: takes everything out again, in slices.
  void Warm();
  // The same, at once. ResourceExhausted: the fd table is full; the rest follows in slices.
  absl::Status WarmNow();
  // Before Serve, which begins to take everything out.
  void AddColdSet(std::unique_ptr<ColdSet> set);
  // What an export carries, sealed by Quiesce.
  absl::Span<const std::unique_ptr<ColdSet>> cold_sets() const { return cold_; }

  // Held: all streams begin, carried input is offered, carried output sent, in the loop's next
  // iteration.
  void Serve();
  // Sends what waits for the loop's next iteration, and reports the streams that are closed
  // already, so that no other part of the state remembers them; then forbids use. Cold sets of an
  // earlier upgrade are emptied, those of this one are sealed. WarmNow while quiesced keeps their
  // fds open until Resume, which begins what was taken out.
  absl::Status Quiesce();
  void Resume();

  // The ids of all open streams, ascending.
  std::vector<uint64_t> Ids() const;
  Stream* Find(uint64_t id) const;

  LoopExecutor& executor() const { return executor_; }
  Mode mode() const { return mode_; }

 private:
  friend class Stream;

  ~StreamLoop() = default;

  void SendDeferred();
  static void OnPrepare(uv_prepare_t* handle) noexcept;
  static void OnOwnHandleClosed(uv_handle_t* handle) noexcept;
  void OpenHandles();
  absl::StatusOr<Stream*> Make(UniqueFd fd, uint64_t id, uint32_t listener);
  void BeginCarried(Stream& stream);

  void CountAside(std::ptrdiff_t change);
  void HoldFds();
  void SetLacking(bool lacking);
  bool AddEmptyColdSet();
  void DropColdSet();
  void DropAllColdSets();
  static void OnColdTimer(uv_timer_t* timer) noexcept;
  void StartColdTimer();
  bool TakeFromCold(uint64_t end_ns);
  void WorkOnCold();
  bool CoolBatch();
  void EndCooling();
  absl::Status TakeFrom(ColdSet& set, absl::FunctionRef<absl::Status(ColdSet::Taker)> take);
  absl::Status WarmBatch();
  void EndWarming();
  void WorkOff();
  void AddAttention(Stream* stream);
  Stream* TakeAttention();
  void HandleClosed();
  void Forget(Stream& stream);

  LoopExecutor& executor_;
  const Options options_;
  Mode mode_ = Mode::kHeld;
  Mode mode_before_quiesce_ = Mode::kHeld;
  bool shut_down_ = false;
  struct Cooling {
    std::vector<uint64_t> candidates;  // from the back on
    uint64_t idle_since_ms;
    absl::AnyInvocable<void() &&> done;
  };
  std::unique_ptr<Cooling> cooling_;            // while it is going on
  std::vector<std::unique_ptr<ColdSet>> cold_;  // never one without members, unless cooling
  // While quiesced: sets that were emptied, whose fds an image may name; and the streams from them,
  // which do not begin before Resume.
  std::vector<std::unique_ptr<ColdSet>> emptied_;
  std::vector<uint64_t> to_begin_;
  size_t held_fds_ = 0;                      // in the FdReserve
  bool lacking_ = false;                     // fds to take back with
  bool warming_ = false;                     // they are to be emptied
  bool warming_begins_ = false;              // after the loop's other events
  absl::AnyInvocable<void() &&> cool_next_;  // the `done` of who waits for that
  uv_timer_t cold_timer_;                    // runs while there are any
  int open_handles_ = 0;
  uv_prepare_t prepare_;
  uv_idle_t idle_;  // runs while attention is wanted: the loop then does not wait
  Stream* attention_first_ = nullptr;
  Stream* attention_last_ = nullptr;
  const Stream* dispatching_ = nullptr;  // whose OnInput is running: flushed after it
  size_t corked_ = 0;                    // bytes in cork_, of dispatching_
  const std::unique_ptr<char[]> scratch_;
  const std::unique_ptr<char[]> cork_;
  BufferPool pool_;
  absl::flat_hash_map<uint64_t, Stream*> streams_;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_STREAM_LOOP_H_
