// An echo server that carries weight across its upgrades, of the kinds that cost something:
//
//   ballast_server PORT CONTROL HEAP_MIB FDS
//
// The heap is anonymous memory in small pages, which does not cross: it is what exec has to take
// down. The program fills it when a client sends "fill" (and echoes that when it is done), so that
// filling it again is no part of an upgrade. The fds are eventfds of a component, and do cross.
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <uv.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"

LIVEEXEC_APPLICATION("ballast", "1.0.0");
LIVEEXEC_COMPONENT("fds", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);

namespace {

using liveexec::UniqueFd;

constexpr size_t kPage = 4096;

class Heap {
 public:
  explicit Heap(size_t bytes) : bytes_(bytes) {}

  // Does nothing the second time.
  void Fill() {
    if (bytes_ == 0 || filled_) return;
    void* memory =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    madvise(memory, bytes_, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < bytes_; at += kPage) static_cast<volatile char*>(memory)[at] = 1;
    filled_ = true;
  }

 private:
  const size_t bytes_;
  bool filled_ = false;
};

class Fds final : public liveexec::Component {
 public:
  explicit Fds(size_t count) : count_(count) {}

  std::string_view name() const override { return "fds"; }

  absl::Status Initialize() override {
    for (size_t i = 0; i < count_; ++i) {
      UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      if (!fd) return liveexec::ErrnoError(errno, "eventfd");
      fds_.push_back(std::move(fd));
    }
    return absl::OkStatus();
  }

  absl::Status Export(liveexec::ExportContext& context) const override {
    for (size_t i = 0; i < fds_.size(); ++i) {
      LIVEEXEC_RETURN_IF_ERROR(context.CarryFd("event", i, fds_[i].get()));
    }
    return absl::OkStatus();
  }

  absl::Status Rehydrate(liveexec::ImportContext& context) override {
    for (const uint64_t number : context.FdNumbers("event")) {
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, context.TakeFd("event", number));
      fds_.push_back(std::move(fd));
    }
    return absl::OkStatus();
  }

 private:
  const size_t count_;
  std::vector<UniqueFd> fds_;
};

class Echo : public liveexec::uv::StreamHandler {
 public:
  explicit Echo(Heap& heap) : heap_(heap) {}

  size_t OnInput(liveexec::uv::Stream& stream, std::string_view input) override {
    if (input == "fill") heap_.Fill();
    stream.Write(input).IgnoreError();
    return input.size();
  }

 private:
  Heap& heap_;
};

absl::Status Serve(char** arguments) {
  liveexec::uv::LoopExecutor executor(uv_default_loop());
  LIVEEXEC_ASSIGN_OR_RETURN(auto upgrader,
                            liveexec::Upgrader::Create(executor, {.control_socket = arguments[2]}));
  Heap heap(strtoull(arguments[3], nullptr, 10) << 20);
  Fds fds(strtoull(arguments[4], nullptr, 10));
  liveexec::uv::StreamServer clients(
      {.name = "clients", .loops = {&executor}, .make_handler = [&heap](liveexec::uv::Stream&) {
         return std::make_unique<Echo>(heap);
       }});
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(fds));
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Register(clients));
  if (upgrader->fresh()) {
    LIVEEXEC_RETURN_IF_ERROR(clients.ListenTcp("127.0.0.1", atoi(arguments[1])).status());
  }
  LIVEEXEC_RETURN_IF_ERROR(upgrader->Start());
  printf("listening on tcp 127.0.0.1:%d\n", clients.listening()[0].port);
  fflush(stdout);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  if (argc != 5) {
    fprintf(stderr, "usage: ballast_server PORT CONTROL HEAP_MIB FDS\n");
    return 2;
  }
  const absl::Status status = Serve(argv);
  fprintf(stderr, "ballast_server: %s\n", status.ToString().c_str());
  return 1;
}
