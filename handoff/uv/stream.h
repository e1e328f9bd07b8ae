// Stream: one buffered connection (TCP, UNIX stream, pipe, TTY) whose bytes survive an upgrade.
//
// The application writes a StreamHandler; the Stream gives it input and takes its output:
//
//   class Echo : public liveexec::uv::StreamHandler {
//     size_t OnInput(Stream& stream, std::string_view input) override {
//       stream.Write(input).IgnoreError();
//       return input.size();
//     }
//   };
//
// What crosses an upgrade without the handler's doing: input that it has not consumed, output that
// the kernel has not taken, whether the peer has ended, whether reading is paused, a pending
// CloseAfterFlush or ShutdownWrite, and what Save() wrote. What the kernel holds stays in the
// kernel.
//
// Threads. A stream belongs to one loop; all its methods and all calls of its handler are on that
// loop's thread. To reach it from elsewhere, Post() to executor(). Only Save, Load and construction
// of a rehydrated handler happen on the main executor's thread, while the stream's own thread is
// parked (but see MayGoCold).
//
// Ownership. The component (StreamServer, Pipes) owns the stream and its handler. A Stream& is
// valid until OnClose has returned. No handler call happens inside a call of a Stream method.
//
// Quiesced. Between the component's Quiesce and Resume every method that returns a Status fails
// with FailedPrecondition, the others do nothing. A rehydrated stream accepts Write before
// Activate: the bytes are queued and sent after.
#ifndef LIVEEXEC_HANDOFF_UV_STREAM_H_
#define LIVEEXEC_HANDOFF_UV_STREAM_H_

#include <capnp/any.h>
#include <sys/types.h>
#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/unique_fd.h"
#include "handoff/uv/byte_queue.h"
#include "handoff/uv/loop_executor.h"

namespace liveexec::uv {

class Stream;
class StreamLoop;

// The application's object for one connection.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;

  // The connection is new: greet here, not in the constructor. Called once in a connection's life,
  // so not again after an upgrade.
  virtual void OnOpen(Stream& stream);

  // `input` is all unread bytes; valid until OnInput returns. Returns how many of them are
  // consumed; the rest is offered again, from the same byte on, when more has arrived (see
  // Stream::WantInput), after ResumeReading, and by the new program after an upgrade. Consume all
  // that can be consumed.
  virtual size_t OnInput(Stream& stream, std::string_view input) = 0;

  // The peer will send no more. What OnInput has not consumed is still in stream.unread(). Default:
  // stream.CloseAfterFlush(). Once nothing can be written either, the stream is closed after it.
  virtual void OnEnd(Stream& stream);

  // All output is in the kernel; called after each time that some was written.
  virtual void OnDrained(Stream& stream);

  // The connection is gone, for whatever reason; the last call before the handler is destroyed. Not
  // called for connections that an upgrade carries away.
  virtual void OnClose(Stream& stream);

  // Writes what the next program needs to know; `state` is a place of the application's own schema
  // (state.initAs<ConnectionState>()). Changes nothing. Default: writes nothing.
  virtual absl::Status Save(capnp::AnyPointer::Builder state) const;

  // New program, right after construction: what Save wrote; not called when it wrote nothing. An
  // error rolls the upgrade back. The stream's unread and unsent bytes are in place already.
  virtual absl::Status Load(capnp::AnyPointer::Reader state);

  // Asked of an idle connection ahead of a blackout: may it be put aside? It then crosses at no
  // cost (StreamServerOptions::cold_threshold). True promises that all there is to it is what Save
  // writes, and that it changes only in calls of this handler, so not while it is aside. Nothing is
  // unread or unsent. Default: false.
  virtual bool MayGoCold() const;
  // It is put aside: forget `stream`. This handler is destroyed next, without OnClose, and another
  // one made, and given what Save wrote, when the connection wakes, or when the upgrade is over, in
  // whichever program serves then; on the loop's thread.
  virtual void OnCold(Stream& stream);
};

class Stream {
 public:
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Unique within its component, never used again, the same after an upgrade. From 1.
  uint64_t id() const { return id_; }
  // The index in StreamServer::listening() of the listener that it came through; 0 for Pipes.
  uint32_t listener() const { return listener_; }
  LoopExecutor& executor() const;
  // Borrowed; -1 once closed. For getsockopt and the like, not for reading or writing.
  int fd() const { return fd_.get(); }
  // "127.0.0.1:4711", "[::1]:4711", "unix:/path" or "unix:" for an unnamed peer; empty when there
  // is none.
  const std::string& peer_name();
  StreamHandler& handler() const { return *handler_; }

  // Queues `bytes`; they are sent when OnInput returns, or before the loop next waits.
  // FailedPrecondition: quiesced, closed, closing or shut down for writing, or the connection is
  // broken (OnClose follows). ResourceExhausted: the pending output exceeds max_pending_output; the
  // stream is closed.
  absl::Status Write(std::string_view bytes);

