// A server that does with its plugin all that makes unloading it unsound.
//
//   server PLUGIN TRAP CONTROL
//
// It answers each line: "apply" with the plugin's revision and the state after the plugin's code
// has worked on it; "hazards" with what of the plugin is alive; "revisions" with how many plugins
// have worked on this state; "exit" by exit(), "quick_exit" by quick_exit().
#include <dlfcn.h>
#include <signal.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/error.h"
#include "handoff/component.h"
#include "handoff/program_note.h"
#include "handoff/upgrader.h"
#include "handoff/uv/loop_executor.h"
#include "handoff/uv/stream_server.h"
#include "tests/e2e/hazards/plugin.h"
#include "tests/e2e/hazards/server.capnp.h"

LIVEEXEC_APPLICATION("hazards", "1.0.0");
LIVEEXEC_COMPONENT("state", 1, 1);
LIVEEXEC_COMPONENT("clients", 1, 1);

namespace liveexec::hazards {
namespace {

// The state, and the plugin that works on it.
class State final : public Component {
 public:
  State(const char* plugin, const char* trap) : plugin_(plugin), trap_(trap) {}

  std::string_view name() const override { return "state"; }
  absl::Status Initialize() override { return Load(); }
  absl::Status Export(ExportContext& context) const override {
    auto image = context.InitRoot<image::State>();
    image.setValue(value_);
    auto revisions = image.initRevisions(static_cast<unsigned>(revisions_.size()));
    for (unsigned i = 0; i < revisions.size(); ++i) revisions.set(i, revisions_[i]);
    return absl::OkStatus();
  }
  absl::Status Rehydrate(ImportContext& context) override {
    LIVEEXEC_ASSIGN_OR_RETURN(auto image, context.Root<image::State>());
    value_ = image.getValue();
    for (auto revision : image.getRevisions()) revisions_.emplace_back(revision.cStr());
    return Load();
  }

  std::string Answer(std::string_view line) {
    if (line == "apply") {
      value_ = api_->rule->Apply(apply_(value_));
      return absl::StrCat(api_->revision, " ", value_);
    }
    if (line == "hazards") {
      return absl::StrCat("threads ", api_->threads->load(), " destructors ",
                          api_->destructors->load(), " ticks ", api_->ticks->load());
    }
    if (line == "revisions") return absl::StrCat(revisions_.size());
    if (line == "exit") exit(0);
    if (line == "quick_exit") quick_exit(0);
    return "what?";
  }

 private:
  // The library is never closed: nobody could.
  absl::Status Load() {
    void* library = dlopen(plugin_, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return absl::InternalError(dlerror());
    const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntry));
    if (entry == nullptr) return absl::InternalError(dlerror());
    api_ = entry(trap_);
    apply_ = api_->apply;
    revisions_.emplace_back(api_->revision);
    return absl::OkStatus();
  }

  const char* const plugin_;
  const char* const trap_;
  const PluginApi* api_ = nullptr;
  int64_t (*apply_)(int64_t) = nullptr;
  int64_t value_ = 0;
  std::vector<std::string> revisions_;
};

class Client final : public uv::StreamHandler {
 public:
  explicit Client(State& state) : state_(state) {}

  size_t OnInput(uv::Stream& stream, std::string_view input) override {
    size_t consumed = 0;
    for (size_t end; (end = input.find('\n', consumed)) != std::string_view::npos;) {
      const std::string answer = state_.Answer(input.substr(consumed, end - consumed));
      stream.Write(answer + "\n").IgnoreError();
      consumed = end + 1;
    }
    return consumed;
  }

 private:
  State& state_;
};

absl::Status Serve(char** arguments) {
  uv::LoopExecutor executor(uv_default_loop());
  auto upgrader = Upgrader::Create(executor, {.control_socket = arguments[3]});
  LIVEEXEC_RETURN_IF_ERROR(upgrader.status());
  State state(arguments[1], arguments[2]);
  uv::StreamServer clients(
      {.name = "clients", .loops = {&executor}, .make_handler = [&](uv::Stream&) {
         return std::make_unique<Client>(state);
       }});
  LIVEEXEC_RETURN_IF_ERROR((*upgrader)->Register(state));
  LIVEEXEC_RETURN_IF_ERROR((*upgrader)->Register(clients));
  if ((*upgrader)->fresh()) {
    LIVEEXEC_RETURN_IF_ERROR(clients.ListenTcp("127.0.0.1", 0).status());
  }
  LIVEEXEC_RETURN_IF_ERROR((*upgrader)->Start());
  printf("listening on tcp 127.0.0.1:%d\n", clients.listening()[0].port);
  fflush(stdout);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return absl::OkStatus();
}

}  // namespace
}  // namespace liveexec::hazards

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: server PLUGIN TRAP CONTROL\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  fprintf(stderr, "%s\n", liveexec::hazards::Serve(argv).ToString().c_str());
  return 1;
}
