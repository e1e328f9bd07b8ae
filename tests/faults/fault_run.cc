#include "tests/faults/fault_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <regex>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "handoff/error_code.h"
#include "tests/harness/clock.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/random.h"

namespace liveexec::faults {
namespace {

using harness::ClientSwarm;
using harness::Endpoint;
using harness::kPatience;
using harness::ServerUnderTest;
using harness::Snapshot;

constexpr char kReadyLine[] =
    "victim [a-z0-9]+ ready pid=[0-9]+ generation=0 mode=fresh tcp ([0-9]+)";

// Deadlines that no stall of the machine reaches; a cell that is about one names its own.
constexpr char kPatientVictim[] =
    "check=40000,rehearsal=40000,quiesce=40000,budget=40000,rehydrate=40000";

constexpr char kPathOnly[] = " held by its path";  // O_PATH

void Check(const absl::Status& status, const char* what) {
  if (!status.ok()) throw std::runtime_error(absl::StrCat(what, ": ", status.ToString()));
}

template <typename Value>
Value Must(absl::StatusOr<Value> result, const char* what) {
  Check(result.status(), what);
  return *std::move(result);
}

const char* Letter(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAbandoned:
      return "A";
    case Outcome::kCommitted:
      return "B";
    case Outcome::kRolledBack:
      return "C";
    case Outcome::kResurrected:
      return "R";
  }
  return "?";
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Whether a process of `group` runs, other than the victim's children, which outlive it.
bool GroupIsAlive(pid_t group) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    pid_t pid;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid) || getpgid(pid) != group)
      continue;
    const std::string comm = ReadFile(absl::StrCat("/proc/", pid, "/comm"));
    const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
    const bool zombie = absl::StrContains(stat, ") Z ");
    if (!comm.empty() && comm != "sleep\n" && comm != "cat\n" && !zombie) return true;
  }
  return false;
}

// Which differences an upgrade may make. A new program has the allowed part of the environment; the
// thread pool's threads are gone until they are needed again.
bool MayDiffer(const std::string& difference, bool another_process) {
  const auto starts = [&](const char* prefix) { return absl::StartsWith(difference, prefix); };
  if (starts("environment: -") || starts("environment: + LIVEEXEC_CHANNEL")) return true;
  // The programs that this one is and was, for a way back: two at most.
  if (starts("fds: ") && absl::EndsWith(difference, kPathOnly)) return true;
  if (starts("fds: + ") && absl::EndsWith(difference, std::string(kPathOnly) + " (2)")) return true;
  // A resurrected server is another process: whose child it is, and whose children were its own,
  // cannot be kept. The kernel names who took an flock, which is the one that died.
  if (!another_process) return false;
  return starts("lock: - FLOCK") || starts("pid") || starts("parent") || starts("child") ||
         starts("process group") || starts("session");
}

}  // namespace

