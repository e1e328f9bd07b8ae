// Tables of the HTML report.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_TABLES_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_TABLES_H_

#include <string>

#include "tests/harness/torture/result.h"

namespace liveexec::harness {

std::string UpgradeTable(const TortureResult& result);
// From each binary to each: what became of those upgrades. Empty when there are not several.
std::string MatrixTable(const TortureResult& result);
std::string AnomalyList(const TortureResult& result);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_REPORT_TABLES_H_
