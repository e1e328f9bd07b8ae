// A ping-pong client beside many idle connections: how long does an upgrade keep it waiting?
//
//   stall_client --port P --pid PID --connections N --protocol echo|resp
//
// Says {"ready": N} once N connections are established (the first is the busy one), or
// {"skipped": REASON}, and then obeys one command for each line of standard input, with one line of
// JSON each:
//
//   upgrade    SIGHUP to the server, ping-pong until it has exec'd and 200 ms more:
//              stall_ns     the longest time between two replies from 100 ms before the switch on
//              switch_ns    the time between the two replies that have the exec between them
//              whole_ns     the longest time between two replies since the signal
//              replies      how many there were
//              usual_ns     the median time between two replies before the signal
//   check      one ping on every connection: "alive" and "failed"
//   say TEXT   sends TEXT on the busy connection and waits for a reply of the same length
//
// {"error": REASON, "failed": F} when the server did not exec within 90 s (F is 0), or a reply did
// not come (F is 1). Single thread; every wait is bounded.
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/error.h"
#include "core/unique_fd.h"
#include "tests/bench/connections.h"
#include "tests/bench/exec_probe.h"

namespace liveexec::bench {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kWarmUp = 50 * kMillisecond;
constexpr int64_t kBefore = 100 * kMillisecond;
constexpr int64_t kAfter = 200 * kMillisecond;
constexpr int64_t kPatience = 90'000 * kMillisecond;
// An exec takes longer than this: no shorter gap can have one in it.
constexpr int64_t kWorthALook = 80'000;

struct Options {
  int port = 0;
  pid_t pid = 0;
  size_t connections = 1;
  std::string protocol = "echo";
};

struct Gap {
  int64_t begin_ns = 0;
  int64_t length_ns = 0;
};

class StallClient {
 public:
  explicit StallClient(const Options& options) : options_(options), probe_(options.pid) {
    if (options.protocol == "resp") {
      request_ = "PING\r\n";
      reply_ = "+PONG\r\n";
    }
  }

