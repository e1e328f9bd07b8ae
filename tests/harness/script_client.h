// ScriptClient: plays a written dialogue with a TCP server, again and again.
//
// A script is lines of
//   send TEXT      sends it
//   expect TEXT    must come next, byte by byte
//   think MS       waits up to so long
//   # remark
// with \r \n \t \\ and \xNN in TEXT, and {n} for a number that counts the rounds. Each round is
// one request: its replies must be there before the next one begins.
#ifndef LIVEEXEC_TESTS_HARNESS_SCRIPT_CLIENT_H_
#define LIVEEXEC_TESTS_HARNESS_SCRIPT_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/harness/client.h"
#include "tests/harness/random.h"
#include "tests/harness/visitor.h"

namespace liveexec::harness {

struct Script {
  struct Round {  // what is sent without waiting, and what has to come back for it
    std::string send;
    std::string expect;
    absl::Duration think;
  };
  std::vector<Round> rounds;

  // InvalidArgument names the line.
  static absl::StatusOr<Script> Parse(std::string_view text);
  // Round `number` of a run, {n} replaced.
  Exchange At(uint64_t number) const;
};

class ScriptClient final : public Client {
 public:
  // `script` is borrowed.
  ScriptClient(EventLoop& loop, std::string name, Random random, const Script& script,
               bool only_on_demand)
      : Client(loop, std::move(name)),
        random_(random),
        script_(script),
        only_on_demand_(only_on_demand) {}

  void Start() override;
  void Stop() override { running_ = false; }
  void Prove() override { Next(); }

 private:
  void OnReplies() override;
  void Next();

  Random random_;
  const Script& script_;
  bool only_on_demand_;
  bool running_ = true;
  uint64_t round_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_SCRIPT_CLIENT_H_
