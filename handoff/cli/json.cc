#include "handoff/cli/json.h"

#include "absl/strings/str_cat.h"
#include "handoff/error_code.h"

namespace liveexec::cli {
namespace {

double Milliseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; }

}  // namespace

Json ToJson(const JournalEntry& entry) {
  Json phases = Json::array();
  for (const PhaseTime& phase : entry.phases) {
    phases.push_back({{"phase", phase.phase},
                      {"start_ns", phase.start_ns},
                      {"duration_ms", Milliseconds(phase.duration_ns)}});
  }
  return {{"upgrade", entry.upgrade},
          {"outcome", std::string(OutcomeName(entry.outcome))},
          {"code", entry.code},
          {"message", entry.message},
          {"failed_phase", entry.failed_phase},
          {"trigger", entry.trigger},
          {"binary", entry.binary},
          {"from_version", entry.from_version},
          {"to_version", entry.to_version},
          {"started_unix_ns", entry.started_unix_ns},
          {"blackout_ms", Milliseconds(entry.blackout_ns)},
          {"pid", entry.pid},
          {"fds", entry.fds},
          {"state_bytes", entry.state_bytes},
          {"fds_left_behind", entry.fds_left_behind},
          {"notes", entry.notes},
          {"phases", std::move(phases)}};
}

Json ToJson(const ProgramNote& note) {
  Json components = Json::array();
  for (const ComponentSchema& component : note.components) {
    components.push_back({{"name", component.name},
                          {"writes", component.writes},
                          {"reads_oldest", component.reads_oldest}});
  }
  Json layouts = Json::array();
  for (const ResidentLayoutNote& layout : note.resident_layouts) {
    layouts.push_back({{"component", layout.component},
                       {"fingerprint", absl::StrCat(absl::Hex(layout.fingerprint))}});
  }
  return {{"application", note.application},
          {"version", note.version},
          {"framework_abi", note.framework_abi},
          {"security_epoch", note.security_epoch},
          {"build_id", note.build_id},
          {"components", std::move(components)},
          {"dropped_components", note.dropped_components},
          {"resident_layouts", std::move(layouts)}};
}

Json ToJson(const ControlStatus& status) {
  return {{"program", ToJson(status.program)},
          {"pid", status.pid},
          {"generation", status.generation},
          {"started_unix_ns", status.started_unix_ns},
          {"program_started_unix_ns", status.program_started_unix_ns},
          {"threads", status.threads},
          {"upgrading", !status.phase.empty()},
          {"phase", status.phase},
          {"upgrade_binary", status.upgrade_binary},
          {"control_path", status.control_path},
          {"last_result", status.last_result ? ToJson(*status.last_result) : Json(nullptr)}};
}

Json ToJson(const absl::Status& error) {
  return {{"error", {{"code", CodeOf(error)}, {"message", std::string(error.message())}}}};
}

std::string Dump(const Json& json) {
  return json.dump(/*indent=*/2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace liveexec::cli
