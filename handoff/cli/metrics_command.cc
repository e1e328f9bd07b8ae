#include <array>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/text.h"
#include "handoff/control_client.h"

namespace liveexec::cli {
namespace {

constexpr std::array kOutcomes = {Outcome::kCommitted, Outcome::kAbandoned, Outcome::kRolledBack,
                                  Outcome::kResurrected};

// A label's value in Prometheus's text format.
std::string Quoted(const std::string& value) {
  return absl::StrCat(
      "\"", absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

std::string Seconds(int64_t nanoseconds) {
  return absl::StrFormat("%.9f", static_cast<double>(nanoseconds) / 1e9);
}

// Prometheus's text exposition format, version 0.0.4.
class Metrics {
 public:
  void Begin(const std::string& name, const std::string& type, const std::string& help) {
    name_ = absl::StrCat("liveexec_", name);
    absl::StrAppend(&text_, "# HELP ", name_, " ", help, "\n# TYPE ", name_, " ", type, "\n");
  }
  void Add(const std::string& value, const std::string& labels = "") {
    absl::StrAppend(&text_, name_);
    if (!labels.empty()) absl::StrAppend(&text_, "{", labels, "}");
    absl::StrAppend(&text_, " ", value, "\n");
  }
  const std::string& text() const { return text_; }

 private:
  std::string name_;
  std::string text_;
};

void AddProgram(const ControlStatus& status, Metrics& metrics) {
  metrics.Begin("program_info", "gauge", "The program that serves.");
  metrics.Add("1", absl::StrCat("application=", Quoted(status.program.application),
                                ",version=", Quoted(status.program.version),
                                ",build_id=", Quoted(status.program.build_id)));
  metrics.Begin("process_start_time_seconds", "gauge", "Unix time at which the process started.");
  metrics.Add(Seconds(status.started_unix_ns));
  metrics.Begin("program_start_time_seconds", "gauge",
                "Unix time at which the program took over in the process.");
  metrics.Add(Seconds(status.program_started_unix_ns));
  metrics.Begin("upgrading", "gauge", "1 while an upgrade is under way.");
  metrics.Add(status.phase.empty() ? "0" : "1");
  metrics.Begin("upgrades_committed_total", "counter", "Upgrades that this process committed.");
  metrics.Add(absl::StrCat(status.generation));
}

void AddLast(const JournalEntry& last, Metrics& metrics) {
  metrics.Begin("upgrade_attempts_total", "counter", "Upgrades that were begun.");
  metrics.Add(absl::StrCat(last.upgrade));
  metrics.Begin("last_upgrade_start_time_seconds", "gauge", "Unix time of the last upgrade.");
  metrics.Add(Seconds(last.started_unix_ns));
  metrics.Begin("last_upgrade_outcome", "gauge", "1 for what became of the last upgrade.");
  for (Outcome outcome : kOutcomes) {
    metrics.Add(outcome == last.outcome ? "1" : "0",
                absl::StrCat("outcome=", Quoted(std::string(OutcomeName(outcome))),
                             ",code=", Quoted(outcome == last.outcome ? last.code : "")));
  }
  metrics.Begin("last_upgrade_blackout_seconds", "gauge",
                "How long nothing was served in the last upgrade.");
  metrics.Add(Seconds(last.blackout_ns));
  metrics.Begin("last_upgrade_phase_seconds", "gauge", "How long each phase of it took.");
  for (const PhaseTime& phase : last.phases) {
    metrics.Add(Seconds(phase.duration_ns), absl::StrCat("phase=", Quoted(phase.phase)));
  }
  metrics.Begin("last_upgrade_fds", "gauge", "File descriptors that were carried.");
  metrics.Add(absl::StrCat(last.fds));
  metrics.Begin("last_upgrade_state_bytes", "gauge", "State that was carried in images.");
  metrics.Add(absl::StrCat(last.state_bytes));
}

}  // namespace

ExitCode RunMetrics(const std::string& control) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  if (!client.ok()) return Fail(client.status(), Format::kText);
  absl::StatusOr<ControlStatus> status = client->Status();
  if (!status.ok()) return Fail(status.status(), Format::kText);
  Metrics metrics;
  AddProgram(*status, metrics);
  if (status->last_result) AddLast(*status->last_result, metrics);
  absl::PrintF("%s", metrics.text());
  return kExitOk;
}

}  // namespace liveexec::cli
