#include "handoff/uv/stream_server.h"

#include <sys/socket.h>
#include <uv.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "core/supervisor.h"
#include "handoff/uv/fd_reserve.h"
#include "handoff/uv/listener.h"
#include "handoff/uv/server_loop.h"

namespace liveexec::uv {
namespace {

// How long accepting rests for want of fds, unless a connection is closed first.
constexpr uint64_t kRetryMs = 50;

absl::Status Quiesced() {
  return absl::FailedPreconditionError("the server is quiesced for an upgrade");
}

}  // namespace

struct StreamServer::RetryTimer {
  uv_timer_t timer;
  StreamServer* server;
};

StreamServer::StreamServer(Options options)
    : options_(std::move(options)),
      retry_(new RetryTimer{{}, this}),
      self_(std::make_shared<StreamServer*>(this)) {
  const StreamLoop::Options stream_options = {
      .make_handler = options_.make_handler,
      .on_closed = [this](Stream&) { OnClosed(); },
      .on_lost = [this] { OnClosed(); },
      .on_all_back = [this] { OnRoom(); },
      .aside = &aside_,
      .cold_after_ms = options_.cold_after_ms,
      .max_unread = options_.max_unread,
      .max_pending_output = options_.max_pending_output,
  };
  for (LoopExecutor* executor : options_.loops) {
    loops_.push_back(std::make_unique<Loop>(*executor, new StreamLoop(*executor, stream_options)));
  }
  uv_timer_init(options_.loops[0]->loop(), &retry_->timer);
  retry_->timer.data = retry_;
}

StreamServer::~StreamServer() {
  *self_ = nullptr;
  listeners_.clear();  // closes, but does not unlink: StopListening does
  uv_close(reinterpret_cast<uv_handle_t*>(&retry_->timer),
           [](uv_handle_t* handle) { delete static_cast<RetryTimer*>(handle->data); });
  std::mutex mutex;
  std::condition_variable done;
  size_t left = loops_.size() - 1;
  for (size_t i = 1; i < loops_.size(); ++i) {
    // Behind all tasks of this server that the loop still has.
    loops_[i]->executor.Post([&, i] {
      *loops_[i]->alive = false;
      loops_[i]->streams->Shutdown();
      std::lock_guard<std::mutex> lock(mutex);
      if (--left == 0) done.notify_one();
    });
  }
  *loops_[0]->alive = false;
  loops_[0]->streams->Shutdown();
  std::unique_lock<std::mutex> lock(mutex);
  done.wait(lock, [&] { return left == 0; });
}

absl::StatusOr<int> StreamServer::ListenTcp(const std::string& host, int port) {
  if (quiesced_) return Quiesced();
  LIVEEXEC_ASSIGN_OR_RETURN(const SocketAddress wanted,
                            SocketAddress::Resolve(host, port, SOCK_STREAM));
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd,
                            FromSupervisor([&](int kept) { return ListensOnTcp(kept, wanted); }));
  if (!fd) {
    LIVEEXEC_ASSIGN_OR_RETURN(fd, ListenOnTcp(wanted, options_.backlog));
  }
  LIVEEXEC_RETURN_IF_ERROR(Listen(std::move(fd), ""));
  LIVEEXEC_ASSIGN_OR_RETURN(const SocketAddress bound, listeners_.back()->address());
  return bound.port();
}

absl::Status StreamServer::ListenUnix(const std::string& path, mode_t mode) {
  if (quiesced_) return Quiesced();
  LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd,
                            FromSupervisor([&](int kept) { return ListensOnUnix(kept, path); }));
  if (!fd) {
    LIVEEXEC_ASSIGN_OR_RETURN(fd, ListenOnUnix(path, mode, options_.backlog));
  }
  return Listen(std::move(fd), path);
}

// A listener of a start before this one; empty when there is none.
absl::StatusOr<UniqueFd> StreamServer::FromSupervisor(const std::function<bool(int)>& fits) const {
  if (!options_.fd_store) return UniqueFd();
  UniqueFd fd = SupervisorFds::OfThisProcess().Take(options_.name, fits);
  if (fd) LIVEEXEC_RETURN_IF_ERROR(ListenAgain(fd.get(), options_.backlog));
  return fd;
}

// Best effort: without it a restart binds anew.
void StreamServer::KeepListeners() {
  // What it has from former starts and nobody listens with any more would keep its address taken.
  if (SupervisorFds::OfThisProcess().Drop(options_.name) > 0) {
    ForgetStoredFds(options_.name).IgnoreError();
  }
  for (const auto& listener : listeners_) {
    if (listener->fd() >= 0) StoreFd(options_.name, listener->fd()).IgnoreError();
  }
}

void StreamServer::AddListener(UniqueFd fd, std::string path) {
  const uint32_t index = static_cast<uint32_t>(listeners_.size());
  listeners_.push_back(std::make_unique<Listener>(
      std::move(fd), std::move(path),
      Listener::Events{
          .accepted = [this, index](UniqueFd accepted) { OnAccepted(index, std::move(accepted)); },
          .may_accept = [] { return FdReserve::OfThisProcess().MayAccept(); },
          .starved = [this] { OnStarved(); },
      }));
}

