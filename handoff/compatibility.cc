#include "handoff/compatibility.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "handoff/error_code.h"

namespace liveexec {
namespace {

bool Drops(const ProgramNote& candidate, const std::string& name) {
  return std::find(candidate.dropped_components.begin(), candidate.dropped_components.end(),
                   name) != candidate.dropped_components.end();
}

std::string Range(const ComponentSchema& schema) {
  if (schema.reads_oldest == schema.writes) return absl::StrCat("schema ", schema.writes);
  return absl::StrCat("schemas ", schema.reads_oldest, " to ", schema.writes);
}

void CompareResident(const ProgramNote& running, const std::string& component,
                     const ProgramNote& candidate, Compatibility& result) {
  const bool reads =
      std::any_of(running.resident_layouts.begin(), running.resident_layouts.end(),
                  [&](const ResidentLayoutNote& layout) {
                    return layout.component == component &&
                           candidate.ReadsResidentLayout(component, layout.fingerprint);
                  });
  result.notes.push_back(
      absl::StrCat("resident memory of component ", component,
                   reads ? " crosses as it is: the candidate reads its layout"
                         : " is exported and read anew: the candidate does not read its layout"));
}

// `memory`: the component is resident memory.
void CompareComponent(const ComponentSchema& running, bool memory, const ProgramNote& candidate,
                      Compatibility& result) {
  const ComponentSchema* theirs = candidate.FindComponent(running.name);
  // It is nothing but memory: without it the components whose state is in it export that.
  if (theirs == nullptr && memory) return;
  if (theirs == nullptr) {
    if (Drops(candidate, running.name)) {
      result.notes.push_back(
          absl::StrCat("the state of component ", running.name, " will be dropped"));
      return;
    }
    result.refusals.push_back(
        {"E_SCHEMA", absl::StrCat("the candidate has no component ", running.name,
                                  ", so its state would be lost: add the component, or declare "
                                  "LIVEEXEC_DROPS_COMPONENT(\"",
                                  running.name, "\")")});
    return;
  }
  if (running.writes > theirs->writes) {
    result.refusals.push_back(
        {"E_SCHEMA",
         absl::StrCat("component ", running.name, " writes schema ", running.writes,
                      " but the candidate is older and reads only ", Range(*theirs),
                      ": restart the server to go back, or make the candidate read it")});
  } else if (running.writes < theirs->reads_oldest) {
    result.refusals.push_back(
        {"E_SCHEMA", absl::StrCat("component ", running.name, " writes schema ", running.writes,
                                  " but the candidate no longer reads it (it reads ",
                                  Range(*theirs), "): upgrade to a version in between first")});
  } else if (running.writes != theirs->writes) {
    result.notes.push_back(absl::StrCat("component ", running.name, " goes from schema ",
                                        running.writes, " to ", theirs->writes));
  }
}

}  // namespace

absl::Status Compatibility::ToStatus() const {
  if (accepted()) return absl::OkStatus();
  const std::string sentences = absl::StrJoin(
      refusals, "; ",
      [](std::string* out, const Refusal& refusal) { out->append(refusal.sentence); });
  return CodedError(refusals[0].code, absl::StatusCode::kFailedPrecondition, sentences);
}

Compatibility Compare(const ProgramNote& running, const ProgramNote& candidate,
                      Downgrades downgrades) {
  Compatibility result;
  if (running.application != candidate.application) {
    // Nothing else can be compared.
    result.refusals.push_back(
        {"E_APP", absl::StrCat("the candidate is ", candidate.application, ", not ",
                               running.application, ": give the path of the right program")});
    return result;
  }
  if (running.framework_abi != candidate.framework_abi) {
    result.refusals.push_back(
        {"E_ABI", absl::StrCat("the candidate speaks liveexec ABI ", candidate.framework_abi,
                               ", the running program ", running.framework_abi,
                               ": restart the server once to cross this boundary")});
  }
  if (candidate.security_epoch < running.security_epoch) {
    if (downgrades == Downgrades::kRefuse) {
      result.refusals.push_back(
          {"E_DOWNGRADE",
           absl::StrCat("the candidate's security epoch ", candidate.security_epoch,
                        " is lower than the running program's ", running.security_epoch,
                        ": use a newer build, or allow the downgrade explicitly")});
    } else {
      result.notes.push_back(absl::StrCat("the security epoch goes down from ",
                                          running.security_epoch, " to ", candidate.security_epoch,
                                          ", as allowed"));
    }
  }
  for (const ComponentSchema& component : running.components) {
    const bool memory = running.HasResidentLayouts(component.name);
    if (memory) CompareResident(running, component.name, candidate, result);
    CompareComponent(component, memory, candidate, result);
  }
  for (const ComponentSchema& component : candidate.components) {
    if (running.FindComponent(component.name) == nullptr) {
      result.notes.push_back(
          absl::StrCat("component ", component.name, " is new and will start fresh"));
    }
  }
  return result;
}

}  // namespace liveexec
