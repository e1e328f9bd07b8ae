#include <cstdio>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/error.h"
#include "core/pinned_image.h"
#include "core/syscalls.h"
#include "handoff/cli/commands.h"
#include "handoff/cli/json.h"
#include "handoff/cli/text.h"
#include "handoff/compatibility.h"
#include "handoff/control_client.h"
#include "handoff/error_code.h"
#include "handoff/program_file.h"

namespace liveexec::cli {
namespace {

// All that can be said of a candidate without running it.
struct Inspection {
  std::optional<ProgramFile> program;
  std::vector<Refusal> refusals;
  std::vector<std::string> notes;
  bool has_other = false;     // to compare with, if it can be read
  std::string compared_with;  // "demo-server 1.0.0"; empty: nothing

  // Two checks may come upon the same.
  void Refuse(const absl::Status& error) {
    Refusal refusal = {CodeOf(error), std::string(error.message())};
    if (!refusals.empty() && refusals.back().sentence == refusal.sentence) return;
    refusals.push_back(std::move(refusal));
  }
};

// The program to compare with, or nothing when none was named.
absl::StatusOr<std::optional<ProgramNote>> ReadRunning(const InspectArguments& arguments) {
  if (!arguments.against.empty()) {
    Syscalls& syscalls = Syscalls::Kernel();
    LIVEEXEC_ASSIGN_OR_RETURN(PinnedImage image, PinProgram(syscalls, arguments.against));
    LIVEEXEC_ASSIGN_OR_RETURN(ProgramFile program, ReadPinned(syscalls, image));
    return std::move(program.note);
  }
  if (arguments.control.empty()) return std::nullopt;
  LIVEEXEC_ASSIGN_OR_RETURN(ControlClient client, ControlClient::Connect(arguments.control));
  LIVEEXEC_ASSIGN_OR_RETURN(ControlStatus status, client.Status());
  return std::move(status.program);
}

Inspection Inspect(const InspectArguments& arguments, const std::optional<ProgramNote>& running) {
  Inspection inspection;
  inspection.has_other = running.has_value();
  Syscalls& syscalls = Syscalls::Kernel();
  absl::StatusOr<PinnedImage> image = PinProgram(syscalls, arguments.binary);
  if (!image.ok()) {
    inspection.Refuse(image.status());
    return inspection;
  }
  // All that is wrong is said at once, not one thing after another.
  if (absl::Status status = CheckPermissions(*image); !status.ok()) inspection.Refuse(status);
  absl::StatusOr<ProgramFile> program = ReadPinned(syscalls, *image);
  if (!program.ok()) {
    inspection.Refuse(program.status());
    return inspection;
  }
  if (running) {
    Compatibility compatibility =
        Compare(*running, program->note,
                arguments.allow_downgrade ? Downgrades::kAllow : Downgrades::kRefuse);
    inspection.compared_with = absl::StrCat(running->application, " ", running->version);
    inspection.notes = std::move(compatibility.notes);
    for (Refusal& refusal : compatibility.refusals) inspection.refusals.push_back(refusal);
  }
  inspection.program = *std::move(program);
  return inspection;
}

std::string ProgramText(const ProgramFile& program) {
  const ProgramNote& note = program.note;
  std::vector<std::vector<std::string>> rows = {
      {"program", absl::StrCat(note.application, " ", note.version)},
      {"framework ABI", absl::StrCat(note.framework_abi)},
      {"security epoch", absl::StrCat(note.security_epoch)},
      {"build id", note.build_id.empty() ? "none" : note.build_id},
      {"interpreter",
       program.elf.interpreter.empty() ? "none (static)" : Printable(program.elf.interpreter)},
  };
  for (const ComponentSchema& component : note.components) {
    rows.push_back(
        {"component", absl::StrCat(component.name, ": writes schema ", component.writes, ", reads ",
                                   component.reads_oldest, " to ", component.writes)});
  }
  for (const ResidentLayoutNote& layout : note.resident_layouts) {
    rows.push_back({"resident", absl::StrCat(layout.component, ": reads layout ",
                                             absl::Hex(layout.fingerprint))});
  }
  if (!note.dropped_components.empty()) {
    rows.push_back({"drops", absl::StrJoin(note.dropped_components, ", ")});
  }
  return TableText(rows);
}

std::string VerdictText(const Inspection& inspection) {
  std::string by;
  if (!inspection.compared_with.empty()) {
    by = absl::StrCat(" by ", Printable(inspection.compared_with));
  } else if (!inspection.has_other) {
    by = " (compared with no running program: give --control or --against)";
  }
  std::string text;
  for (const std::string& note : inspection.notes) {
    absl::StrAppend(&text, "note: ", Printable(note), "\n");
  }
  if (inspection.refusals.empty()) return absl::StrCat(text, "would be accepted", by, "\n");
  absl::StrAppend(&text, "would be refused", by, ":\n");
  for (const Refusal& refusal : inspection.refusals) {
    absl::StrAppend(&text, "  ", refusal.code, ": ", Printable(refusal.sentence), "\n");
  }
  return text;
}

Json InspectionJson(const InspectArguments& arguments, const Inspection& inspection) {
  Json refusals = Json::array();
  for (const Refusal& refusal : inspection.refusals) {
    refusals.push_back({{"code", refusal.code}, {"message", refusal.sentence}});
  }
  Json json = {{"binary", arguments.binary},
               {"accepted", inspection.refusals.empty()},
               {"compared_with", inspection.compared_with},
               {"refusals", std::move(refusals)},
               {"notes", inspection.notes},
               {"program", nullptr},
               {"interpreter", nullptr}};
  if (inspection.program) {
    json["program"] = ToJson(inspection.program->note);
    json["interpreter"] = inspection.program->elf.interpreter;
  }
  return json;
}

}  // namespace

ExitCode RunInspect(const InspectArguments& arguments) {
  absl::StatusOr<std::optional<ProgramNote>> running = ReadRunning(arguments);
  if (!running.ok()) return Fail(running.status(), arguments.format);
  const Inspection inspection = Inspect(arguments, *running);
  if (arguments.format == Format::kJson) {
    absl::PrintF("%s\n", Dump(InspectionJson(arguments, inspection)));
  } else {
    if (inspection.program) absl::PrintF("%s", ProgramText(*inspection.program));
    absl::PrintF("%s", VerdictText(inspection));
  }
  return inspection.refusals.empty() ? kExitOk : kExitRefused;
}

}  // namespace liveexec::cli
