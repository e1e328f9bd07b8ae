#include "handoff/control_status_image.h"

#include <string>

#include "core/error.h"
#include "handoff/capnp_text.h"
#include "handoff/journal_image.h"

namespace liveexec {
namespace {

void ProgramToImage(const ProgramNote& note, control::Program::Builder image) {
  image.setApplication(AsText(note.application));
  image.setVersion(AsText(note.version));
  image.setFrameworkAbi(note.framework_abi);
  image.setSecurityEpoch(note.security_epoch);
  image.setBuildId(AsText(note.build_id));
  auto components = image.initComponents(static_cast<unsigned>(note.components.size()));
  for (unsigned i = 0; i < note.components.size(); ++i) {
    components[i].setName(AsText(note.components[i].name));
    components[i].setWrites(note.components[i].writes);
    components[i].setReadsOldest(note.components[i].reads_oldest);
  }
  auto dropped = image.initDroppedComponents(static_cast<unsigned>(note.dropped_components.size()));
  for (unsigned i = 0; i < note.dropped_components.size(); ++i) {
    dropped.set(i, AsText(note.dropped_components[i]));
  }
  auto layouts = image.initResidentLayouts(static_cast<unsigned>(note.resident_layouts.size()));
  for (unsigned i = 0; i < note.resident_layouts.size(); ++i) {
    layouts[i].setComponent(AsText(note.resident_layouts[i].component));
    layouts[i].setFingerprint(note.resident_layouts[i].fingerprint);
  }
}

ProgramNote ProgramFromImage(control::Program::Reader image) {
  ProgramNote note;
  note.application = AsString(image.getApplication());
  note.version = AsString(image.getVersion());
  note.framework_abi = image.getFrameworkAbi();
  note.security_epoch = image.getSecurityEpoch();
  note.build_id = AsString(image.getBuildId());
  for (control::Component::Reader component : image.getComponents()) {
    note.components.push_back(
        {AsString(component.getName()), component.getWrites(), component.getReadsOldest()});
  }
  for (capnp::Text::Reader name : image.getDroppedComponents()) {
    note.dropped_components.push_back(AsString(name));
  }
  for (control::ResidentLayout::Reader layout : image.getResidentLayouts()) {
    note.resident_layouts.push_back({AsString(layout.getComponent()), layout.getFingerprint()});
  }
  return note;
}

}  // namespace

void ToImage(const ControlStatus& status, control::Status::Builder image) {
  ProgramToImage(status.program, image.initProgram());
  image.setPid(status.pid);
  image.setGeneration(status.generation);
  image.setStartedUnixNs(status.started_unix_ns);
  image.setProgramStartedUnixNs(status.program_started_unix_ns);
  image.setThreads(status.threads);
  image.setPhase(AsText(status.phase));
  if (status.last_result) ToImage(*status.last_result, image.initLastResult());
  image.setUpgradeBinary(AsText(status.upgrade_binary));
  image.setControlPath(AsText(status.control_path));
}

absl::StatusOr<ControlStatus> FromImage(control::Status::Reader image) {
  ControlStatus status;
  status.program = ProgramFromImage(image.getProgram());
  status.pid = image.getPid();
  status.generation = image.getGeneration();
  status.started_unix_ns = image.getStartedUnixNs();
  status.program_started_unix_ns = image.getProgramStartedUnixNs();
  status.threads = image.getThreads();
  status.phase = AsString(image.getPhase());
  if (image.hasLastResult()) {
    LIVEEXEC_ASSIGN_OR_RETURN(status.last_result, FromImage(image.getLastResult()));
  }
  status.upgrade_binary = AsString(image.getUpgradeBinary());
  status.control_path = AsString(image.getControlPath());
  return status;
}

}  // namespace liveexec