  // Output that the kernel has not taken yet, in bytes.
  size_t pending_output() const;
  // Input that OnInput has not consumed. Inside OnInput use its argument. Valid until the next
  // read.
  std::string_view unread() const { return in_.view(); }

  // Do not call OnInput again before this many unread bytes are there, or reading resumes, or an
  // upgrade happened. Saves a handler that waits for a big request from looking at it again with
  // each packet, and the stream from growing its buffer in steps. Holds for one call; capped at
  // max_unread.
  void WantInput(size_t at_least);

  // Stops reading; the kernel then slows the peer down. Carried.
  void PauseReading();
  // Goes on; offers what is unread first.
  void ResumeReading();
  bool reading_paused() const { return Is(kPaused); }
  // True once OnEnd has been called.
  bool ended() const { return Is(kEnded); }

  // Sends what is pending, then half-closes: the peer reads the end, and can still send. Carried.
  void ShutdownWrite();
  // Sends what is pending, then closes; no more input is offered. Carried.
  void CloseAfterFlush();
  // Closes now; pending output is dropped. OnClose follows, not inside this call.
  void Close();
  bool closed() const { return Is(kClosed); }

 private:
  friend class StreamLoop;
  friend class StreamImage;

  // In one word, so that what a request needs to know is one test.
  enum Flag : uint32_t {
    // What the fd cannot do.
    kNotReadable = 1 << 0,
    kNotWritable = 1 << 1,
    kNoSocket = 1 << 2,  // no send() with MSG_NOSIGNAL, no shutdown()
    // What has happened, and is carried.
    kNotOpened = 1 << 3,  // OnOpen is to be called
    kPaused = 1 << 4,
    kEnded = 1 << 5,
    kCloseAfterFlush = 1 << 6,
    kShutdownWanted = 1 << 7,
    kShutdownDone = 1 << 8,
    kWasCold = 1 << 17,  // a cold set may have a duplicate of the fd still
    // What is known of this moment only.
    kHandleOpen = 1 << 9,  // the poll handle is initialized and not yet closed
    kFinished = 1 << 10,   // OnClose has returned
    kClosed = 1 << 11,
    kBlocked = 1 << 12,         // the kernel's buffer is full: wait until it is writable
    kWriteBroken = 1 << 13,     // nobody reads what is written any more
    kDrainDue = 1 << 14,        // OnDrained is owed once all is sent
    kOfferWanted = 1 << 15,     // unread input is to be offered by the attention list
    kNeedsAttention = 1 << 16,  // it is on the attention list

    kNoReading = kNotReadable | kNotOpened | kPaused | kEnded | kCloseAfterFlush | kClosed,
    kNoWriting = kNotWritable | kCloseAfterFlush | kShutdownWanted | kClosed | kWriteBroken,
    kEndWanted = kCloseAfterFlush | kShutdownWanted,
  };

  Stream(StreamLoop* home, UniqueFd fd, uint64_t id, uint32_t listener);
  ~Stream() = default;

  static void OnPoll(uv_poll_t* handle, int status, int events) noexcept;
  static void OnHandleClosed(uv_handle_t* handle) noexcept;

  bool Is(uint32_t any_of) const { return (flags_ & any_of) != 0; }
  void Set(uint32_t flags) { flags_ |= flags; }
  void Unset(uint32_t flags) { flags_ &= ~flags; }

  void LearnFd();
  absl::Status WhyNotWritable() const;

  // These call the handler, and each may end with the stream closed.
  void ReadSome();
  void Offer(std::string_view input);
  void OfferUnread();
  void OnPeerEnd();
  void Flush();
  void FlushCorked();
  void OnAllSent();
  void Service();  // one visit by the loop's attention list
  void Finish();   // OnClose, then away: the stream may be deleted
  bool MayGoCold(uint64_t idle_since_ms) const;
  void GoCold();  // away, as its connection is in a cold set: the stream may be deleted

  // These do not call the handler.
  ssize_t Send(std::string_view bytes);
  ssize_t SendBoth(std::string_view first, std::string_view second);
  absl::Status WriteUncorked(std::string_view bytes);
  void Uncork();
  void SendPending();
  void SendLast();
  void WriteThrough(std::string_view bytes);
  void OnWriteError();
  void DiscardInput();
  void UpdateInterest();
  void WantAttention();

  uv_poll_t poll_;
  StreamLoop* const home_;
  Stream* next_attention_ = nullptr;
  std::unique_ptr<StreamHandler> handler_;
  ByteQueue in_;
  ByteQueue out_;
  size_t want_ = 0;
  const uint64_t id_;
  UniqueFd fd_;
  const uint32_t listener_;
  int interest_ = 0;            // what uv_poll watches for: UV_READABLE, UV_WRITABLE
  uint64_t last_event_ms_ = 0;  // in the loop's time; 0: long ago
  std::string peer_name_;

  uint32_t flags_ = kNotOpened;
};

}  // namespace liveexec::uv

#endif  // LIVEEXEC_HANDOFF_UV_STREAM_H_
