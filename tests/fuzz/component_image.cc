// Images of components, behind their headers. The first byte says whose: demo-server's key space
// and sessions in three versions, and the ready-made libuv components. What can be rehydrated is
// exported, rehydrated and exported again, and both exports are the same.
#include <capnp/message.h>
#include <uv.h>

#include <functional>
#include <memory>
#include <mutex>

#include "handoff/component.h"
#include "handoff/guarded_call.h"
#include "handoff/stand_ins.h"
#include "handoff/uv/child_processes.h"
#include "handoff/uv/files.h"
#include "handoff/uv/images.capnp.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/pipes.h"
#include "handoff/uv/stream_server.h"
#include "handoff/uv/timers.h"
#include "handoff/uv/udp_sockets.h"
#include "tests/fuzz/demo_state.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

// ---- demo-server

absl::Status ReadKeyspace(const demo::StateFormat& format, ImageFile& image,
                          demo::EngineHarness& server) {
  return GuardedCall("key space", [&] {
    std::lock_guard lock(server.engine().mutex());
    return format.ReadKeyspace(image.message().getRoot<capnp::AnyPointer>(), server.engine());
  });
}

absl::Status ReadSession(const demo::StateFormat& format, ImageFile& image,
                         demo::EngineHarness& server, demo::TestClient& client) {
  return GuardedCall("session", [&] {
    return format.ReadSession(image.message().getRoot<capnp::AnyPointer>(), server.engine(),
                              client.session);
  });
}

void CheckKeyspace(const demo::StateFormat& format, ImageFile& image) {
  demo::EngineHarness first;
  if (!ReadKeyspace(format, image, first).ok()) return;
  const std::string once = KeyspaceExport(format, first.engine());
  auto written = ImageOf(once);
  FUZZ_CHECK_OK(written.status());
  demo::EngineHarness second;
  FUZZ_CHECK_OK(ReadKeyspace(format, *written, second));
  FUZZ_CHECK(KeyspaceExport(format, second.engine()) == once);
  // And it serves.
  demo::TestClient client(first);
  client.Call("DBSIZE");
  client.Call("SCAN 0 COUNT 100");
  client.Call("INFO");
}

void CheckSession(const demo::StateFormat& format, ImageFile& image) {
  demo::EngineHarness first;
  demo::TestClient client(first, demo::TestClient::Unopened());
  if (!ReadSession(format, image, first, client).ok()) return;
  const std::string once = Comparable(format, client.session);
  auto written = ImageOf(SessionExport(format, client.session));
  FUZZ_CHECK_OK(written.status());
  demo::EngineHarness second;
  demo::TestClient again(second, demo::TestClient::Unopened());
  FUZZ_CHECK_OK(ReadSession(format, *written, second, again));
  FUZZ_CHECK(Comparable(format, again.session) == once);
  // And it is served.
  client.Adopt();
  client.Receive();
  client.Call("CLIENT LIST");
  first.engine().RunTimers();
}

// ---- libuv components

// Stand-ins for whatever is asked for, within reason.
class AnyFds final : public FdSource {
 public:
  absl::StatusOr<UniqueFd> Take(std::string_view, std::string_view role, uint64_t) override {
    constexpr int kLimit = 32;
    if (++taken_ > kLimit) return absl::NotFoundError("no such fd");
    if (role == "listener") return MakeStandIn(FdKind::kTcpListener, false, peers_);
    if (role == "stream") return MakeStandIn(FdKind::kUnixStream, true, peers_);
    if (role == "socket") return MakeStandIn(FdKind::kUdp, false, peers_);
    if (role == "pidfd") return MakeStandIn(FdKind::kPidfd, false, peers_);
    return MakeStandIn(FdKind::kMemfd, false, peers_);
  }
  std::vector<uint64_t> Numbers(std::string_view, std::string_view) const override { return {}; }

 private:
  int taken_ = 0;
  std::vector<UniqueFd> peers_;
};

class Silent final : public uv::StreamHandler {
  size_t OnInput(uv::Stream&, std::string_view input) override { return input.size(); }
  absl::Status Load(capnp::AnyPointer::Reader state) override {
    state.getAs<uv::image::Files>().getFiles().size();
    return absl::OkStatus();
  }
};

// A loop of the component's own, which has to be clean when the component is gone.
class Loop {
 public:
  Loop() {
    FUZZ_CHECK(uv_loop_init(&loop_) == 0);
    executor_ = std::make_unique<uv::LoopExecutor>(&loop_);
  }
  ~Loop() {
    executor_.reset();
    FUZZ_CHECK_OK(uv::CloseLoop(&loop_));
  }
  uv::LoopExecutor& executor() { return *executor_; }

 private:
  uv_loop_t loop_;
  std::unique_ptr<uv::LoopExecutor> executor_;
};

std::unique_ptr<Component> MakeComponent(int which, Loop& loop) {
  switch (which) {
    case 0: {
      auto timers = std::make_unique<uv::Timers>("c", loop.executor());
      for (const char* name : {"t", "u"}) timers->Define(name, [](uint64_t) {});
      return timers;
    }
    case 1:
      return std::make_unique<uv::Files>("c");
    case 2: {
      auto sockets = std::make_unique<uv::UdpSockets>("c", loop.executor());
      for (const char* name : {"s", "t"}) sockets->Define(name, [](const uv::Datagram&) {});
      return sockets;
    }
    case 3:
      return std::make_unique<uv::ChildProcesses>("c", loop.executor(),
                                                  [](const uv::ChildExit&) {});
    case 4:
      return std::make_unique<uv::Pipes>("c", loop.executor(), [](std::string_view, uv::Stream&) {
        return std::make_unique<Silent>();
      });
    default:
      return std::make_unique<uv::StreamServer>(uv::StreamServerOptions{
          .name = "c", .loops = {&loop.executor()}, .make_handler = [](uv::Stream&) {
            return std::make_unique<Silent>();
          }});
  }
}

// Rehydrates from `image` and exports: nothing when that is refused.
absl::StatusOr<std::string> There(int which, ImageFile& image) {
  const NoFdIsLeaked closed;
  Loop loop;
  AnyFds fds;
  std::unique_ptr<Component> component = MakeComponent(which, loop);
  ImportContext import("c", 1, &image.message(), &fds, /*rehearsal=*/true);
  absl::Status status = GuardedCall("rehydrate", [&] { return component->Rehydrate(import); });
  if (!status.ok()) return status;
  FUZZ_CHECK_OK(component->SelfCheck());
  FUZZ_CHECK_OK(component->Quiesce());
  ExportContext context;
  FUZZ_CHECK_OK(component->Export(context));
  return Flat(context.message());
}

void CheckComponent(int which, ImageFile& image) {
  const auto once = There(which, image);
  if (!once.ok()) return;
  auto written = ImageOf(*once);
  FUZZ_CHECK_OK(written.status());
  const auto again = There(which, *written);
  FUZZ_CHECK_OK(again.status());
  FUZZ_CHECK(*again == *once);
}

}  // namespace
}  // namespace liveexec::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace liveexec::fuzz;  // NOLINT(google-build-using-namespace): this is their main().
  Input input(data, size);
  const int which = input.Byte() % 12;
  auto image = ImageOf(input.Rest());
  if (!image.ok()) return 0;
  if (which < 3) {
    CheckKeyspace(FormatOf(which), *image);
  } else if (which < 6) {
    CheckSession(FormatOf(which - 3), *image);
  } else {
    CheckComponent(which - 6, *image);
  }
  return 0;
}
