// History: what clients asked of shared keys, when, and what they were told.
//
// An operation is invoked, and then completes in one of three ways: ok (with its result), fail (it
// certainly had no effect) or unknown (the connection broke: it may have had its effect, or may
// still have it). CheckLinearizable (linearizability.h) says whether a history can be explained.
//
// Values are integers; a key that does not exist has kAbsent. Not thread-safe.
#ifndef LIVEEXEC_TESTS_HARNESS_HISTORY_H_
#define LIVEEXEC_TESTS_HARNESS_HISTORY_H_

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace liveexec::harness {

inline constexpr int64_t kAbsent = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

struct Operation {
  enum class Kind : uint8_t {
    kRead,   // result: the value
    kWrite,  // argument: the value
    kAdd,    // argument: what is added; result: the sum; an absent key counts as 0
  };
  enum class Outcome : uint8_t { kPending, kOk, kFail, kUnknown };

  int client = 0;
  std::string key;
  Kind kind = Kind::kRead;
  int64_t argument = 0;
  Outcome outcome = Outcome::kPending;
  int64_t result = 0;
  int64_t invoked_ns = 0;  // CLOCK_MONOTONIC
  int64_t completed_ns = kNever;

  // "client 3: add 1 to counter:2 = 17 [1.204 .. 1.206 s]", times since `epoch_ns`
  std::string ToString(int64_t epoch_ns) const;
};

class History {
 public:
  using Id = size_t;
  Id Invoke(int client, const std::string& key, Operation::Kind kind, int64_t argument);
  void Ok(Id id, int64_t result);
  void Fail(Id id);
  // The connection broke while the operation was under way.
  void Unknown(Id id);

  const std::vector<Operation>& operations() const { return operations_; }
  // By key, in the order of invocation. Pending operations count as unknown.
  std::map<std::string, std::vector<Operation>> ByKey() const;

 private:
  std::vector<Operation> operations_;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_HISTORY_H_
