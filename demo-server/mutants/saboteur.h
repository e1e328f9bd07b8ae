// Saboteur: a component whose process does one thing wrong with its upgrades.
//
// The server that registers it has, besides what it serves, a child process and a locked file: what
// an upgrade must keep. The faults (see Activate) concern the process and its sockets,
// not what the server says.
#ifndef LIVEEXEC_DEMO_SERVER_MUTANTS_SABOTEUR_H_
#define LIVEEXEC_DEMO_SERVER_MUTANTS_SABOTEUR_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "core/unique_fd.h"
#include "handoff/component.h"

namespace liveexec::mutants {

class Saboteur final : public Component {
 public:
  explicit Saboteur(std::string fault) : fault_(std::move(fault)) {}

  std::string_view name() const override { return "saboteur"; }
  absl::Status Initialize() override;
  absl::Status Export(ExportContext& context) const override;
  absl::Status Rehydrate(ImportContext& context) override;
  absl::Status SelfCheck() override;
  void Activate() override;

  // Whether this program was upgraded to.
  bool upgraded() const { return upgrades_ > 0; }

 private:
  void LeakMemory() const;
  void LeakFds() const;
  void LeakThreads() const;

  std::string fault_;
  uint32_t upgrades_ = 0;  // that led to this program
  pid_t child_ = 0;
  UniqueFd locked_;
};

// Takes "--mutant NAME" out of the arguments; "none" when it is not there.
std::string TakeFault(int& argc, char** argv);

}  // namespace liveexec::mutants

#endif  // LIVEEXEC_DEMO_SERVER_MUTANTS_SABOTEUR_H_
