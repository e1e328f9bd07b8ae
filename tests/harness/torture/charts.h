// Charts of the HTML report, as inline SVG that stretches to any width: shapes are in the SVG,
// words are HTML around it, so that they stay readable on a narrow screen.
#ifndef LIVEEXEC_TESTS_HARNESS_TORTURE_CHARTS_H_
#define LIVEEXEC_TESTS_HARNESS_TORTURE_CHARTS_H_

#include <string>

#include "tests/harness/torture/result.h"

namespace liveexec::harness {

// The clients' worst latency over time, logarithmic; upgrades as bands, lost connections as marks.
std::string LatencyChart(const TortureResult& result);
// One upgrade's phases as bars, and the clients' worst latency under them. Empty when the server
// told no phases.
std::string PhaseChart(const TortureResult& result, const UpgradeOutcome& upgrade);
// How long clients waited around upgrades, and without.
std::string GapChart(const TortureResult& result);
// Resident memory of all the server's processes over time.
std::string MemoryChart(const TortureResult& result);

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TORTURE_CHARTS_H_
