#include "tests/harness/server_under_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <regex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/error.h"
#include "tests/harness/clock.h"
#include "tests/harness/endpoint.h"

namespace liveexec::harness {

namespace {

constexpr size_t kShownOutput = 4000;  // bytes of a server's output that an error message repeats

std::string Tail(const std::string& text) {
  return text.size() <= kShownOutput ? text : "..." + text.substr(text.size() - kShownOutput);
}

std::string ReadFrom(int fd, size_t offset) {
  std::string text;
  std::array<char, 65536> buffer;
  ssize_t count = 0;
  while ((count = pread(fd, buffer.data(), buffer.size(),
                        static_cast<off_t>(offset + text.size()))) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  return text;
}

// Finds `pattern` in a complete line of `text`; forgets the lines that it has looked at.
std::optional<std::vector<std::string>> FindLine(const std::regex& pattern, const std::string& text,
                                                 size_t& looked_at) {
  for (size_t end = 0; (end = text.find('\n', looked_at)) != std::string::npos;) {
    const std::string line = text.substr(looked_at, end - looked_at);
    looked_at = end + 1;
    std::smatch match;
    if (std::regex_search(line, match, pattern))
      return std::vector<std::string>(match.begin(), match.end());
  }
  return std::nullopt;
}

void Drain(int fd) {
  std::array<char, 4096> buffer;
  while (read(fd, buffer.data(), buffer.size()) > 0) {
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServerUnderTest>> ServerUnderTest::Start(
    const ServerOptions& options) {
  std::unique_ptr<ServerUnderTest> server(new ServerUnderTest());
  LIVEEXEC_RETURN_IF_ERROR(server->Launch(options));
  if (absl::Status ready = server->WaitUntilReady(options); !ready.ok()) {
    server->KeepLog();
    return Annotate(ready, "waiting for the server to be ready");
  }
  return server;
}

absl::Status ServerUnderTest::Launch(const ServerOptions& options) {
  const std::string log_path = File("log");
  // Appending, so that output and errors keep their order; the server writes to the file, never to
  // a pipe that waits for us.
  UniqueFd log_write(open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log_write) return ErrnoError(errno, log_path);
  log_.reset(open(log_path.c_str(), O_RDONLY | O_CLOEXEC));
  changes_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes_ || inotify_add_watch(changes_.get(), log_path.c_str(), IN_MODIFY) < 0) {
    return ErrnoError(errno, "inotify");
  }
  SpawnOptions spawn = {.environment = options.environment,
                        .standard_output = log_write.get(),
                        .standard_error = log_write.get()};
  for (const std::string& argument : options.command) spawn.command.push_back(Expand(argument));
  LIVEEXEC_ASSIGN_OR_RETURN(process_, ChildProcess::Start(spawn));
  return absl::OkStatus();
}

absl::Status ServerUnderTest::WaitUntilReady(const ServerOptions& options) {
  if (!options.ready_line.empty()) {
    LIVEEXEC_ASSIGN_OR_RETURN(const auto match,
                              WaitForLine(options.ready_line, 0, options.start_timeout));
    if (match.size() > 1) port_ = std::atoi(match[1].c_str());
  }
  if (options.ready_port != 0) port_ = options.ready_port;
  std::vector<Endpoint> endpoints;
  if (options.ready_port != 0) endpoints.push_back(Endpoint::Tcp(options.ready_port));
  if (!options.ready_unix.empty()) endpoints.push_back(Endpoint::Unix(Expand(options.ready_unix)));
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(options.start_timeout);
  for (const Endpoint& endpoint : endpoints) {
    // No event tells that another process listens: this is the one place that has to ask again.
    while (true) {
      if (Dial(endpoint).ok()) break;
      pollfd ended = {.fd = process_->pidfd(), .events = POLLIN, .revents = 0};
      if (poll(&ended, 1, 5) > 0) {
        return absl::UnavailableError(
            absl::StrCat(HowItEnded(), "; its output:\n", Tail(Output())));
      }
      if (NowNs() > deadline) {
        return absl::DeadlineExceededError(
            absl::StrCat("nobody listens at ", endpoint.ToString(), "; output:\n", Tail(Output())));
      }
    }
  }
  return absl::OkStatus();
}

ServerUnderTest::~ServerUnderTest() {
  if (process_ != nullptr && keep_log_) {
    directory_.Keep();
    std::fprintf(stderr, "--- output of server %d, kept in %s:\n%s---\n", pid(),
                 directory_.path().c_str(), Tail(Output()).c_str());
  }
}

std::string ServerUnderTest::Expand(const std::string& text) const {
  return absl::StrReplaceAll(text, {{"{dir}", directory_.path()}});
}

std::string ServerUnderTest::HowItEnded() {
  const auto exit = process_->WaitForExit(absl::ZeroDuration());
  return absl::StrCat("the server ended (", exit.ok() ? exit->ToString() : "unknown", ")");
}

ServerUnderTest::Mark ServerUnderTest::OutputMark() const {
  struct stat status {};
  return fstat(log_.get(), &status) == 0 ? static_cast<Mark>(status.st_size) : 0;
}

std::string ServerUnderTest::Output() const { return ReadFrom(log_.get(), 0); }

absl::StatusOr<std::vector<std::string>> ServerUnderTest::WaitForLine(const std::string& pattern,
                                                                      Mark from,
                                                                      absl::Duration timeout) {
  const std::regex regex(pattern);
  const int64_t deadline = NowNs() + absl::ToInt64Nanoseconds(timeout);
  std::string text;
  size_t looked_at = 0;
  bool ended = false;
  while (true) {
    // Emptied before the file is read: what is written after the read is a new event.
    Drain(changes_.get());
    text += ReadFrom(log_.get(), from + text.size());
    if (auto match = FindLine(regex, text, looked_at)) return *match;
    if (ended) {
      return absl::UnavailableError(absl::StrCat(HowItEnded(), " without a line that matches '",
                                                 pattern, "'; its output:\n", Tail(Output())));
    }
    const int64_t left = deadline - NowNs();
    std::array<pollfd, 2> waits = {pollfd{changes_.get(), POLLIN, 0},
                                   pollfd{process_->pidfd(), POLLIN, 0}};
    const int ready =
        poll(waits.data(), waits.size(), left <= 0 ? 0 : static_cast<int>(left / 1'000'000 + 1));
    if (ready == 0) {
      return absl::DeadlineExceededError(absl::StrCat("no line that matches '", pattern, "' in ",
                                                      absl::FormatDuration(timeout), "; output:\n",
                                                      Tail(Output())));
    }
    ended = waits[1].revents != 0;
  }
}

absl::StatusOr<std::vector<std::string>> ServerUnderTest::UpgradeBySignal(int signal,
                                                                          const std::string& done,
                                                                          absl::Duration timeout) {
  const Mark mark = OutputMark();
  LIVEEXEC_RETURN_IF_ERROR(Signal(signal));
  return WaitForLine(done, mark, timeout);
}

absl::StatusOr<CommandResult> ServerUnderTest::UpgradeByCommand(std::vector<std::string> command,
                                                                absl::Duration timeout) {
  for (std::string& argument : command) argument = Expand(argument);
  return RunCommand(command, timeout);
}

absl::Status ServerUnderTest::Install(const std::string& binary, const std::string& installed) {
  const std::string target = Expand(installed);
  std::error_code error;
  std::filesystem::copy_file(binary, target + ".new",
                             std::filesystem::copy_options::overwrite_existing, error);
  if (!error) std::filesystem::rename(target + ".new", target, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("installing ", binary, " as ", target, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status ServerUnderTest::UpgradeTo(const std::string& binary, const UpgradeMeans& means,
                                        absl::Duration timeout) {
  if (!means.install_as.empty() && !binary.empty())
    LIVEEXEC_RETURN_IF_ERROR(Install(binary, means.install_as));
  const Mark mark = OutputMark();
  if (means.signal != 0) LIVEEXEC_RETURN_IF_ERROR(Signal(means.signal));
  if (!means.command.empty()) {
    std::vector<std::string> command;
    for (const std::string& argument : means.command) {
      // A flag whose value would be empty goes with it.
      if (argument == "{binary}" && binary.empty()) {
        command.pop_back();
        continue;
      }
      command.push_back(absl::StrReplaceAll(
          argument,
          {{"{pid}", absl::StrCat(pid())}, {"{port}", absl::StrCat(port_)}, {"{binary}", binary}}));
    }
    LIVEEXEC_ASSIGN_OR_RETURN(const CommandResult result,
                              UpgradeByCommand(std::move(command), timeout));
    if (!result.exit.ok()) {
      return absl::AbortedError(absl::StrCat("the upgrade command ended with ",
                                             result.exit.ToString(), ": ", result.output,
                                             result.errors));
    }
  }
  if (means.call) LIVEEXEC_RETURN_IF_ERROR(means.call(*this, binary));
  if (means.done_line.empty()) return absl::OkStatus();
  return WaitForLine(means.done_line, mark, timeout).status();
}

absl::StatusOr<ExitStatus> ServerUnderTest::Stop(int signal, absl::Duration timeout) {
  LIVEEXEC_RETURN_IF_ERROR(Signal(signal));
  return process_->WaitForExit(timeout);
}

}  // namespace liveexec::harness
