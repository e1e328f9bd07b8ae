// Values as JSON for programs. The keys are stable names: see docs/operating.md.
#ifndef LIVEEXEC_HANDOFF_CLI_JSON_H_
#define LIVEEXEC_HANDOFF_CLI_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "handoff/control_frame.h"
#include "handoff/journal.h"
#include "handoff/program_note.h"

namespace liveexec::cli {

using Json = nlohmann::ordered_json;

Json ToJson(const JournalEntry& entry);
Json ToJson(const ProgramNote& note);
Json ToJson(const ControlStatus& status);
Json ToJson(const absl::Status& error);  // {"error": {"code": ..., "message": ...}}

// As text; bytes that are not UTF-8 are replaced.
std::string Dump(const Json& json);

}  // namespace liveexec::cli

#endif  // LIVEEXEC_HANDOFF_CLI_JSON_H_
