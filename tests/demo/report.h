// The demo's output: a line for each upgrade as it happens, the table, the plots, the JSON file.
#ifndef LIVEEXEC_TESTS_DEMO_REPORT_H_
#define LIVEEXEC_TESTS_DEMO_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tests/demo/demo_result.h"
#include "tests/demo/demo_run.h"

namespace liveexec::demo {

// Prints to standard output; on a terminal with colours and a line that tells how much time is
// left.
class TerminalReport : public DemoObserver {
 public:
  explicit TerminalReport(const DemoOptions& options);
  void OnStep(const std::string& what) override;
  void OnUpgrade(const UpgradeResult& upgrade) override;

  void PrintSummary(const DemoResult& result);

 private:
  std::string Painted(const std::string& text, const char* colour) const;
  std::string Verdict(bool good) const;
  void Row(bool good, const std::string& name, const std::string& value) const;
  void ClearProgress() const;
  void PrintProblems(const DemoResult& result) const;
  void PrintPhases(const DemoResult& result) const;
  void PrintPlot(const DemoResult& result) const;

  const DemoOptions& options_;
  bool terminal_;
  bool utf8_;
  bool header_printed_ = false;
  int64_t first_upgrade_ns_ = 0;
};

// Writes the result to `path`; the keys are part of the command's interface.
absl::Status WriteJson(const DemoResult& result, const std::string& path);

}  // namespace liveexec::demo

#endif  // LIVEEXEC_TESTS_DEMO_REPORT_H_
