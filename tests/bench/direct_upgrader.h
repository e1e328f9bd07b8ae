// DirectUpgrader: what is left of an upgrader when there are no upgrades. It starts the components
// and does nothing else: no thread, no signal, no control socket. The same server linked with it
// instead of //handoff:upgrader is what the framework's overhead is measured against.
#ifndef LIVEEXEC_TESTS_BENCH_DIRECT_UPGRADER_H_
#define LIVEEXEC_TESTS_BENCH_DIRECT_UPGRADER_H_

#include <vector>

#include "handoff/upgrader.h"

namespace liveexec::bench {

class DirectUpgrader final : public Upgrader {
 public:
  bool fresh() const override { return true; }
  absl::Status Register(Component& component) override;
  void AddThread(Executor&) override {}
  void RemoveThread(Executor&) override {}
  absl::Status Start() override;
  void Request(UpgradeRequest, Done) override {}
  Journal journal() const override { return {}; }
  uint64_t last_upgrade() const override { return 0; }
  uint64_t generation() const override { return 0; }

 private:
  std::vector<Component*> components_;
};

}  // namespace liveexec::bench

#endif  // LIVEEXEC_TESTS_BENCH_DIRECT_UPGRADER_H_
