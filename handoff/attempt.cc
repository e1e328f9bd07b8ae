#include "handoff/attempt.h"

#include "core/process_traits.h"

namespace liveexec {

Manifest DescribeForManifest(const Program& program, const Attempt& attempt) {
  Manifest manifest;
  manifest.framework_abi = program.note.framework_abi;
  manifest.application = program.note.application;
  manifest.version = program.note.version;
  manifest.generation = program.generation;
  manifest.upgrade_binary = program.DefaultBinary();
  manifest.process_started_unix_ns = program.process_started_unix_ns;
  manifest.blackout_start_ns = attempt.blackout_start_ns;
  manifest.traits = program.traits;
  manifest.current = attempt.entry;
  std::lock_guard lock(program.mutex);
  manifest.upgrades_attempted = program.attempts;
  manifest.history.assign(program.journal.entries().begin(), program.journal.entries().end());
  return manifest;
}

Successor SuccessorOf(const Attempt& attempt) {
  Successor successor;
  if (attempt.candidate.has_value()) successor.note = &attempt.candidate->note;
  successor.portable_only = attempt.portable_only;
  return successor;
}

std::vector<std::string> EnvironmentForNextProgram(const Program& program) {
  auto defaults = DefaultAllowedEnvironment();
  std::vector<std::string> allowed(defaults.begin(), defaults.end());
  const auto& more = program.options.allow_environment;
  allowed.insert(allowed.end(), more.begin(), more.end());
  return FilterEnvironment(program.traits.environment, allowed);
}

}  // namespace liveexec
