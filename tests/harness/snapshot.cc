#include "tests/harness/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/error.h"

namespace liveexec::harness {

namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string ReadLink(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  return size < 0 ? "" : std::string(target.data(), static_cast<size_t>(size));
}

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  DIR* open = opendir(directory.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(open);
  return names;
}

std::vector<std::string> NulSeparated(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, '\0');
  if (!parts.empty() && parts.back().empty()) parts.pop_back();
  return parts;
}

constexpr char kSocketLink[] = "socket:[";

// "socket:[1234]"
std::string InodeOf(const std::string& link) { return link.substr(8, link.size() - 9); }

using SocketNames =
    std::map<std::string, std::pair<std::string, std::string>>;  // inode -> (kind, target)

// "0100007F:1F90" of /proc/net/tcp.
std::string InternetAddress(const std::string& hex) {
  const std::vector<std::string> parts = absl::StrSplit(hex, ':');
  if (parts.size() != 2) return hex;
  const unsigned long port = std::strtoul(parts[1].c_str(), nullptr, 16);
  if (parts[0].size() != 8) return absl::StrCat("[", parts[0], "]:", port);
  const unsigned long raw = std::strtoul(parts[0].c_str(), nullptr, 16);
  return absl::StrFormat("%d.%d.%d.%d:%d", raw & 255, (raw >> 8) & 255, (raw >> 16) & 255,
                         raw >> 24, port);
}

// The whole machine's sockets are in these tables, tens of thousands on a busy one: only the lines
// of our process's inodes are taken apart. `field`: which one is the inode's.
bool IsOurs(absl::string_view line, int field, const std::set<std::string>& inodes) {
  size_t at = 0;
  for (int i = 0; at < line.size(); ++i) {
    at = line.find_first_not_of(' ', at);
    if (at == absl::string_view::npos) return false;
    const size_t end = std::min(line.find(' ', at), line.size());
    if (i == field) return inodes.count(std::string(line.substr(at, end - at))) > 0;
    at = end;
  }
  return false;
}

void AddInternetSockets(const std::string& net, const std::string& kind,
                        const std::set<std::string>& inodes, SocketNames& names) {
  for (const absl::string_view line : absl::StrSplit(ReadFile(absl::StrCat(net, kind)), '\n')) {
    if (!IsOurs(line, 9, inodes)) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 10 || fields[0] == "sl") continue;
    const bool listening = fields[3] == "0A";
    names[fields[9]] = {
        kind, listening ? InternetAddress(fields[1]) + " listening"
                        : InternetAddress(fields[1]) + " to " + InternetAddress(fields[2])};
  }
}

void AddUnixSockets(const std::string& net, const std::set<std::string>& inodes,
                    SocketNames& names) {
  for (const absl::string_view line : absl::StrSplit(ReadFile(net + "unix"), '\n')) {
    if (!IsOurs(line, 6, inodes)) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 7 || fields[0] == "Num") continue;
    const bool listening = (std::strtoul(fields[3].c_str(), nullptr, 16) & 0x10000u) != 0;
    const std::string path = fields.size() > 7 ? fields[7] : "unnamed";
    names[fields[6]] = {"unix", listening ? path + " listening" : path};
  }
}

// Of the sockets among `links`, which are those of the process's fds.
SocketNames NamesOfSockets(pid_t pid, const std::map<std::string, std::string>& links) {
  std::set<std::string> inodes;
  for (const auto& [fd, link] : links) {
    if (absl::StartsWith(link, kSocketLink)) inodes.insert(InodeOf(link));
  }
  const std::string net = absl::StrCat("/proc/", pid, "/net/");
  SocketNames names;
  for (const char* kind : {"tcp", "tcp6", "udp", "udp6"})
    AddInternetSockets(net, kind, inodes, names);
  AddUnixSockets(net, inodes, names);
  return names;
}

void Describe(const std::string& link, const SocketNames& sockets, FdInfo& info) {
  const size_t bracket = link.find(":[");
  if (absl::StartsWith(link, kSocketLink)) {
    const auto found = sockets.find(InodeOf(link));
    info.kind = found == sockets.end() ? "socket" : found->second.first;
    info.target = found == sockets.end() ? "" : found->second.second;
  } else if (absl::StartsWith(link, "anon_inode:")) {
    info.kind = std::string(absl::StripSuffix(absl::StripPrefix(link.substr(11), "["), "]"));
  } else if (absl::StartsWith(link, "/memfd:")) {
    info.kind = "memfd";
    info.target = std::string(absl::StripSuffix(link.substr(7), " (deleted)"));
  } else if (!link.empty() && link[0] == '/') {
    info.kind = absl::StartsWith(link, "/dev/") ? "device" : "file";
    info.target = link;
  } else {
    info.kind = link.substr(0, bracket);  // "pipe"
  }
}

// The value after "name:" in a text of such lines, trimmed.
std::string Field(const std::string& text, absl::string_view name) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, absl::StrCat(name, ":"))) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(name.size() + 1)));
  }
  return "";
}

