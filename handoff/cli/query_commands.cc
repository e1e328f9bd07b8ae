#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/json.h"
#include "handoff/cli/text.h"
#include "handoff/control_client.h"
#include "handoff/error_code.h"

namespace liveexec::cli {
namespace {

std::string ComponentsText(const ProgramNote& note) {
  std::string text;
  for (const ComponentSchema& component : note.components) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", component.name, " (schema ", component.writes,
                    ")");
  }
  return Printable(text.empty() ? "none" : text);
}

std::string StatusText(const ControlStatus& status) {
  const ProgramNote& program = status.program;
  const int64_t now = absl::ToUnixNanos(absl::Now());
  std::vector<std::vector<std::string>> rows = {
      {"program", Printable(absl::StrCat(program.application, " ", program.version))},
      {"state", status.phase.empty() ? "serving" : "upgrading: " + Printable(status.phase)},
      {"pid", absl::StrCat(status.pid)},
      {"upgrades", absl::StrCat(status.generation, " committed")},
      {"up", absl::StrCat(AgeText(now - status.started_unix_ns), ", this program ",
                          AgeText(now - status.program_started_unix_ns))},
      {"threads", absl::StrCat(status.threads)},
      {"components", ComponentsText(program)},
      {"upgrade binary", Printable(status.upgrade_binary)},
      {"control socket", Printable(status.control_path)},
      {"framework ABI", absl::StrCat(program.framework_abi)},
      {"security epoch", absl::StrCat(program.security_epoch)},
      {"last upgrade", status.last_result ? SummaryText(*status.last_result) : "none"},
  };
  return TableText(rows);
}

std::string HistoryText(const std::vector<JournalEntry>& entries) {
  if (entries.empty()) return "no upgrades yet\n";
  std::vector<std::vector<std::string>> rows = {
      {"#", "when", "outcome", "from", "to", "blackout", "fds", "state", "by", "reason"}};
  for (const JournalEntry& entry : entries) {
    std::string reason;
    if (!entry.code.empty()) reason = absl::StrCat(entry.code, ": ", entry.message);
    rows.push_back({absl::StrCat(entry.upgrade), TimeText(entry.started_unix_ns),
                    std::string(OutcomeName(entry.outcome)), Printable(entry.from_version),
                    entry.to_version.empty() ? "?" : Printable(entry.to_version),
                    DurationText(entry.blackout_ns), absl::StrCat(entry.fds),
                    BytesText(entry.state_bytes), Printable(entry.trigger), Printable(reason)});
  }
  return TableText(rows);
}

}  // namespace

ExitCode RunStatus(const std::string& control, Format format) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  if (!client.ok()) return Fail(client.status(), format);
  absl::StatusOr<ControlStatus> status = client->Status();
  if (!status.ok()) return Fail(status.status(), format);
  if (format == Format::kJson) {
    absl::PrintF("%s\n", Dump(ToJson(*status)));
  } else {
    absl::PrintF("%s", StatusText(*status));
  }
  return kExitOk;
}

ExitCode RunHistory(const std::string& control, uint32_t limit, Format format) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  if (!client.ok()) return Fail(client.status(), format);
  absl::StatusOr<std::vector<JournalEntry>> entries = client->History(limit);
  if (!entries.ok()) return Fail(entries.status(), format);
  if (format == Format::kText) {
    absl::PrintF("%s", HistoryText(*entries));
    return kExitOk;
  }
  Json list = Json::array();
  for (const JournalEntry& entry : *entries) list.push_back(ToJson(entry));
  absl::PrintF("%s\n", Dump({{"history", std::move(list)}}));
  return kExitOk;
}

ExitCode RunCancel(const std::string& control, Format format) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  absl::Status status = client.ok() ? client->Cancel() : client.status();
  if (!status.ok()) return Fail(status, format);
  absl::PrintF("%s\n", format == Format::kJson ? "{\"cancelled\": true}" : "cancelled");
  return kExitOk;
}

ExitCode RunDoctor(const std::string& control, Format format) {
  absl::StatusOr<ControlClient> client = ControlClient::Connect(control);
  if (!client.ok()) return Fail(client.status(), format);
  absl::StatusOr<std::string> report = client->Doctor();
  if (!report.ok()) return Fail(report.status(), format);
  if (format == Format::kJson) {
    absl::PrintF("%s\n", Dump({{"report", *report}}));
  } else {
    absl::PrintF("%s", *report);
  }
  return kExitOk;
}

ExitCode Fail(const absl::Status& error, Format format) {
  if (format == Format::kJson) absl::PrintF("%s\n", Dump(ToJson(error)));
  absl::FPrintF(stderr, "liveexec: %s (%s)\n", Printable(std::string(error.message())),
                Printable(CodeOf(error)));
  return kExitRefused;
}

std::string UsageErrorJson(const std::string& message) {
  return Dump(ToJson(CodedError("E_USAGE", absl::StatusCode::kInvalidArgument, message)));
}

}  // namespace liveexec::cli
