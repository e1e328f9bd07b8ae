#include "handoff/crew.h"

#include <pthread.h>
#include <signal.h>

#include <functional>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"

namespace liveexec {
namespace {

// A thread inherits its creator's mask: so that no signal for the process lands on a crew thread,
// not even at its very beginning, all are blocked while it is created.
std::thread StartWithSignalsBlocked(const std::function<void()>& run) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  try {
    thread = std::thread([&run] { run(); });
  } catch (const std::system_error&) {
    // No thread: the caller sees that it is not joinable.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

// Ends the crew when the scope of `body` is left, also by an exception. It lives in WithCrew's own
// frame, where nobody can leak it.
class Running {
 public:
  Running(Upgrader& upgrader, const std::vector<CrewMember>& members)
      : upgrader_(upgrader), members_(members) {}

  ~Running() {
    for (size_t i = 0; i < threads_.size(); ++i) {
      upgrader_.RemoveThread(*members_[i].executor);
      members_[i].executor->Post([&member = members_[i]] { member.stop(); });
    }
    for (std::thread& thread : threads_) thread.join();
  }

  bool StartNext() {
    const CrewMember& member = members_[threads_.size()];
    std::thread thread = StartWithSignalsBlocked(member.run);
    if (!thread.joinable()) return false;
    threads_.push_back(std::move(thread));
    upgrader_.AddThread(*member.executor);
    return true;
  }

 private:
  Upgrader& upgrader_;
  const std::vector<CrewMember>& members_;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::Status WithCrew(Upgrader& upgrader, const std::vector<CrewMember>& members,
                      absl::FunctionRef<void()> body) {
  Running running(upgrader, members);
  for (size_t i = 0; i < members.size(); ++i) {
    if (!running.StartNext()) {
      return absl::ResourceExhaustedError(absl::StrCat("no thread can be started beside ", i));
    }
  }
  body();
  return absl::OkStatus();
}

}  // namespace liveexec
