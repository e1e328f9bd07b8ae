// An upgrade for whose every step, one after the other, there is no memory: it may fail, and what
// is told of it may be lost, but the server lives and the next upgrade is like any other.
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <semaphore>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "handoff/component.h"
#include "handoff/control_client.h"
#include "handoff/error_code.h"
#include "handoff/journal.h"
#include "handoff/program_note.h"
#include "handoff/testing/upgrader_fixture.h"
#include "tests/harness/temp_dir.h"

namespace {

// Allocations on the framework's own threads to go until one fails, and how many fail then.
std::atomic<int> until_failure{-1};
std::atomic<int> failures{0};

bool IsFrameworkThread() {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return std::string_view(name) == "liveexec";
}

bool Fails() {
  if (until_failure < 0 && failures <= 0) return false;
  if (!IsFrameworkThread()) return false;
  if (until_failure >= 0 && until_failure.fetch_sub(1) > 0) return false;
  return failures.fetch_sub(1) > 0;
}

}  // namespace

#if !defined(__clang_analyzer__)  // It takes what std::function holds for leaked then.
void* operator new(size_t size) {
  void* memory = Fails() ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return Fails() ? nullptr : std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif

LIVEEXEC_APPLICATION("upgrader-memory-test", "1");
LIVEEXEC_COMPONENT("one", 1, 1);
LIVEEXEC_COMPONENT("two", 1, 1);

namespace liveexec {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);  // reached by a hang alone

// What the requester heard; or that there was no memory to tell it. Takes none itself, as a promise
// that is broken does.
struct Answer {
  std::binary_semaphore ended{0};
  std::optional<JournalEntry> entry;
};

class UpgraderMemory : public UpgraderTest {
 protected:
  std::optional<JournalEntry> Upgrade() {
    Answer answer;
    auto release = [](Answer* it) { it->ended.release(); };
    std::shared_ptr<Answer> shared(&answer, release);
    upgrader_->Request(
        {}, [shared = std::move(shared)](const JournalEntry& entry) { shared->entry = entry; });
    answer.ended.acquire();
    return answer.entry;
  }

  // In an attempt of FailEach: what follows has no memory at some point.
  void FailFromHere() {
    failures = count_;
    until_failure = at_;
  }

  // Fails `count` allocations from each one on, in what `attempt` does after FailFromHere.
  void FailEach(int count, const std::function<void()>& attempt,
                const std::function<void()>& next) {
    count_ = count;
    bool reached = true;
    for (at_ = 0; reached && !HasFailure(); ++at_) {
      SCOPED_TRACE(absl::StrCat("allocation ", at_, " and ", count - 1, " more"));
      attempt();
      main_.Settle();
      reached = failures < count;
      until_failure = -1;
      failures = 0;
      next();
    }
    EXPECT_GT(at_, 10);
  }

  // In one that ends with `code` when there is memory for it.
  void FailEachUpgrade(int count, std::string_view code) {
    const auto attempt = [this] {
      FailFromHere();
      (void)Upgrade();
    };
    FailEach(count, attempt, [&] { ExpectUpgradeEnds(code); });
  }

  void ExpectUpgradeEnds(std::string_view code) {
    const std::optional<JournalEntry> entry = Upgrade();
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->code, code) << entry->message;
  }

 private:
  int at_ = 0, count_ = 0;
};

TEST_P(UpgraderMemory, AnUpgradeThatIsRefusedLeavesTheNextOneAsItWas) {
  Create("/nowhere/at/all");
  ASSERT_TRUE(Start().ok());
  for (int count : {1, 20}) FailEachUpgrade(count, "E_NOENT");
}

TEST_P(UpgraderMemory, SoDoesOneThatComesToItsBlackout) {
  one_.on_quiesce = [] { return absl::UnavailableError("not today"); };
  CreateAndStart();
  for (int count : {1, 20}) FailEachUpgrade(count, "E_QUIESCE");
  // Whatever was told of its precopy was told that there is to be none.
  EXPECT_GT(one_.precopies, 0);
  EXPECT_GE(one_.abandoned_precopies, one_.precopies);
}

INSTANTIATE_TEST_SUITE_P(Executors, UpgraderMemory, BothExecutors());

using Ask = absl::Status (*)(ControlClient&);

// On a thread of the framework's own, where it is its allocations that fail.
class ControlMemory : public UpgraderMemory {
 protected:
  // Whoever asks gets an answer, or the end of the connection: never silence.
  void FailEachOf(Ask request) {
    const harness::TempDir directory;
    options_.control_socket = directory.path() + "/control";
    absl::Status last;
    int asked = 0;
    const auto ask = [&] {
      // A new one, now and then: each answers only so many requests a second.
      if (asked++ % 100 == 0) {
        main_.Run([this] { upgrader_.reset(); });
        Create("/nowhere/at/all");
        ASSERT_TRUE(Start().ok());
      }
      FailFromHere();
      auto client = ControlClient::Connect(options_.control_socket, kPatience);
      last = client.ok() ? request(*client) : client.status();
      EXPECT_NE(CodeOf(last), "E_TIMEOUT");
    };
    FailEach(1, ask, [&] { ExpectUpgradeEnds("E_NOENT"); });
    EXPECT_TRUE(last.ok()) << last;
  }
};

TEST_P(ControlMemory, WhoeverAsksForAnUpgradeIsNotLeftWaiting) {
  FailEachOf([](ControlClient& client) { return client.Upgrade({}, kPatience, nullptr).status(); });
}

TEST_P(ControlMemory, NorIsWhoeverAsksForTheStatus) {
  FailEachOf([](ControlClient& client) { return client.Status(kPatience).status(); });
}

TEST_P(ControlMemory, NorIsWhoeverAsksForTheHistory) {
  FailEachOf([](ControlClient& client) { return client.History(1, kPatience).status(); });
}

TEST_P(ControlMemory, NorIsWhoeverAsksForTheDoctor) {
  FailEachOf([](ControlClient& client) { return client.Doctor(kPatience).status(); });
}

INSTANTIATE_TEST_SUITE_P(Executors, ControlMemory,
                         ::testing::Values(ThreadExecutor::Watching::kCannot));

}  // namespace
}  // namespace liveexec