int64_t Kilobytes(const std::string& text, absl::string_view name) {
  return std::strtoll(Field(text, name).c_str(), nullptr, 10) * 1024;
}

void ReadFds(const std::string& proc, pid_t pid, Snapshot& snapshot) {
  std::map<std::string, std::string> links;  // by number
  for (const std::string& name : Names(proc + "fd"))
    links[name] = ReadLink(absl::StrCat(proc, "fd/", name));
  const SocketNames sockets = NamesOfSockets(pid, links);
  for (const auto& [name, link] : links) {
    FdInfo info;
    if (link.empty()) continue;  // closed meanwhile; in our own process, the directory being read
    if (!absl::SimpleAtoi(name, &info.number)) continue;
    if (pid == getpid() && absl::EndsWith(link, "/fd") && absl::StartsWith(link, "/proc/"))
      continue;
    Describe(link, sockets, info);
    const std::string flags_field = Field(ReadFile(absl::StrCat(proc, "fdinfo/", name)), "flags");
    // Closed between the first look and this one.
    if (flags_field.empty() || ReadLink(absl::StrCat(proc, "fd/", name)) != link) continue;
    const unsigned long flags = std::strtoul(flags_field.c_str(), nullptr, 8);
    info.close_on_exec = (flags & O_CLOEXEC) != 0;
    info.flags = absl::StrFormat("0%o", flags & ~static_cast<unsigned long>(O_CLOEXEC));
    snapshot.fds.push_back(std::move(info));
  }
}

void ReadChildren(const std::string& proc, Snapshot& snapshot) {
  for (const std::string& task : Names(proc + "task")) {
    for (const absl::string_view child :
         absl::StrSplit(ReadFile(absl::StrCat(proc, "task/", task, "/children")), ' ',
                        absl::SkipWhitespace())) {
      ChildInfo info;
      if (!absl::SimpleAtoi(child, &info.pid)) continue;
      const std::string status = ReadFile(absl::StrCat("/proc/", child, "/status"));
      info.comm = Field(status, "Name");
      const std::string state = Field(status, "State");
      if (!state.empty()) info.state = state[0];
      snapshot.children.push_back(std::move(info));
    }
  }
}

void ReadLimits(const std::string& proc, Snapshot& snapshot) {
  constexpr size_t kNameWidth = 26;  // of the first column
  for (const absl::string_view line : absl::StrSplit(ReadFile(proc + "limits"), '\n')) {
    if (line.size() <= kNameWidth || absl::StartsWith(line, "Limit")) continue;
    const std::vector<std::string> values =
        absl::StrSplit(line.substr(kNameWidth), ' ', absl::SkipWhitespace());
    snapshot.limits[std::string(absl::StripAsciiWhitespace(line.substr(0, kNameWidth)))] =
        absl::StrJoin(values, " ");
  }
}

void ReadLocks(pid_t pid, Snapshot& snapshot) {
  for (const absl::string_view line : absl::StrSplit(ReadFile("/proc/locks"), '\n')) {
    std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    if (fields.size() < 8 || fields[4] != absl::StrCat(pid)) continue;
    fields.erase(fields.begin() + 4);
    fields.erase(fields.begin());
    snapshot.locks.push_back(absl::StrJoin(fields, " "));
  }
  std::sort(snapshot.locks.begin(), snapshot.locks.end());
}

// `set` as /proc has it, without the two signals that libc keeps to itself: it handles them from
// the first further thread on, whatever the program says, and a program cannot restore them.
std::string WithoutLibcsOwn(const std::string& set) {
  uint64_t bits = 0;
  if (!absl::SimpleHexAtoi(set, &bits)) return set;
  for (int number : {32, 33}) bits &= ~(uint64_t{1} << (number - 1));
  return absl::StrCat(absl::Hex(bits, absl::kZeroPad16));
}

void ReadStatus(const std::string& proc, Snapshot& snapshot) {
  const std::string status = ReadFile(proc + "status");
  snapshot.parent = static_cast<pid_t>(std::strtol(Field(status, "PPid").c_str(), nullptr, 10));
  snapshot.threads = static_cast<int>(std::strtol(Field(status, "Threads").c_str(), nullptr, 10));
  snapshot.resident_bytes = Kilobytes(status, "VmRSS");
  snapshot.proportional_bytes = Kilobytes(ReadFile(proc + "smaps_rollup"), "Pss");
  for (const char* name : {"SigBlk", "SigIgn", "SigCgt", "ShdPnd"})
    snapshot.signals[name] = WithoutLibcsOwn(Field(status, name));
}

// What a fd is, for comparison.
std::string Identity(const FdInfo& fd, const DiffOptions& options) {
  // Of a program that is held ready to go back to, it is as with the program that runs.
  const bool path_only = (std::strtol(fd.flags.c_str(), nullptr, 8) & O_PATH) != 0;
  if (path_only && !options.executable) return absl::StrCat(fd.kind, " held by its path");
  return absl::StrCat(fd.kind, fd.target.empty() ? "" : " ", fd.target, " flags ", fd.flags);
}

bool IsConnection(const FdInfo& fd) {
  return absl::StrContains(fd.target, " to ") || fd.target == "unnamed";
}

