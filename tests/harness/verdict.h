// Verdict: what a harness can say of a server's upgrades, one name for each way to fail.
//
// The names (VerdictName) are stable: reports, JUnit files, --allow and other programs use them.
#ifndef LIVEEXEC_TESTS_HARNESS_VERDICT_H_
#define LIVEEXEC_TESTS_HARNESS_VERDICT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace liveexec::harness {

enum class Verdict : uint8_t {
  kInvisible,  // nobody noticed
  // What clients see.
  kConnectionLost,
  kConnectionRefused,
  kByteLost,
  kByteDoubled,
  kByteReordered,
  kByteForeign,
  kReplyMissing,
  kAnsweredTwice,
  kWrongReply,
  kWriteLost,
  kWriteDoubled,
  kMessageLost,
  kTimerForgotten,
  kStalled,
  // What the process shows.
  kPidChanged,
  kProcessChanged,
  kFdLeaked,
  kMemoryLeaked,
  kThreadLeaked,
  kChildForgotten,
  kLockLost,
  kUpgradeFailed,
  kServerDied,
};
inline constexpr int kVerdicts = static_cast<int>(Verdict::kServerDied) + 1;

// "byte-lost"
std::string_view VerdictName(Verdict verdict);
// One sentence for a person: "A byte that the server took or sent never arrived."
std::string_view VerdictMeaning(Verdict verdict);
std::optional<Verdict> VerdictFromName(std::string_view name);

// One thing that should not have happened.
struct Anomaly {
  Verdict verdict = Verdict::kInvisible;
  std::string who;                   // "checking client 7 (127.0.0.1:51234)", "the process"
  std::string text;                  // which byte, which key, which fd
  int64_t at_ns = 0;                 // CLOCK_MONOTONIC; when it showed
  int upgrade = 0;                   // the upgrade that it belongs to, from 1; 0: before the first
  std::string phase;                 // of that upgrade: "asked", "Executing", "after"
  std::string binary;                // that was being put in place
  std::vector<std::string> history;  // the operations that led there, in order

  // "byte-lost: checking client 7 (127.0.0.1:51234), upgrade 3 (Executing): ..."
  std::string ToString() const;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_VERDICT_H_
