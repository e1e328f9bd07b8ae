// The reports of a run: JSON for programs, JUnit XML for CI, one page of HTML for people.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "tests/harness/torture/result.h"

namespace liveexec::harness {

std::string JsonReport(const TortureResult& result);
// A test case for each upgrade, and one for each kind of anomaly.
std::string JunitReport(const TortureResult& result);
// Needs no network and no script.
std::string HtmlReport(const TortureResult& result);

// Writes report.json, junit.xml and report.html to `directory`, which is made.
absl::Status WriteReports(const TortureResult& result, const std::string& directory);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_H_
