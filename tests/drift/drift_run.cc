#include "tests/drift/drift_run.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/error.h"
#include "handoff/control_client.h"
#include "handoff/control_frame.h"
#include "handoff/journal.h"
#include "tests/harness/endpoint.h"
#include "tests/harness/resp_client.h"
#include "tests/harness/server_under_test.h"

namespace liveexec::drift {
namespace {

using harness::RespClient;
using harness::ServerUnderTest;
using harness::Snapshot;

// Clients that keep their connections, each with a name, a database and a counter of its own.
class Clients {
 public:
  absl::Status Open(ServerUnderTest& server, int count) {
    for (int i = 0; i < count; ++i) {
      LIVEEXEC_ASSIGN_OR_RETURN(auto client,
                                RespClient::Open(harness::Endpoint::Tcp(server.port())));
      clients_.push_back(std::move(client));
      LIVEEXEC_RETURN_IF_ERROR(Expect(i, {"SELECT", absl::StrCat(i % 16)}, "OK"));
      LIVEEXEC_RETURN_IF_ERROR(Expect(i, {"CLIENT", "SETNAME", absl::StrCat("c", i)}, "OK"));
    }
    return absl::OkStatus();
  }

  absl::Status Fill(int keys) {
    for (int i = 0; i < keys; ++i) {
      const int client = i % static_cast<int>(clients_.size());
      LIVEEXEC_RETURN_IF_ERROR(
          Expect(client, {"SET", absl::StrCat("key:", i), std::string(100, 'x')}, "OK"));
    }
    return absl::OkStatus();
  }

  // One after the other, each: the data goes on, and the session is still its own.
  absl::Status Prove() {
    ++round_;
    for (int i = 0; i < static_cast<int>(clients_.size()); ++i) {
      LIVEEXEC_RETURN_IF_ERROR(
          Expect(i, {"INCR", absl::StrCat("rounds:", i)}, absl::StrCat(round_)));
      LIVEEXEC_RETURN_IF_ERROR(Expect(i, {"CLIENT", "GETNAME"}, absl::StrCat("c", i)));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Expect(int client, const std::vector<std::string>& command,
                      const std::string& expected) {
    const std::string reply = clients_[static_cast<size_t>(client)]->Call(command);
    if (reply == expected) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("client ", client, " got '", reply, "' for ",
                                            command[0], ", not '", expected, "'"));
  }

  std::vector<std::unique_ptr<RespClient>> clients_;
  int64_t round_ = 0;
};

// "VmPeak:    123 kB"
int64_t PeakVirtualBytes(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (absl::StartsWith(line, "VmPeak:")) return std::atoll(line.c_str() + 7) * 1024;
  }
  return 0;
}

int64_t Mappings(pid_t pid) {
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  int64_t lines = 0;
  for (std::string line; std::getline(maps, line);) ++lines;
  return lines;
}

// The custodian ends in its own time after the commit, and the server has to see that the client
// which asked for the upgrade has left: then the control socket is the only one of its kind. If
// that never comes, the sample shows it.
bool HasSettled(const Snapshot& snapshot) {
  const auto of_unix = [](const harness::FdInfo& fd) { return fd.kind == "unix"; };
  return snapshot.children.empty() &&
         std::count_if(snapshot.fds.begin(), snapshot.fds.end(), of_unix) <= 1;
}

absl::StatusOr<Sample> TakeSample(pid_t pid, int upgrade) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  Sample sample;
  sample.upgrade = upgrade;
  do {
    LIVEEXEC_ASSIGN_OR_RETURN(sample.snapshot, harness::TakeSnapshot(pid));
  } while (!HasSettled(sample.snapshot) && absl::Now() < deadline);
  sample.peak_virtual_bytes = PeakVirtualBytes(pid);
  sample.mappings = Mappings(pid);
  return sample;
}

absl::StatusOr<absl::Duration> UpgradeOnce(const std::string& control, int number) {
  LIVEEXEC_ASSIGN_OR_RETURN(ControlClient client, ControlClient::Connect(control));
  LIVEEXEC_ASSIGN_OR_RETURN(const JournalEntry entry,
                            client.Upgrade(ControlUpgrade{}, absl::Minutes(1), {}));
  if (entry.outcome == Outcome::kCommitted) return absl::Nanoseconds(entry.blackout_ns);
  return absl::InternalError(absl::StrCat("upgrade ", number, ": ",
                                          std::string(OutcomeName(entry.outcome)), ", ", entry.code,
                                          ": ", entry.message));
}

}  // namespace

absl::StatusOr<DriftReport> RunDrift(const DriftOptions& options,
                                     const std::function<void(const Sample&)>& progress) {
  const std::string program = std::filesystem::canonical("demo-server/demo-server").string();
  LIVEEXEC_ASSIGN_OR_RETURN(
      auto server,
      ServerUnderTest::Start(
          {.command = {program, "--port", "0", "--threads", absl::StrCat(options.threads),
                       "--control", "{dir}/run/control", "--upgrade-binary", program},
           .ready_line = "listening on tcp .*:([0-9]+)$"}));
  Clients clients;
  LIVEEXEC_RETURN_IF_ERROR(clients.Open(*server, options.clients));
  LIVEEXEC_RETURN_IF_ERROR(clients.Fill(options.keys));
  DriftReport report;
  std::vector<absl::Duration> blackouts;
  const absl::Time start = absl::Now();
  const int interval = std::max(1, (options.upgrades - options.warm_up) / options.samples);
  for (int i = 1; i <= options.upgrades; ++i) {
    LIVEEXEC_ASSIGN_OR_RETURN(const absl::Duration blackout,
                              UpgradeOnce(server->File("run/control"), i));
    blackouts.push_back(blackout);
    LIVEEXEC_RETURN_IF_ERROR(clients.Prove());
    const bool due = i >= options.warm_up && (i - options.warm_up) % interval == 0;
    if (!due && i != options.upgrades) continue;
    LIVEEXEC_ASSIGN_OR_RETURN(Sample sample, TakeSample(server->pid(), i));
    if (!report.samples.empty()) {
      const Sample& first = report.samples.front();
      for (std::string& finding : Drift(first, sample)) {
        report.findings.push_back(std::move(finding));
      }
    }
    progress(sample);
    report.samples.push_back(std::move(sample));
  }
  report.duration = absl::Now() - start;
  std::sort(blackouts.begin(), blackouts.end());
  report.median_blackout = blackouts[blackouts.size() / 2];
  report.longest_blackout = blackouts.back();
  LIVEEXEC_ASSIGN_OR_RETURN(const harness::ExitStatus exit, server->Stop());
  if (!exit.ok()) report.findings.push_back("at the end the server exits with " + exit.ToString());
  return report;
}

}  // namespace liveexec::drift
