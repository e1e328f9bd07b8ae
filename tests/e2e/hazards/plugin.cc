// A plugin that cannot be unloaded. It is built in two shapes whose code differs; the test writes a
// revision of its own into each copy.
#include "tests/e2e/hazards/plugin.h"

#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace liveexec::hazards {
namespace {

// Found in the file by the test, and overwritten.
const char kRevision[] = "REVISION:0000";
// Not optimized away, nor folded into a use.
const char* volatile revision = kRevision + sizeof("REVISION:") - 1;

char trap_path[256];
std::atomic<int64_t> ticks{0};
std::atomic<int> threads{0};
std::atomic<int> destructors{0};

// Something ran that must never run.
void Trap(const char* what) {
  const int fd = open(trap_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) abort();
  dprintf(fd, "%s of revision %s\n", what, revision);
  close(fd);
}

struct Trapped {
  explicit Trapped(const char* name) : what(name) { ++destructors; }
  ~Trapped() { Trap(what); }
  Trapped(const Trapped&) = delete;
  Trapped& operator=(const Trapped&) = delete;
  const char* what;
};

// A static with a destructor, and one that owns memory.
Trapped with_destructor("static destructor");
std::map<std::string, std::string> names = {{"shape", "first"}, {"state", "kept"}};

thread_local std::unique_ptr<Trapped> of_this_thread;
void TouchThreadLocal() {
  if (of_this_thread == nullptr) of_this_thread = std::make_unique<Trapped>("thread_local");
}

// Two that own each other: neither destructor ever runs, so the lock that one of them guards is
// held for good. Unloading that waits for it waits for ever.
std::mutex guarded;
struct Node {
  std::shared_ptr<Node> other;
  std::unique_ptr<std::unique_lock<std::mutex>> guard;
  Trapped trapped{"leaked guard"};
};
void LeakGuard() {
  auto one = std::make_shared<Node>();
  auto two = std::make_shared<Node>();
  one->guard = std::make_unique<std::unique_lock<std::mutex>>(guarded);
  one->other = two;
  two->other = one;
}

void Tick() {
  TouchThreadLocal();
  ++threads;
  while (true) {
    ++ticks;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Waits for the guard that nobody can release: a frame of the plugin that never returns.
void WaitForGuard() {
  TouchThreadLocal();
  ++threads;
  guarded.lock();
}

#ifdef PLUGIN_SECOND_SHAPE
class Second final : public Rule {
  int64_t Apply(int64_t state) const override { return state + 1000; }
};
const Second rule;
int64_t Apply(int64_t state) { return state * 3 % 1000003; }
#else
class First final : public Rule {
  int64_t Apply(int64_t state) const override { return state + static_cast<int64_t>(names.size()); }
};
const First rule;
int64_t Apply(int64_t state) { return state + 1; }
#endif

constexpr PluginApi Api() {
  return {.revision = nullptr,
          .apply = &Apply,
          .rule = &rule,
          .ticks = &ticks,
          .threads = &threads,
          .destructors = &destructors,
          .touch_thread_local = &TouchThreadLocal};
}
PluginApi api = Api();

}  // namespace
}  // namespace liveexec::hazards

extern "C" const liveexec::hazards::PluginApi* liveexec_test_plugin(const char* trap) {
  using namespace liveexec::hazards;  // NOLINT(google-build-using-namespace)
  strncpy(trap_path, trap, sizeof(trap_path) - 1);
  api.revision = revision;
  atexit([] { Trap("atexit handler"); });
  at_quick_exit([] { Trap("at_quick_exit handler"); });
  TouchThreadLocal();
  LeakGuard();
  std::thread(&Tick).detach();
  std::thread(&WaitForGuard).detach();
  while (threads < 2) std::this_thread::yield();
  return &api;
}
