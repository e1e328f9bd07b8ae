#include "handoff/testing/victim_process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "handoff/control_client.h"
#include "handoff/testing/misbehaviour.h"

namespace liveexec {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(1);

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "victim_process: %s\n", what.c_str());
  abort();
}

void Check(bool good, const std::string& what) {
  if (!good) Die(what + ": " + strerror(errno));
}

// Where Bazel puts the builds, or $VICTIMS.
std::string BuildPath(const std::string& name) {
  const char* directory = getenv("VICTIMS");
  return std::string(directory != nullptr ? directory : "handoff/testing") + "/victim_" + name;
}

}  // namespace

VictimClient::VictimClient(const std::string& path)
    : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  struct timeval patience = {60, 0};
  setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  Check(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0,
        "connect to " + path);
}

std::string VictimClient::Ask(std::string_view line) {
  std::string question = std::string(line) + "\n";
  if (send(fd_.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0) return "closed";
  std::string answer;
  char byte;
  while (true) {
    ssize_t count = read(fd_.get(), &byte, 1);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return "closed";
    Check(count == 1, "no answer to " + question);
    if (byte == '\n') return answer;
    answer.push_back(byte);
  }
}

VictimProcess::VictimProcess(std::vector<std::string> environment) : program_(Candidate("good")) {
  Check(mkdir(directory_.File("c").c_str(), 0700) == 0, "mkdir");
  int ends[2];
  Check(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  UniqueFd reader(ends[0]), writer(ends[1]);
  auto process = harness::ChildProcess::Start({.command = {program_, directory_.path()},
                                               .environment = std::move(environment),
                                               .standard_output = writer.get(),
                                               .standard_error = STDERR_FILENO});
  if (!process.ok()) Die(std::string(process.status().ToString()));
  process_ = *std::move(process);
  writer.reset();
  char ready[6];
  Check(read(reader.get(), ready, sizeof(ready)) == 6, "the victim did not start");
}

std::string VictimProcess::Candidate(const std::string& name, const std::string& fault) {
  std::string path = directory_.File(name + "-" + fault);
  for (char& c : path) c = c == ':' ? '-' : c;
  std::string build = BuildPath(name);
  UniqueFd from(open(build.c_str(), O_RDONLY | O_CLOEXEC));
  Check(static_cast<bool>(from), "open " + build);
  struct stat file;
  Check(fstat(from.get(), &file) == 0, "fstat");
  // A file of its own beside it, then renamed: the old one may be running.
  std::string fresh = path + ".new";
  UniqueFd to(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
  Check(static_cast<bool>(to), "create " + fresh);
  for (off_t left = file.st_size; left > 0;) {
    ssize_t count = sendfile(to.get(), from.get(), nullptr, static_cast<size_t>(left));
    Check(count > 0, "copy " + build);
    left -= count;
  }
  if (!fault.empty()) {
    std::string trailer = std::string(kFaultMark) + fault;
    trailer.resize(kFaultSize);
    Check(write(to.get(), trailer.data(), trailer.size()) == static_cast<ssize_t>(kFaultSize),
          "write");
  }
  to.reset();
  Check(rename(fresh.c_str(), path.c_str()) == 0, "rename");
  return path;
}

JournalEntry VictimProcess::Upgrade(const std::string& binary) {
  auto client = ControlClient::Connect(directory_.File("c/control"), kPatience);
  if (!client.ok()) Die(std::string(client.status().ToString()));
  auto entry = client->Upgrade({.binary = binary}, kPatience, nullptr);
  if (!entry.ok()) Die(std::string(entry.status().ToString()));
  return *std::move(entry);
}

std::vector<JournalEntry> VictimProcess::History() {
  auto client = ControlClient::Connect(directory_.File("c/control"), kPatience);
  if (!client.ok()) Die(std::string(client.status().ToString()));
  auto history = client->History(0, kPatience);
  if (!history.ok()) Die(std::string(history.status().ToString()));
  return *std::move(history);
}

}  // namespace liveexec
