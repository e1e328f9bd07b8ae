// Snapshot: what the kernel holds for a process, to be compared with what it holds later.
//
//   Snapshot before = TakeSnapshot(pid).value();
//   ... twenty upgrades ...
//   EXPECT_THAT(Differences(before, TakeSnapshot(pid).value()), IsEmpty());
//
// Read from /proc; needs no help from the process. Fds are compared by what they are, not by their
// numbers, which an upgrade may change.
#ifndef LIVEEXEC_TESTS_HARNESS_SNAPSHOT_H_
#define LIVEEXEC_TESTS_HARNESS_SNAPSHOT_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace liveexec::harness {

struct FdInfo {
  int number = -1;
  std::string kind;    // "tcp", "unix", "pipe", "eventpoll", "memfd", "file", ...
  std::string target;  // "127.0.0.1:6379 listening", "/var/log/x", "liveexec:manifest"; without
                       // inode numbers
  std::string flags;   // access mode and status flags, octal, without O_CLOEXEC
  bool close_on_exec = false;
};

struct ChildInfo {
  pid_t pid = 0;
  std::string comm;
  char state = '?';
};

struct Snapshot {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  int nice = 0;
  int threads = 0;
  int64_t resident_bytes = 0;
  int64_t proportional_bytes = 0;  // PSS; 0 when it cannot be read
  std::string comm;
  std::string executable;
  std::string directory;
  std::vector<std::string> command_line;
  std::vector<std::string> environment;  // sorted
  std::vector<FdInfo> fds;
  std::vector<ChildInfo> children;
  std::vector<std::string> locks;             // "POSIX ADVISORY WRITE 08:01:1234 0 EOF"
  std::map<std::string, std::string> limits;  // "Max open files" -> "1024 4096 files"
  std::map<std::string, std::string>
      signals;  // "SigBlk", "SigIgn", "SigCgt", "ShdPnd" of the main thread, without libc's own

  // How many fds there are of each kind.
  std::map<std::string, int> FdCounts() const;
};

// NotFound: there is no such process, or it is not ours to read.
absl::StatusOr<Snapshot> TakeSnapshot(pid_t pid);

struct DiffOptions {
  bool connections = true;  // accepted connections count; listeners and others always do
  // The executable's path, argv, and which file an O_PATH fd holds; all of these may change by an
  // upgrade.
  bool executable = false;
  int64_t memory_growth = -1;  // resident bytes that may be added; -1: any
};

// One sentence for each difference: "fds: + tcp 127.0.0.1:80 listening (2)", "comm: 'a' became
// 'b'".
std::vector<std::string> Differences(const Snapshot& before, const Snapshot& after,
                                     const DiffOptions& options = {});

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_SNAPSHOT_H_