absl::Status StreamServer::Listen(UniqueFd fd, std::string path) {
  AddListener(std::move(fd), std::move(path));
  absl::Status status = listeners_.back()->Open(options_.loops[0]->loop());
  if (status.ok() && serving_) status = listeners_.back()->Start();
  if (!status.ok()) {
    listeners_.pop_back();
  } else if (serving_ && options_.fd_store) {
    StoreFd(options_.name, listeners_.back()->fd()).IgnoreError();
  }
  return status;
}

void StreamServer::StopListening() {
  if (quiesced_) return;
  for (auto& listener : listeners_) listener->Stop();
  if (options_.fd_store) ForgetStoredFds(options_.name).IgnoreError();
}

std::vector<Listening> StreamServer::listening() const {
  std::vector<Listening> all;
  for (const auto& listener : listeners_) {
    Listening& one = all.emplace_back();
    one.path = listener->path();
    one.open = listener->fd() >= 0;
    if (!one.open || !one.path.empty()) continue;
    if (auto address = listener->address(); address.ok()) {
      one.host = address->host();
      one.port = address->port();
    }
  }
  return all;
}

void StreamServer::OnAccepted(uint32_t listener, UniqueFd fd) {
  Loop& loop = *loops_[next_loop_++ % loops_.size()];
  Waiting waiting = {next_id_++, listener, std::move(fd)};
  size_.fetch_add(1, std::memory_order_relaxed);
  FdReserve::OfThisProcess().Accepted();
  if (&loop == loops_[0].get()) return Adopt(loop, std::move(waiting));
  // Not into the task: an upgrade may come before it runs, and must find the fd (Export).
  if (loop.AddWaiting(std::move(waiting)))
    loop.executor.Post([this, &loop] { AdoptWaiting(loop); });
}

void StreamServer::AdoptWaiting(Loop& loop) {
  for (Waiting& waiting : loop.TakeWaiting()) Adopt(loop, std::move(waiting));
}

void StreamServer::Adopt(Loop& loop, Waiting waiting) {
  auto stream = loop.streams->Adopt(std::move(waiting.fd), waiting.id, waiting.listener);
  if (stream.ok()) {
    loop.streams->Begin(**stream);
  } else {
    OnClosed();  // epoll has no memory left: the connection is closed
  }
}

void StreamServer::OnClosed() {
  size_.fetch_sub(1, std::memory_order_relaxed);
  FdReserve::OfThisProcess().Closed();
  OnRoom();
}

// There may be fds for those who wait to be accepted. Any loop's thread.
void StreamServer::OnRoom() {
  if (!starved_.load(std::memory_order_relaxed) || !starved_.exchange(false)) return;
  loops_[0]->executor.Post([self = self_] {
    if (*self != nullptr) (*self)->RetryAccepting();
  });
}

void StreamServer::OnStarved() {
  starved_ = true;
  uv_timer_start(
      &retry_->timer,
      [](uv_timer_t* timer) { static_cast<RetryTimer*>(timer->data)->server->RetryAccepting(); },
      kRetryMs, 0);
}

void StreamServer::RetryAccepting() {
  if (!serving_ || quiesced_) return;
  for (auto& listener : listeners_) {
    if (listener->starved()) listener->Start().IgnoreError();
  }
}

StreamLoop* StreamServer::StreamsOn(const LoopExecutor& executor) const {
  for (const auto& loop : loops_) {
    if (&loop->executor == &executor) return loop->streams;
  }
  return nullptr;
}

void StreamServer::Visit(StreamLoop& streams,
                         absl::FunctionRef<void(Stream&, StreamHandler&)> visit) {
  streams.WarmNow().IgnoreError();
  for (uint64_t id : streams.Ids()) {
    if (Stream* stream = streams.Find(id)) visit(*stream, stream->handler());
  }
}

void StreamServer::ForEach(absl::FunctionRef<void(Stream&, StreamHandler&)> visit) {
  for (const auto& loop : loops_) Visit(*loop->streams, visit);
}

void StreamServer::ForEachOn(LoopExecutor& executor,
                             absl::FunctionRef<void(Stream&, StreamHandler&)> visit) {
  if (StreamLoop* streams = StreamsOn(executor)) Visit(*streams, visit);
}

void StreamServer::TakeBack(LoopExecutor& from, absl::AnyInvocable<void() &&> done) {
  struct Progress {
    std::atomic<size_t> left;
    LoopExecutor& from;
    std::shared_ptr<bool> from_alive;
    absl::AnyInvocable<void() &&> done;
  };
  auto home = std::find_if(loops_.begin(), loops_.end(),
                           [&](const auto& loop) { return &loop->executor == &from; });
  if (home == loops_.end()) return;
  auto progress =
      std::shared_ptr<Progress>(new Progress{loops_.size(), from, (*home)->alive, std::move(done)});
  for (auto& loop : loops_) {
    loop->executor.Post([streams = loop->streams, alive = loop->alive, progress] {
      // ResourceExhausted: the rest comes back in slices.
      if (*alive) streams->WarmNow().IgnoreError();
      if (--progress->left != 0) return;
      progress->from.Post([progress] {
        if (*progress->from_alive) std::move(progress->done)();
      });
    });
  }
}

Stream* StreamServer::Find(LoopExecutor& executor, uint64_t id) {
  StreamLoop* streams = StreamsOn(executor);
  if (streams == nullptr) return nullptr;
  Stream* stream = streams->Find(id);
  if (stream != nullptr || streams->cold_sets().empty()) return stream;
  streams->WarmNow().IgnoreError();
  return streams->Find(id);
}

}  // namespace liveexec::uv
