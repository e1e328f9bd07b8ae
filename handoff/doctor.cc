#include "handoff/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/error.h"
#include "handoff/file_locks.h"
#include "handoff/open_fds.h"
#include "handoff/snapshot.h"

namespace liveexec {
namespace {

using Weight = Finding::Weight;

std::vector<std::string> ReadLines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The value of a "Name:\tvalue" line of /proc/self/status.
std::string StatusField(absl::string_view name) {
  for (const std::string& line : ReadLines("/proc/self/status")) {
    if (!absl::StartsWith(line, absl::StrCat(name, ":"))) continue;
    return std::string(absl::StripLeadingAsciiWhitespace(line.substr(name.size() + 1)));
  }
  return "";
}

class Examination {
 public:
  Examination(Program& program, Executor* caller) : program_(program), caller_(caller) {}

  absl::StatusOr<std::vector<Finding>> Run() {
    LIVEEXEC_RETURN_IF_ERROR(ExamineFds());
    ExamineThreads();
    ExamineTimers();
    ExamineLocks();
    ExamineSignals();
    ExamineMemory();
    std::stable_sort(findings_.begin(), findings_.end(), [](const Finding& a, const Finding& b) {
      return static_cast<int>(a.weight) > static_cast<int>(b.weight);
    });
    return std::move(findings_);
  }

 private:
  void Add(Weight weight, std::string what, std::string remark) {
    findings_.push_back({weight, std::move(what), std::move(remark)});
  }

  absl::Status ExamineFds() {
    FdInspector inspector(program_.syscalls);
    // Connections come and go: what is not in both lists is none of anybody's.
    LIVEEXEC_ASSIGN_OR_RETURN(const std::vector<OpenFd> listed,
                              ListOpenFds(program_.syscalls, inspector));
    std::set<std::pair<int, uint64_t>> before;
    for (const OpenFd& one : listed) before.insert({one.fd, one.inode});
    const Successor itself{.note = &program_.note};
    LIVEEXEC_ASSIGN_OR_RETURN(Exported exported,
                              TakeSnapshot(program_, inspector, itself, caller_));
    LIVEEXEC_ASSIGN_OR_RETURN(open_, ListOpenFds(program_.syscalls, inspector));
    std::erase_if(open_, [&](const OpenFd& one) { return !before.contains({one.fd, one.inode}); });
    std::map<int, std::string> roles;
    for (size_t i = 0; i < exported.fds.size(); ++i) {
      const FdEntry& entry = exported.entries[i];
      roles[exported.fds[i]] = absl::StrCat(entry.component, "/", entry.role, "/", entry.number);
      carried_.insert(exported.fds[i]);
    }
    FindSelfPipes();
    for (const OpenFd& one : open_) ExamineFd(one, roles);
    return absl::OkStatus();
  }

  // Pipes both ends of which are in this process: they wake up its own loops and threads.
  void FindSelfPipes() {
    std::map<uint64_t, int> ends;  // by inode: 1 for the reading one, 2 for the other
    for (const OpenFd& one : open_) {
      struct stat status;
      if (one.kind != FdKind::kPipe || fstat(one.fd, &status) != 0) continue;
      const int flags = program_.syscalls.Fcntl(one.fd, F_GETFL, 0);
      if (flags < 0) continue;
      int& seen = ends[status.st_ino];
      seen |= (flags & O_ACCMODE) == O_RDONLY ? 1 : 2;
      if (seen == 3) self_pipes_.insert(status.st_ino);
    }
  }

  bool IsSelfPipe(int fd) const {
    struct stat status;
    return fstat(fd, &status) == 0 && self_pipes_.contains(status.st_ino);
  }

  void ExamineFd(const OpenFd& one, const std::map<int, std::string>& roles) {
    std::string what = absl::StrCat("fd ", one.fd, ", ", std::string(FdKindName(one.kind)));
    auto role = roles.find(one.fd);
    if (role != roles.end()) {
      absl::StrAppend(&what, ", ", role->second);
      int flags = program_.syscalls.Fcntl(one.fd, F_GETFL, 0);
      if (flags >= 0 && (flags & O_ASYNC) != 0) {
        Add(Weight::kLost, what,
            "O_ASYNC: its SIGIO comes during the upgrade and kills a program without a handler; "
            "clear O_ASYNC in Quiesce and set it in Activate");
      }
      return;
    }
    if (IsFrameworks(one.fd)) return;
    if (std::string_view why = WhyNotCarriable(one.kind); !why.empty()) {
      Add(Weight::kLost, what, std::string(why));
    } else if (one.kind == FdKind::kEventfd || one.kind == FdKind::kEpoll ||
               one.kind == FdKind::kSignalfd) {
      Add(Weight::kNote, what, "closed by exec: event loops and watchers make theirs anew");
    } else if (one.kind == FdKind::kPipe && IsSelfPipe(one.fd)) {
      Add(Weight::kNote, what,
          "closed by exec, with what is in it; both ends are this process's own, as those that "
          "libuv wakes itself up by and makes anew");
    } else {
      Add(Weight::kLost, what, "closed by exec: no component carries it");
    }
    if (one.inheritable) {
      Add(Weight::kNote, what, "not CLOEXEC: an upgrade makes it so, and children inherit it");
    }
  }

  // The programs that we keep pinned.
  bool IsFrameworks(int fd) const {
    const std::vector<int>& own = program_.own_fds;
    return fd == program_.own_image->fd() || std::find(own.begin(), own.end(), fd) != own.end() ||
           (program_.previous_image && fd == program_.previous_image->fd());
  }

