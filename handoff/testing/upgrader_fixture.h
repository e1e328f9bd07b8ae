// UpgraderTest: an upgrader over a thread of its own, with two components that write down what is
// called on them, for tests of what happens before an exec. They are in one process: a component
// has to refuse each upgrade that gets as far as the blackout.
#ifndef LIVEEXEC_HANDOFF_TESTING_UPGRADER_FIXTURE_H_
#define LIVEEXEC_HANDOFF_TESTING_UPGRADER_FIXTURE_H_

#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "handoff/component.h"
#include "handoff/journal.h"
#include "handoff/testing/thread_executor.h"
#include "handoff/upgrader.h"

namespace liveexec {

// Writes down what is called on it, in a list that all share.
class Recorded : public Component {
 public:
  Recorded(std::string name, std::vector<std::string>& calls)
      : name_(std::move(name)), calls_(calls) {}

  using Done = absl::AnyInvocable<void(absl::Status) &&>;

  std::function<absl::Status()> on_initialize, on_quiesce, on_export;
  std::function<void(Done)> on_precopy;  // instead of being done at once
  int precopies = 0, abandoned_precopies = 0;

  std::string_view name() const override { return name_; }
  absl::Status Initialize() override { return Note("initialize", on_initialize); }
  void Precopy(const Successor&, Done done) override {
    ++precopies;
    if (on_precopy) return on_precopy(std::move(done));
    std::move(done)(absl::OkStatus());
  }
  void AbandonPrecopy() override { ++abandoned_precopies; }
  absl::Status Quiesce() override { return Note("quiesce", on_quiesce); }
  absl::Status Export(ExportContext&) const override { return Note("export", on_export); }
  void Resume() override { (void)Note("resume", nullptr); }
  absl::Status Rehydrate(ImportContext&) override { return Note("rehydrate", nullptr); }
  void Activate() override { (void)Note("activate", nullptr); }

 private:
  absl::Status Note(const std::string& call, const std::function<absl::Status()>& fault) const {
    calls_.push_back(call + " " + name_);
    return fault ? fault() : absl::OkStatus();
  }

  std::string name_;
  std::vector<std::string>& calls_;
};

// The test's own thread is one of the process's threads: the upgrade signal is blocked in all.
class WithSignalBlocked {
 public:
  WithSignalBlocked() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }
};

// On a main executor that can have the framework as its guest, and on one that cannot.
class UpgraderTest : public ::testing::TestWithParam<ThreadExecutor::Watching> {
 protected:
  ~UpgraderTest() override {
    main_.Run([&] { upgrader_.reset(); });
  }

  void Create(std::string binary = "/proc/self/exe") {
    options_.upgrade_binary = std::move(binary);
    main_.Run([&] {
      auto upgrader = Upgrader::Create(main_, options_);
      ASSERT_TRUE(upgrader.ok()) << upgrader.status();
      upgrader_ = *std::move(upgrader);
    });
  }

  absl::Status Register(Component& component) {
    absl::Status status;
    main_.Run([&] { status = upgrader_->Register(component); });
    return status;
  }

  absl::Status Start() {
    absl::Status status;
    main_.Run([&] { status = upgrader_->Start(); });
    return status;
  }

  void CreateAndStart() {
    Create();
    ASSERT_TRUE(Register(one_).ok());
    ASSERT_TRUE(Register(two_).ok());
    absl::Status status = Start();
    ASSERT_TRUE(status.ok()) << status;
    main_.Run([&] { calls_.clear(); });
  }

  std::future<JournalEntry> Request(UpgradeRequest request = {}) {
    auto promise = std::make_shared<std::promise<JournalEntry>>();
    upgrader_->Request(std::move(request),
                       [promise](const JournalEntry& entry) { promise->set_value(entry); });
    return promise->get_future();
  }

  std::vector<JournalEntry> History() {
    std::vector<JournalEntry> entries;
    main_.Run([&] {
      const Journal journal = upgrader_->journal();
      entries.assign(journal.entries().begin(), journal.entries().end());
    });
    return entries;
  }

  WithSignalBlocked blocked_;
  // Before Create. Deadlines that only a hang would reach.
  UpgraderOptions options_ = {.quiesce_deadline = absl::Seconds(60),
                              .blackout_budget = absl::Seconds(120),
                              .rehearse = false,
                              .custodian = false};
  std::vector<std::string> calls_;
  Recorded one_{"one", calls_}, two_{"two", calls_};
  ThreadExecutor main_{GetParam()};
  std::unique_ptr<Upgrader> upgrader_;
};

inline auto BothExecutors() {
  return ::testing::Values(ThreadExecutor::Watching::kCannot, ThreadExecutor::Watching::kCan);
}

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_UPGRADER_FIXTURE_H_