  absl::Status Open() {
    LIVEEXEC_RETURN_IF_ERROR(AllowConnections(options_.connections));
    for (size_t i = 0; i < options_.connections; ++i) {
      LIVEEXEC_ASSIGN_OR_RETURN(UniqueFd fd, ConnectTo(options_.port, i));
      const timeval patience = {.tv_sec = 60, .tv_usec = 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
      connections_.push_back(std::move(fd));
      // Established for the server too, and none waits in its accept queue.
      if (i % 256 == 255 || i + 1 == options_.connections) {
        LIVEEXEC_RETURN_IF_ERROR(Exchange(connections_.back().get(), request_, reply_));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<nlohmann::json> Upgrade() {
    std::vector<Gap> warm_up;
    last_reply_ = MonotonicNs();
    LIVEEXEC_RETURN_IF_ERROR(PingUntil(last_reply_ + kWarmUp, warm_up));
    probe_.Changed();
    if (kill(options_.pid, SIGHUP) != 0) return absl::ErrnoToStatus(errno, "kill");
    std::vector<Gap> gaps;
    LIVEEXEC_ASSIGN_OR_RETURN(const Gap change, PingUntilExec(gaps));
    LIVEEXEC_RETURN_IF_ERROR(PingUntil(MonotonicNs() + kAfter, gaps));
    int64_t stall = 0;
    int64_t whole = 0;
    for (const Gap& gap : gaps) {
      whole = std::max(whole, gap.length_ns);
      if (gap.begin_ns >= change.begin_ns - kBefore) stall = std::max(stall, gap.length_ns);
    }
    std::nth_element(warm_up.begin(), warm_up.begin() + warm_up.size() / 2, warm_up.end(),
                     [](const Gap& a, const Gap& b) { return a.length_ns < b.length_ns; });
    return nlohmann::json{{"stall_ns", stall},
                          {"switch_ns", change.length_ns},
                          {"whole_ns", whole},
                          {"replies", gaps.size() + warm_up.size()},
                          {"usual_ns", warm_up[warm_up.size() / 2].length_ns}};
  }

  nlohmann::json Check() {
    size_t alive = 0;
    for (const UniqueFd& connection : connections_) {
      if (Exchange(connection.get(), request_, reply_).ok()) ++alive;
    }
    return {{"alive", alive}, {"failed", connections_.size() - alive}};
  }

  absl::Status Say(const std::string& text) { return Exchange(connections_[0].get(), text, text); }

 private:
  static absl::Status Exchange(int fd, const std::string& request, const std::string& expected) {
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      return absl::ErrnoToStatus(errno, "send");
    }
    std::string reply(expected.size(), '\0');
    size_t got = 0;
    while (got < reply.size()) {
      const ssize_t size = recv(fd, reply.data() + got, reply.size() - got, 0);
      if (size < 0) return absl::ErrnoToStatus(errno, "recv");
      if (size == 0) return absl::UnavailableError("the server closed a connection");
      got += static_cast<size_t>(size);
    }
    if (reply != expected) return absl::DataLossError("a reply with other bytes");
    return absl::OkStatus();
  }

  absl::Status Ping(std::vector<Gap>& gaps) {
    LIVEEXEC_RETURN_IF_ERROR(Exchange(connections_[0].get(), request_, reply_));
    const int64_t now = MonotonicNs();
    gaps.push_back({last_reply_, now - last_reply_});
    last_reply_ = now;
    return absl::OkStatus();
  }

  absl::Status PingUntil(int64_t end, std::vector<Gap>& gaps) {
    do {
      LIVEEXEC_RETURN_IF_ERROR(Ping(gaps));
    } while (last_reply_ < end);
    return absl::OkStatus();
  }

  // The gap that has the exec in it. A look is part of the gap that it falls into: it may have to
  // wait for an exec under way. Hence the exec's gap is the one before the look, or after.
  absl::StatusOr<Gap> PingUntilExec(std::vector<Gap>& gaps) {
    const int64_t end = MonotonicNs() + kPatience;
    while (last_reply_ < end) {
      LIVEEXEC_RETURN_IF_ERROR(Ping(gaps));
      if (gaps.back().length_ns < kWorthALook) continue;
      if (!probe_.Changed()) continue;
      const Gap before = gaps.back();
      LIVEEXEC_RETURN_IF_ERROR(Ping(gaps));
      return gaps.back().length_ns > before.length_ns ? gaps.back() : before;
    }
    return absl::DeadlineExceededError("the server did not exec");
  }

  const Options options_;
  std::string request_ = "x";
  std::string reply_ = "x";
  ExecProbe probe_;
  std::vector<UniqueFd> connections_;
  int64_t last_reply_ = 0;
};

nlohmann::json ErrorJson(const absl::Status& status) {
  return {{"error", status.ToString()}, {"failed", absl::IsDeadlineExceeded(status) ? 0 : 1}};
}

nlohmann::json Obey(StallClient& client, const std::string& command) {
  if (command == "check") return client.Check();
  if (command.rfind("say ", 0) == 0) {
    const absl::Status said = client.Say(command.substr(4));
    if (!said.ok()) return ErrorJson(said);
    return {{"said", command.substr(4)}};
  }
  if (command != "upgrade")
    return ErrorJson(absl::InvalidArgumentError("no such command: " + command));
  absl::StatusOr<nlohmann::json> upgraded = client.Upgrade();
  if (!upgraded.ok()) return ErrorJson(upgraded.status());
  return *upgraded;
}

int Run(const Options& options) {
  StallClient client(options);
  const absl::Status opened = client.Open();
  if (!opened.ok()) {
    std::cout << nlohmann::json{{"skipped", std::string(opened.message())}} << std::endl;
    return 3;
  }
  std::cout << nlohmann::json{{"ready", options.connections}} << std::endl;
  std::string command;
  while (std::getline(std::cin, command)) std::cout << Obey(client, command) << std::endl;
  return 0;
}

}  // namespace
}  // namespace liveexec::bench

int main(int argc, char** argv) {
  liveexec::bench::Options options;
  CLI::App app("A ping-pong client beside idle connections.");
  app.add_option("--port", options.port)->required();
  app.add_option("--pid", options.pid)->required();
  app.add_option("--connections", options.connections)->check(CLI::Range(1, 1'000'000));
  app.add_option("--protocol", options.protocol)->check(CLI::IsMember({"echo", "resp"}));
  CLI11_PARSE(app, argc, argv);
  return liveexec::bench::Run(options);
}
