// Progress on a terminal, and one line a step elsewhere.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_TERMINAL_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_TERMINAL_H_

#include <cstdint>
#include <string>

#include "tests/harness/torture/result.h"
#include "tests/harness/torture/torture_run.h"

namespace liveexec::harness {

class Terminal final : public TortureObserver {
 public:
  explicit Terminal(const TortureOptions& options);
  void OnStep(const std::string& what) override;
  void OnUpgrade(const UpgradeOutcome& upgrade) override;
  void PrintResult(const TortureResult& result);

 private:
  std::string Painted(bool good, const std::string& text) const;

  bool quiet_;
  bool terminal_;
  int upgrades_;
  int64_t started_ns_ = 0;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_TERMINAL_H_