void DiffFds(const Snapshot& before, const Snapshot& after, const DiffOptions& options,
             std::vector<std::string>& differences) {
  std::map<std::string, int> balance;
  for (const FdInfo& fd : before.fds) {
    if (options.connections || !IsConnection(fd)) --balance[Identity(fd, options)];
  }
  for (const FdInfo& fd : after.fds) {
    if (options.connections || !IsConnection(fd)) ++balance[Identity(fd, options)];
  }
  for (const auto& [identity, count] : balance) {
    if (count == 0) continue;
    differences.push_back(
        absl::StrCat("fds: ", count > 0 ? "+ " : "- ", identity,
                     std::abs(count) > 1 ? absl::StrCat(" (", std::abs(count), ")") : ""));
  }
}

template <typename Value>
void DiffValue(const char* name, const Value& before, const Value& after,
               std::vector<std::string>& differences) {
  if (before != after)
    differences.push_back(absl::StrCat(name, ": '", before, "' became '", after, "'"));
}

void DiffLists(const char* name, const std::vector<std::string>& before,
               const std::vector<std::string>& after, std::vector<std::string>& differences) {
  for (const std::string& value : before) {
    if (std::find(after.begin(), after.end(), value) == after.end()) {
      differences.push_back(absl::StrCat(name, ": - ", value));
    }
  }
  for (const std::string& value : after) {
    if (std::find(before.begin(), before.end(), value) == before.end()) {
      differences.push_back(absl::StrCat(name, ": + ", value));
    }
  }
}

void DiffMaps(const char* name, const std::map<std::string, std::string>& before,
              const std::map<std::string, std::string>& after,
              std::vector<std::string>& differences) {
  for (const auto& [key, value] : before) {
    const auto found = after.find(key);
    DiffValue(absl::StrCat(name, " ", key).c_str(), value,
              found == after.end() ? "" : found->second, differences);
  }
}

std::vector<std::string> ChildNames(const Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const ChildInfo& child : snapshot.children) {
    names.push_back(
        absl::StrCat(child.pid, " ", child.comm, child.state == 'Z' ? " (zombie)" : ""));
  }
  return names;
}

}  // namespace

std::map<std::string, int> Snapshot::FdCounts() const {
  std::map<std::string, int> counts;
  for (const FdInfo& fd : fds) ++counts[fd.kind];
  return counts;
}

absl::StatusOr<Snapshot> TakeSnapshot(pid_t pid) {
  const std::string proc = absl::StrCat("/proc/", pid, "/");
  if (access(absl::StrCat(proc, "fd").c_str(), R_OK | X_OK) != 0) return ErrnoError(errno, proc);
  Snapshot snapshot;
  snapshot.pid = pid;
  snapshot.group = getpgid(pid);
  snapshot.session = getsid(pid);
  snapshot.nice = getpriority(PRIO_PROCESS, static_cast<id_t>(pid));
  ReadStatus(proc, snapshot);
  snapshot.comm = std::string(absl::StripSuffix(ReadFile(proc + "comm"), "\n"));
  snapshot.executable = ReadLink(proc + "exe");
  snapshot.directory = ReadLink(proc + "cwd");
  snapshot.command_line = NulSeparated(ReadFile(proc + "cmdline"));
  snapshot.environment = NulSeparated(ReadFile(proc + "environ"));
  std::sort(snapshot.environment.begin(), snapshot.environment.end());
  ReadFds(proc, pid, snapshot);
  ReadChildren(proc, snapshot);
  ReadLimits(proc, snapshot);
  ReadLocks(pid, snapshot);
  return snapshot;
}

std::vector<std::string> Differences(const Snapshot& before, const Snapshot& after,
                                     const DiffOptions& options) {
  std::vector<std::string> differences;
  DiffValue("pid", before.pid, after.pid, differences);
  DiffValue("parent", before.parent, after.parent, differences);
  DiffValue("process group", before.group, after.group, differences);
  DiffValue("session", before.session, after.session, differences);
  DiffValue("nice", before.nice, after.nice, differences);
  DiffValue("threads", before.threads, after.threads, differences);
  DiffValue("comm", before.comm, after.comm, differences);
  DiffValue("directory", before.directory, after.directory, differences);
  if (options.executable) {
    DiffValue("executable", before.executable, after.executable, differences);
    DiffLists("argument", before.command_line, after.command_line, differences);
  }
  DiffLists("environment", before.environment, after.environment, differences);
  DiffFds(before, after, options, differences);
  DiffLists("child", ChildNames(before), ChildNames(after), differences);
  DiffLists("lock", before.locks, after.locks, differences);
  DiffMaps("limit", before.limits, after.limits, differences);
  DiffMaps("signals", before.signals, after.signals, differences);
  if (options.memory_growth >= 0 &&
      after.resident_bytes - before.resident_bytes > options.memory_growth) {
    differences.push_back(absl::StrCat(
        "resident memory grew by ", (after.resident_bytes - before.resident_bytes) >> 10, " KiB"));
  }
  return differences;
}

}  // namespace liveexec::harness