  void ExamineThreads() {
    std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir("/proc/self/task"), closedir);
    if (tasks == nullptr) return;
    size_t count = 0;
    std::string names;
    while (const struct dirent* entry = readdir(tasks.get())) {
      if (entry->d_name[0] == '.') continue;
      ++count;
      auto lines = ReadLines(absl::StrCat("/proc/self/task/", entry->d_name, "/comm"));
      absl::StrAppend(&names, names.empty() ? "" : ", ", lines.empty() ? "?" : lines[0]);
    }
    size_t known = program_.parking.size() + 1;  // The main thread is not parked by others.
    if (count <= known) return;
    Add(Weight::kLost, absl::StrCat(count - known, " of ", count, " threads (", names, ")"),
        "not registered with AddThread: they end in the middle of what they do; libuv's pool is "
        "fine, as its work is waited for");
  }

  void ExamineTimers() {
    for (const std::string& line : ReadLines("/proc/self/timers")) {
      if (!absl::StartsWith(line, "ID:")) continue;
      Add(Weight::kLost, absl::StrCat("POSIX timer ", line.substr(3)),
          "exec destroys it; use uv::Timers, or a carried timerfd");
    }
    for (int which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
      struct itimerval value;
      if (getitimer(static_cast<__itimer_which_t>(which), &value) != 0) continue;
      if (value.it_value.tv_sec == 0 && value.it_value.tv_usec == 0) continue;
      Add(Weight::kLost, absl::StrCat("interval timer ", which),
          "it goes on across exec and its signal kills a program without a handler; stop it in "
          "Quiesce");
    }
  }

  // exec closes the fds of the inode, which drops its POSIX locks. Those of carried files are taken
  // again.
  void ExamineLocks() {
    std::set<uint64_t> taken_again;  // inodes
    for (bool carried : {true, false}) {
      for (const OpenFd& one : open_) {
        if (one.kind != FdKind::kFile || carried_.contains(one.fd) != carried) continue;
        struct stat status;
        auto locks = LocksOf(program_.syscalls, one.fd);
        if (!locks.ok() || locks->empty() || fstat(one.fd, &status) != 0) continue;
        if (taken_again.contains(status.st_ino)) continue;  // A duplicate.
        std::string what =
            absl::StrCat(locks->size(), locks->size() == 1 ? " POSIX lock" : " POSIX locks",
                         " on inode ", status.st_ino, " (fd ", one.fd, ")");
        if (carried) {
          taken_again.insert(status.st_ino);
          Add(Weight::kNote, std::move(what),
              "exec drops it, and the next program takes it again: in between another process can "
              "have it; flock() and OFD locks have no such window");
        } else {
          Add(Weight::kLost, std::move(what),
              "lost when exec closes this fd; carry it, or use flock() or an OFD lock");
        }
      }
    }
  }

  void ExamineSignals() {
    int parent_death = 0;
    prctl(PR_GET_PDEATHSIG, &parent_death);
    if (parent_death != 0) {
      Add(Weight::kNote, "parent-death signal", "kept by exec unless the program gains privileges");
    }
    uint64_t caught = 0;
    if (!absl::SimpleHexAtoi(StatusField("SigCgt"), &caught)) return;
    std::string names;
    for (int number = 1; number < 32; ++number) {
      if ((caught >> (number - 1) & 1) == 0) continue;
      const char* name = sigabbrev_np(number);
      absl::StrAppend(&names, names.empty() ? "SIG" : ", SIG", name != nullptr ? name : "?");
    }
    if (names.empty()) return;
    Add(Weight::kNote, absl::StrCat("signal handlers for ", names),
        "exec resets them; the new program installs its own before or in Activate");
  }

  void ExamineMemory() {
    int64_t locked_kb = 0;
    std::vector<std::string> locked = absl::StrSplit(StatusField("VmLck"), ' ');
    if (absl::SimpleAtoi(locked[0], &locked_kb) && locked_kb > 0) {
      Add(Weight::kLost, absl::StrCat(locked_kb, " kB of locked memory"),
          "mlock ends at exec; lock again in Activate");
    }
    std::set<std::string> seen;
    for (const std::string& line : ReadLines("/proc/self/maps")) {
      if (absl::StrContains(line, "/[aio]") && seen.insert("aio").second) {
        Add(Weight::kLost, "an AIO context", "exec destroys it; wait for its requests in Quiesce");
      }
      if (absl::StrContains(line, "/SYSV") && seen.insert("sysv").second) {
        Add(Weight::kLost, "SysV shared memory", "exec detaches it; attach it again in Rehydrate");
      }
    }
  }

  Program& program_;
  Executor* caller_;
  std::vector<OpenFd> open_;
  std::set<int> carried_;
  std::set<uint64_t> self_pipes_;  // inodes
  std::vector<Finding> findings_;
};

}  // namespace

absl::StatusOr<std::vector<Finding>> Diagnose(Program& program, Executor* caller) {
  return Examination(program, caller).Run();
}

std::string FormatFindings(const std::vector<Finding>& findings) {
  if (findings.empty()) return "everything that this process has open survives an upgrade\n";
  std::string text;
  for (const Finding& finding : findings) {
    const char* weight = finding.weight == Weight::kNote ? "note  " : "LOST  ";
    if (finding.weight == Weight::kRefused) weight = "REFUSE";
    absl::StrAppend(&text, weight, "  ", finding.what, ": ", finding.remark, "\n");
  }
  return text;
}

}  // namespace liveexec
