// VictimProcess: a victim (victim.cc) under test, its clients, and candidates to upgrade it to.
#ifndef LIVEEXEC_HANDOFF_TESTING_VICTIM_PROCESS_H_
#define LIVEEXEC_HANDOFF_TESTING_VICTIM_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/unique_fd.h"
#include "handoff/journal.h"
#include "tests/harness/child_process.h"
#include "tests/harness/temp_dir.h"

namespace liveexec {

// One connection to a victim. Every call aborts the test program after a minute.
class VictimClient {
 public:
  explicit VictimClient(const std::string& path);
  // The answer to a line, without its newline; "closed" when the server closed the connection.
  std::string Ask(std::string_view line);

 private:
  UniqueFd fd_;
};

class VictimProcess {
 public:
  // Starts a victim and waits until it serves. `environment`: besides the test's own.
  explicit VictimProcess(std::vector<std::string> environment = {});

  pid_t pid() const { return process_->pid(); }
  bool running() { return process_->running(); }
  VictimClient Connect() { return VictimClient(directory_.File("s")); }

  // The path of the running program's file, at the start.
  const std::string& program() const { return program_; }
  // A copy of the build `name` ("good", "drops", "forgets") with `fault` (misbehaviour.h), in the
  // victim's directory. The path is always the same for the same arguments; a new file each time.
  std::string Candidate(const std::string& name, const std::string& fault = "");

  // Asks for an upgrade to `binary` (empty: the default) and waits for its end.
  JournalEntry Upgrade(const std::string& binary);
  std::vector<JournalEntry> History();

 private:
  harness::TempDir directory_;
  std::string program_;
  std::unique_ptr<harness::ChildProcess> process_;
};

}  // namespace liveexec

#endif  // LIVEEXEC_HANDOFF_TESTING_VICTIM_PROCESS_H_