bool Eventually(const std::function<bool()>& condition, absl::Duration timeout) {
  const int64_t deadline_ns = harness::NowNs() + absl::ToInt64Nanoseconds(timeout);
  while (!condition()) {
    if (harness::NowNs() > deadline_ns) return false;
    struct timespec pause = {0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
  return true;
}

SoftLimit::SoftLimit(pid_t pid, __rlimit_resource resource, rlim_t limit)
    : pid_(pid), resource_(resource) {
  if (prlimit(pid, resource, nullptr, &before_) != 0)
    throw Skipped{"prlimit is not permitted here"};
  const struct rlimit low = {limit, before_.rlim_max};
  if (prlimit(pid, resource, &low, nullptr) != 0) throw Skipped{"prlimit is not permitted here"};
}

SoftLimit::~SoftLimit() { prlimit(pid_, resource_, &before_, nullptr); }

FaultRun::FaultRun(const FaultRunOptions& options) : options_(options) {
  harness::ServerOptions start;
  if (!options.supervisor.empty()) {
    start.command = {Program("supervisor"), options.supervisor, "{dir}/notify"};
  }
  start.command.insert(start.command.end(), {Program(options.role), "{dir}",
                                             absl::StrCat("threads=", options.threads, ",",
                                                          kPatientVictim, ",", options.victim)});
  start.ready_line = kReadyLine;
  server_ = Must(ServerUnderTest::Start(std::move(start)), "start the victim");
  pid_ = options.supervisor.empty() ? server_->pid() : static_cast<pid_t>(Stat("pid"));
  first_pid_ = pid_;
  MakeFifos();
  StartSwarm(options.idle);
  ProveClients();
  TakeBaseline();
}

FaultRun::~FaultRun() {
  // Whoever waits for an answer gets one when the server ends.
  if (answer_.valid()) {
    kill(pid_, SIGKILL);
    server_->Signal(SIGKILL).IgnoreError();
    answer_.wait();
  }
}

void FaultRun::MakeFifos() {
  for (const char* name : {"events", "go", "gate"}) {
    if (mkfifo(File(name).c_str(), 0600) != 0) throw std::runtime_error("mkfifo");
  }
  // For reading and writing: nobody's open waits for another's.
  events_.reset(open(File("events").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  go_.reset(open(File("go").c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!events_ || !go_) throw std::runtime_error("open the fifos");
}

void FaultRun::StartSwarm(int idle) {
  swarm_ = std::make_unique<ClientSwarm>(endpoint(), harness::Protocol::kEcho, harness::RunSeed());
  Check(swarm_->AddIdle(idle), "connect idle clients");
  Check(swarm_->AddChecking(options_.checking), "connect checking clients");
  swarm_->Start();
}

std::string FaultRun::Program(const std::string& role) {
  // Tests start in the root of their runfiles, ./dev in the checkout.
  for (const char* root : {"", "bazel-bin/"}) {
    std::error_code error;
    for (const char* folder : {"tests/faults/victim/", "tests/faults/"}) {
      auto path = std::filesystem::canonical(absl::StrCat(root, folder, role), error);
      if (!error) return path.string();
    }
  }
  throw std::runtime_error(absl::StrCat("no program tests/faults/victim/", role));
}

std::string FaultRun::CopyOf(const std::string& role) {
  const std::string path = File(absl::StrCat("program-", ++copies_));
  std::filesystem::copy_file(Program(role), path);
  chmod(path.c_str(), 0755);
  return path;
}

std::string FaultRun::PatchedCopyOf(const std::string& role, const std::string& from,
                                    const std::string& to) {
  if (from.size() != to.size()) throw std::runtime_error("a patch of another length");
  const std::string path = CopyOf(role);
  std::string bytes = ReadFile(path);
  size_t found = 0;
  for (size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += to.size()) {
    bytes.replace(at, to.size(), to);
    ++found;
  }
  if (found == 0) throw std::runtime_error(absl::StrCat("nothing to patch: ", from));
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

void FaultRun::SetPlan(const std::string& lines) {
  // Replaced at once: a program may be reading it.
  const std::string path = File("plan");
  std::ofstream(path + ".new") << lines << "\n";
  std::filesystem::rename(path + ".new", path);
}

Stop FaultRun::AwaitStop() {
  const int64_t deadline_ns = harness::NowNs() + absl::ToInt64Nanoseconds(kPatience);
  while (stops_.find('\n') == std::string::npos) {
    struct pollfd wait = {events_.get(), POLLIN, 0};
    if (harness::NowNs() > deadline_ns || poll(&wait, 1, 1000) < 0) {
      throw std::runtime_error("the victim does not stop where the plan says");
    }
    char buffer[512];
    const ssize_t size = read(events_.get(), buffer, sizeof(buffer));
    if (size > 0) stops_.append(buffer, static_cast<size_t>(size));
  }
  const size_t end = stops_.find('\n');
  const std::vector<std::string> words = absl::StrSplit(stops_.substr(0, end), ' ');
  stops_.erase(0, end + 1);
  Stop stop{.point = words[1], .mode = words[2]};
  if (!absl::SimpleAtoi(words[0], &stop.pid)) throw std::runtime_error("a malformed event");
  return stop;
}

void FaultRun::Go() {
  if (write(go_.get(), "g", 1) != 1) throw std::runtime_error("write to the fifo");
}

Seen FaultRun::ToSeen(const absl::StatusOr<JournalEntry>& answer) {
  if (answer.ok()) {
    entry_ = *answer;
    if (entry_.outcome == Outcome::kResurrected) pid_ = static_cast<pid_t>(entry_.pid);
    return {Letter(entry_.outcome), entry_.code, entry_.message};
  }
  const std::string code = CodeOf(answer.status());
  // The server's own refusals; the others mean that there is no answer.
  const bool no_answer = code == "E_LOST" || code == "E_CONNECT" || code == "E_INTERNAL";
  return {no_answer ? "?" : "A", code, std::string(answer.status().message())};
}

Seen FaultRun::Upgrade(const std::string& binary) {
  return Upgrade(ControlUpgrade{.binary = binary});
}

Seen FaultRun::Upgrade(const ControlUpgrade& request) {
  auto client = ControlClient::Connect(ControlSocket());
  if (!client.ok()) return ToSeen(client.status());
  return ToSeen(client->Upgrade(request, kPatience, nullptr));
}

void FaultRun::BeginUpgrade(const std::string& binary) {
  answer_ = std::async(std::launch::async,
                       [binary, socket = ControlSocket()]() -> absl::StatusOr<JournalEntry> {
                         auto client = ControlClient::Connect(socket);
                         if (!client.ok()) return client.status();
                         return client->Upgrade({.binary = binary}, kPatience, nullptr);
                       });
}

Seen FaultRun::AwaitUpgrade() { return ToSeen(answer_.get()); }

std::vector<JournalEntry> FaultRun::History() {
  auto client = Must(ControlClient::Connect(ControlSocket()), "connect to the control socket");
  return Must(client.History(0), "history");
}

bool FaultRun::HasAnswer() {
  return answer_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

Seen FaultRun::LastUpgrade() {
  const std::vector<JournalEntry> history = History();
  if (history.empty()) throw std::runtime_error("the journal is empty");
  return ToSeen(history.back());
}

std::string FaultRun::Side(const std::string& line) {
  const UniqueFd fd = Must(harness::Dial(Endpoint::Unix(File("side"))), "connect to the side port");
  const std::string request = line + "\n";
  if (write(fd.get(), request.data(), request.size()) < 0) throw std::runtime_error("side port");
  std::string answer;
  while (answer.find('\n') == std::string::npos) {
    struct pollfd wait = {fd.get(), POLLIN, 0};
    char buffer[1024];
    if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) <= 0) break;
    const ssize_t size = read(fd.get(), buffer, sizeof(buffer));
    if (size <= 0) break;
    answer.append(buffer, static_cast<size_t>(size));
  }
  if (answer.empty() || answer.back() != '\n') {
    throw std::runtime_error(absl::StrCat("no answer from the side port to ", line));
  }
  answer.pop_back();
  return answer;
}

std::map<std::string, std::string> FaultRun::Stats() {
  std::map<std::string, std::string> stats;
  const std::string answer = Side("stats");
  for (const absl::string_view word : absl::StrSplit(answer, ' ')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(word, '=');
    stats.insert(pair);
  }
  return stats;
}

uint64_t FaultRun::Stat(const std::string& name) {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(Stats()[name], &value)) throw std::runtime_error("no statistic " + name);
  return value;
}

bool FaultRun::AwaitStat(const std::string& name, uint64_t value) {
  return Eventually([&] { return Stat(name) == value; });
}

void FaultRun::AddIdleClients(int count) {
  // The swarm is complete once it has started: so another takes its place.
  const harness::SwarmReport report = swarm_->Finish();
  echoed_to_others_ += report.bytes_arrived;
  StartSwarm(options_.idle + count);
  ProveClients();
  TakeBaseline();
}

void FaultRun::BeginAnew() {
  swarm_->Finish();
  Expect(AwaitStat("clients", 0), "the server keeps connections whose clients have gone");
  first_pid_ = pid_ = static_cast<pid_t>(Stat("pid"));
  echoed_to_others_ = Stat("echoed");
  StartSwarm(options_.idle);
  ProveClients();
  TakeBaseline();
}

// A thread blocks all signals while it starts another: what lasts is what two looks agree on.
void FaultRun::TakeBaseline() {
  before_ = Must(harness::TakeSnapshot(pid_), "snapshot");
  Eventually([&] {
    const Snapshot earlier = std::exchange(before_, Must(harness::TakeSnapshot(pid_), "snapshot"));
    return harness::Differences(earlier, before_).empty();
  });
}

// By its parent's number, among all processes: the lists of children are each thread's, and a child
// goes from one to another when its thread ends.
pid_t FaultRun::CustodianPid() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    pid_t pid;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    // It has the name of the framework's thread that started it.
    const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
    const size_t name = stat.find(" (liveexec) ");
    if (name == std::string::npos) continue;
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(name + 12), ' ');
    if (fields.size() > 1 && fields[0] != "Z" && fields[1] == absl::StrCat(pid_)) return pid;
  }
  return 0;
}

std::vector<std::string> FaultRun::Wreckage() const {
  std::vector<std::string> directories;
  const std::string output = server_->Output();
  const std::regex pattern("its state is in ([^)]+)");
  for (std::sregex_iterator match(output.begin(), output.end(), pattern), end; match != end;
       ++match) {
    directories.push_back((*match)[1]);
  }
  return directories;
}

int64_t FaultRun::ResidentBytes() {
  return Must(harness::TakeSnapshot(pid_), "snapshot").resident_bytes;
}

void FaultRun::Expect(bool condition, const std::string& problem) {
  if (!condition) problems_.push_back(problem);
}

void FaultRun::ProveClients() {
  const auto prove = [&](const absl::Status& status) {
    Expect(status.ok(), absl::StrCat("clients: ", status.ToString()));
  };
  prove(swarm_->ProveIdleAlive(kPatience));
  if (options_.checking > 0) prove(swarm_->AwaitReplies(3, kPatience));
}

std::vector<std::string> FaultRun::Drift() {
  auto now = harness::TakeSnapshot(pid_);
  if (!now.ok()) return {"the server is gone: " + now.status().ToString()};
  std::vector<std::string> differences = harness::Differences(before_, *now);
  std::erase_if(differences, [&](const std::string& difference) {
    return MayDiffer(difference, pid_ != first_pid_);
  });
  return differences;
}

void FaultRun::ProveUnchanged() {
  std::vector<std::string> drift;
  // What ends after the answer: the requester's connection, the custodian.
  Eventually([&] { return (drift = Drift()).empty(); }, absl::Seconds(5));
  for (const std::string& difference : drift) {
    problems_.push_back(absl::StrCat("the process is not as before: ", difference));
  }
  // It belongs to the open file, not to a process: so it is there after a resurrection as well.
  const UniqueFd data(open(File("data").c_str(), O_RDWR | O_CLOEXEC));
  Expect(flock(data.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK,
         "the data file is not locked any more");
}

void FaultRun::ProveNextUpgrade() {
  SetPlan("");
  // A program that writes a newer schema hands over to no older one.
  const std::string now = Stats()["role"];
  const std::string to = now == "new" || now == "incompatible" ? "new" : "v2";
  const Seen next =
      Upgrade(ControlUpgrade{.binary = Program(to), .max_blackout = options_.next_blackout});
  Expect(next.outcome == "B", absl::StrCat("the next upgrade does not succeed: ", next.outcome, " ",
                                           next.code, " ", next.message));
  if (next.outcome == "B") Expect(Stats()["role"] == to, "another program serves than " + to);
}

void FaultRun::ProveNothingLost() {
  const harness::SwarmReport report = swarm_->Finish();
  Expect(report.ok(), absl::StrCat("clients: ", report.ToString()));
  const uint64_t echoed = Stat("echoed");
  Expect(echoed == report.bytes_arrived + echoed_to_others_,
         absl::StrCat("the counter says ", echoed, " bytes, the clients got ",
                      report.bytes_arrived + echoed_to_others_));
}

void FaultRun::ProveStops() {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  kill(pid_, SIGTERM);
  struct pollfd end = {pidfd.get(), POLLIN, 0};
  const bool ended = poll(&end, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) > 0;
  Expect(ended, "the server does not stop at SIGTERM");
  // A resurrected server is nobody's child here; a supervisor ends with its service.
  if (!ended || (pid_ != server_->pid() && options_.supervisor.empty())) return;
  auto exit = server_->WaitForExit();
  Expect(exit.ok() && exit->ok(), "the server does not end cleanly");
}

void FaultRun::ProveLost() {
  auto exit = server_->WaitForExit();
  Expect(exit.ok(), "the server is still there");
  Expect(exit.ok() && !exit->ok(), "the loss is not loud: the exit status is 0");
  // Nobody may go on in secret: a custodian, a second server.
  Expect(Eventually([&] { return !GroupIsAlive(server_->pid()); }), "a part of the server is left");
}

void FaultRun::Prove(Proof proof) {
  switch (proof) {
    case Proof::kServes:
      ProveClients();
      ProveUnchanged();
      ProveNextUpgrade();
      ProveClients();
      ProveNothingLost();
      ProveStops();
      return;
    case Proof::kStopped: {
      auto exit = server_->WaitForExit();
      Expect(exit.ok() && exit->ok(), "the server did not end cleanly");
      return;
    }
    case Proof::kLost:
      ProveLost();
      return;
  }
}

}  // namespace liveexec::faults
