#include "tests/harness/upgrade_means.h"

#include <utility>

namespace liveexec::harness {

UpgradeMeans UpgradeMeans::Signal(int signal, std::string done_line, std::string install_as) {
  UpgradeMeans means;
  means.signal = signal;
  means.done_line = std::move(done_line);
  means.install_as = std::move(install_as);
  return means;
}

UpgradeMeans UpgradeMeans::Command(std::vector<std::string> command, std::string done_line) {
  UpgradeMeans means;
  means.command = std::move(command);
  means.done_line = std::move(done_line);
  return means;
}

UpgradeMeans UpgradeMeans::Liveexec(const std::string& liveexec, const std::string& control) {
  return Command({liveexec, "upgrade", "--control", control, "--binary", "{binary}"});
}

UpgradeMeans UpgradeMeans::Call(Api call, std::string done_line) {
  UpgradeMeans means;
  means.call = std::move(call);
  means.done_line = std::move(done_line);
  return means;
}

}  // namespace liveexec::harness
